/** A process that does with caches what its stdin says: one command in JSON on each line, many at a time. It prints one
 *  line of JSON for each thing that happens. Arguments: its name. */

import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Cache, Claim, Hit } from '../../src/api/cache.js'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { openCache } from '../../src/cache/cache.js'
import { pack, unpack } from '../../src/cache/packing.js'
import { connect } from '../../src/client/node.js'
import { type Code, isCode } from '../../src/error.js'
import type { Call, Outcome } from './judge.js'

/** Opens a client of its own for calls that name it. */
export type OpenCommand = {
  readonly do: 'open'
  readonly id: number
  readonly client: string
  readonly target: string
  readonly requests: 'socket' | 'http'
}

/** Makes a call. Its function makes a value of `size` bytes; with `pauses` it waits for a command `go` before that, and
 *  with `fails` it throws then. */
export type CallCommand = {
  readonly do: Call
  readonly id: number
  readonly client: string
  readonly action: number
  readonly size: number
  readonly ttl: number
  readonly pauses?: boolean
  readonly fails?: boolean
}

export type Command = OpenCommand | CallCommand | { readonly do: 'go'; readonly id: number }

/** A line of output: the function of a call runs and will make a version, or a command has ended. */
export type Line =
  | { readonly id: number; readonly made: string }
  | { readonly id: number; readonly ended: Outcome }

/** A result. Its bytes repeat the name of the version. */
type Made = { readonly version: string; readonly bytes: Uint8Array }

/** The size of a packed result in bytes from which on it is published as a stream. */
const streamSizeMin = 512 * 1024
/** A server that is started anew takes seconds on a busy machine, and a read is tried eight times: these take 7 s and
 *  more, where those of the default may take 3 s. */
const reconnect = { minMs: 150, maxMs: 5_000 }
/** The name of an output that has the version only, and stands in the record. */
const versionOutput = 'version'

const [name = ''] = process.argv.slice(2)
const caches = new Map<string, Cache>()
const paused = new Map<number, Deferred<void>>()

function say(line: Line): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

/** Opens a client that has done all that only the first calls do: the layer is open, and so is the websocket. */
async function open({ client, target, requests }: OpenCommand): Promise<Outcome> {
  const store = await connect(target, { requests, reconnect })
  const cache = openCache(store, { owner: name })
  await store.watch('none', { mode: 'value' }).next().catch(unlessMissing)
  await cache.cached('warm', () => null)
  caches.set(client, cache)
  return { value: null }
}

function unlessMissing(error: unknown): void {
  if (!isCode(error, 'ENOENT')) throw error
}

async function call(command: CallCommand): Promise<Outcome> {
  const { id, client, action, ttl } = command
  const cache = caches.get(client)
  if (!cache) throw new Error(`there is no client ${client}`)
  switch (command.do) {
    case 'cached':
      return checked(await cache.cached(action, () => make(command), { ttl }))
    case 'publish': {
      const got = await cache.claim(action, { ttl })
      return got.type === 'hit' ? read(got) : publish(got, command)
    }
    case 'rerun':
      return publish(await cache.rerun(action, { ttl }), command)
    case 'load': {
      const hit = await cache.load(action)
      return hit ? read(hit) : { value: null }
    }
    case 'remove':
      return { removed: await cache.remove(action) }
    default:
      throw new Error(`${command.do satisfies never} of ${id}`)
  }
}

async function make({ id, size, pauses, fails }: CallCommand): Promise<Made> {
  const version = `${name}-${id}`
  say({ id, made: version })
  if (pauses) {
    const stop = deferred<void>()
    paused.set(id, stop)
    await stop.promise
  }
  if (fails) throw new RangeError('the function fails')
  return { version, bytes: Buffer.alloc(size, version) }
}

async function publish(given: Claim, command: CallCommand): Promise<Outcome> {
  await using claim = given
  const made = await make(command)
  const packed = pack(made, 'the result')
  const value = packed.length < streamSizeMin ? packed : piecesOf(packed)
  await claim.publish({ [versionOutput]: made.version, value })
  return { value: made.version }
}

async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const size = 100_000
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** Reads all outputs of a result, the one in the record too. */
async function read(hit: Hit): Promise<Outcome> {
  const chunks: Uint8Array[] = []
  for await (const chunk of hit.stream()) chunks.push(chunk)
  const outcome = checked(unpack(Buffer.concat(chunks), 'the result') as Made)
  if (!(versionOutput in hit.result.outputs)) return outcome
  const version = Buffer.from(await hit.get(versionOutput)).toString()
  if (outcome.value === version) return outcome
  throw new RangeError(`one output is of ${outcome.value}, and the other of ${version}`)
}

function checked({ version, bytes }: Made) {
  const isRight = Buffer.compare(bytes, Buffer.alloc(bytes.length, version)) === 0
  if (isRight && bytes.length > 0) return { value: version }
  throw new RangeError(`the bytes are not those of ${version}`)
}

async function run(command: OpenCommand | CallCommand): Promise<void> {
  const { id } = command
  try {
    say({ id, ended: command.do === 'open' ? await open(command) : await call(command) })
  } catch (error) {
    const { code, message } = error as { readonly code?: Code; readonly message: string }
    say({ id, ended: { failed: code ?? String((error as Error).name), message } })
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command
  if (command.do === 'go') paused.get(command.id)?.resolve()
  else void run(command) // it never rejects
}
process.exit()
