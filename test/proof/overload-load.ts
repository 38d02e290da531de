/** The process of writers that send more than a server can take: puts and appends of mixed sizes, over many
 *  websockets and over HTTP, to several namespaces. Arguments: the server's port and its token. See overload.ts.
 *  Invariant: each write has a number of its own in its first bytes, so that what is read again tells which one
 *  it was. A writer's writes to a key are sent in the order of their numbers. */

import { once } from 'node:events'
import http from 'node:http'
import { setPriority } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { Op } from '../../src/api/transaction.js'
import { connect } from '../../src/client/node.js'
import { isCode } from '../../src/error.js'
import { type ResponseFrame, subprotocol } from '../../src/wire/frames.js'
import { decodeMessage, encodeMessage } from '../../src/wire/messages.js'
import {
  type LoadCheck,
  type LoadOrder,
  type LoadReport,
  loadNamespaces,
} from './overload-record.js'
import { percentile } from './siege-server.js'

const [port = '', token = ''] = process.argv.slice(2)

// They stand for other machines: what they compute is not to be taken from the server.
setPriority(15)

const socketWriters = 48
const httpWriters = 16
const keysOfWriter = 50
/** Of the writes that are on their way while the capacity is measured, those of one writer. */
const measuredInFlight = 8
/** Bytes in a socket of a writer above which it sends nothing: the server does not read it. */
const bufferedMax = 1024 * 1024
const tickMs = 5
const samplesMax = 200_000
const problemsMax = 50
/** Sizes of values, and how many of 100 writes have them: some 2 KiB on average. */
const sizes = [
  [70, 100],
  [20, 1_000],
  [8, 8 * 1_024],
  [2, 64 * 1_024],
] as const
const numberSize = 8
const pool = Buffer.alloc(64 * 1_024, 'bytes of a value that is loaded, ')

type Write = { readonly number: number; readonly key: number | 'log'; readonly sentAt: number }

class Counts {
  due = 0
  held = 0
  acknowledged = 0
  readonly refused: Record<string, number> = {}
  readonly times: number[] = []
  readonly problems: string[] = []
  readonly #start = performance.now()

  refuse(code: string): void {
    this.refused[code] = (this.refused[code] ?? 0) + 1
  }

  problem(text: string): void {
    if (this.problems.length < problemsMax) this.problems.push(text)
  }

  report(): LoadReport {
    const { due, held, acknowledged, refused, times, problems } = this
    return {
      ...{ seconds: (performance.now() - this.#start) / 1_000, due, held, acknowledged, refused },
      ...{ p50: percentile(times, 0.5), p99: percentile(times, 0.99), problems },
    }
  }
}

let counts = new Counts()
let nextNumber = 1

function bytesOf(number: number): Buffer {
  const size = sizeOf(number)
  const value = Buffer.allocUnsafe(size)
  value.writeDoubleBE(number)
  pool.copy(value, numberSize, 0, size - numberSize)
  return value
}

/** The same size for a number each time. */
function sizeOf(number: number): number {
  let share = (number * 61) % 100
  for (const [percent, size] of sizes) {
    share -= percent
    if (share < 0) return size
  }
  return numberSize
}

/** Returns the number of a write; undefined if the bytes are not those that were sent. */
function numberOf(value: Uint8Array): number | undefined {
  if (value.length < numberSize) return undefined
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const number = bytes.readDoubleBE()
  return bytes.equals(bytesOf(number)) ? number : undefined
}

/** What one writer has sent, and what it was answered. */
abstract class Writer {
  readonly namespace: string
  readonly name: string
  /** The number of each acknowledged append, by its index. */
  readonly appended: number[] = []
  /** The last acknowledged number of each key. */
  readonly put = new Map<number, number>()
  /** Numbers of writes whose answer is not known. */
  readonly unknown = new Set<number>()

  constructor(at: number, name: string) {
    this.namespace = loadNamespaces[at % loadNamespaces.length] ?? ''
    this.name = name
  }

  /** Writes that have no answer. */
  abstract readonly open: number

  /** Sends one write. False if it cannot be sent now. */
  send(): boolean {
    if (!this.ready) return false
    const number = nextNumber++
    const key = number % 2 === 0 ? 'log' : ((number - 1) / 2) % keysOfWriter
    this.write({ number, key, sentAt: performance.now() })
    return true
  }

  abstract readonly ready: boolean
  abstract write(write: Write): void

  keyOf(key: Write['key']): string {
    return key === 'log' ? `log/${this.name}` : `put/${this.name}/${key}`
  }

  done({ number, key, sentAt }: Write, index: number | undefined): void {
    counts.acknowledged++
    if (counts.times.length < samplesMax) counts.times.push(performance.now() - sentAt)
    if (key !== 'log') this.put.set(key, Math.max(number, this.put.get(key) ?? 0))
    else if (index === undefined) counts.problem(`${this.name}: an append without an index`)
    else if (this.appended[index] !== undefined) {
      counts.problem(`${this.name}: index ${index} was given twice`)
    } else this.appended[index] = number
  }

  failed({ number }: Write, code: string): void {
    counts.refuse(code)
    if (code === 'EUNKNOWN' || code === 'lost') this.unknown.add(number)
  }
}

class SocketWriter extends Writer {
  readonly #pending = new Map<number, Write>()
  #socket: WebSocket | undefined
  #nextId = 1
  over = false

  get open(): number {
    return this.#pending.size
  }

  async connect(): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, subprotocol, {
      headers: { authorization: `Bearer ${token}` },
      perMessageDeflate: false,
    })
    socket.on('message', (data: Buffer) => this.#answered(decodeMessage(data) as ResponseFrame))
    socket.on('error', () => {})
    socket.once('close', () => {
      for (const write of this.#pending.values()) this.failed(write, 'lost')
      this.#pending.clear()
      this.#socket = undefined
      // Leaves the server a moment before the next try, as a client would.
      if (!this.over) setTimeout(() => void this.connect(), 500)
    })
    await Promise.race([once(socket, 'open'), once(socket, 'close')]).catch(() => {})
    if (socket.readyState === socket.OPEN) this.#socket = socket
  }

  end(): void {
    this.over = true
    this.#socket?.terminate()
  }

  get ready(): boolean {
    return this.#socket !== undefined && this.#socket.bufferedAmount < bufferedMax
  }

  write(write: Write): void {
    const id = this.#nextId++
    this.#pending.set(id, write)
    const value = bytesOf(write.number)
    const key = this.keyOf(write.key)
    const op: Op = write.key === 'log' ? { op: 'append', key, value } : { op: 'put', key, value }
    const { namespace } = this
    this.#socket?.send(
      encodeMessage({ id, op: 'txn', namespace, body: { ops: [op] } }, subprotocol),
    )
  }

  #answered(frame: ResponseFrame): void {
    const write = this.#pending.get(frame.id)
    if (!write) return
    this.#pending.delete(frame.id)
    if (frame.type === 'error') this.failed(write, frame.code)
    else if (frame.type === 'result') {
      const { results } = frame.body as { readonly results: readonly { readonly index?: number }[] }
      this.done(write, results[0]?.index)
    }
  }
}

const agent = new http.Agent({ keepAlive: true })

/** Has one request at a time. */
class HttpWriter extends Writer {
  #open = 0

  get open(): number {
    return this.#open
  }

  get ready(): boolean {
    return this.#open === 0
  }

  write(write: Write): void {
    this.#open++
    void this.#ask(write).finally(() => {
      this.#open--
    })
  }

  async #ask(write: Write): Promise<void> {
    const request = http.request({
      ...{ agent, host: '127.0.0.1', port },
      method: write.key === 'log' ? 'POST' : 'PUT',
      path: `/v1/kv/${this.keyOf(write.key)}?ns=${this.namespace}`,
      headers: { authorization: `Bearer ${token}` },
    })
    request.end(bytesOf(write.number))
    try {
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      const chunks: Uint8Array[] = []
      for await (const chunk of response) chunks.push(chunk)
      if (response.statusCode === 200) {
        const { result } = JSON.parse(Buffer.concat(chunks).toString())
        this.done(write, result.index)
        return
      }
      const code = String(response.headers['tailrace-error'])
      this.failed(write, code)
      if (code === 'EBUSY' && response.headers['retry-after'] === undefined) {
        counts.problem('an EBUSY over HTTP has no Retry-After')
      }
    } catch {
      this.failed(write, 'lost')
    }
  }
}

const store = await connect(`http://127.0.0.1:${port}`, { token, requests: 'http' })
for (const name of loadNamespaces) await store.namespaces.create(name)
const sockets = Array.from({ length: socketWriters }, (_, at) => new SocketWriter(at, `ws-${at}`))
await Promise.all(sockets.map((writer) => writer.connect()))
const writers: readonly Writer[] = [
  ...sockets,
  ...Array.from({ length: httpWriters }, (_, at) => new HttpWriter(at, `http-${at}`)),
]

async function measure(ms: number): Promise<LoadReport> {
  counts = new Counts()
  const end = performance.now() + ms
  while (performance.now() < end) {
    for (const writer of writers) {
      while (writer.open < measuredInFlight && writer.send()) counts.due++
    }
    await pause(1)
  }
  await settled()
  return counts.report()
}

let flooding = 0

async function flood(perSecond: number): Promise<void> {
  counts = new Counts()
  const run = ++flooding
  const start = performance.now()
  for (let at = 0; flooding === run; ) {
    const due = Math.floor(((performance.now() - start) * perSecond) / 1_000)
    for (; counts.due < due; counts.due++) {
      // One that cannot send leaves its write to the next one.
      const sent = writers.some(() => writers[at++ % writers.length]?.send())
      if (sent) continue
      counts.held += due - counts.due
      counts.due = due
      break
    }
    await pause(tickMs)
  }
}

async function settled(): Promise<void> {
  while (writers.some(({ open }) => open > 0)) await pause(10)
}

async function check(): Promise<LoadCheck> {
  let appends = 0
  let keys = 0
  const problems: string[] = []
  const wrong = (text: string) => {
    if (problems.length < problemsMax) problems.push(text)
  }
  for (const writer of writers) {
    const { namespace, unknown } = writer
    const log = writer.keyOf('log')
    let index = 0
    try {
      for await (const event of store.watch(log, { mode: 'append', namespace })) {
        if (event.type === 'live') break
        if (event.type !== 'append') continue
        const number = numberOf(event.data)
        const known = writer.appended[index]
        if (number === undefined) wrong(`${log}: blob ${index} is not what was sent`)
        else if (known === undefined && !unknown.has(number)) {
          wrong(`${log}: blob ${index} has ${number}, which was refused, or stands elsewhere`)
        } else if (known !== undefined && known !== number) {
          wrong(`${log}: blob ${index} has ${number}, acknowledged was ${known}`)
        }
        index++
      }
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw error
    }
    if (index < writer.appended.length) {
      wrong(`${log}: ${index} of ${writer.appended.length} acknowledged appends are there`)
    }
    appends += index
    for (const [key, number] of writer.put) {
      const value = await store.get(writer.keyOf(key), { namespace })
      const found = value && numberOf(value)
      const isLater = found !== undefined && found > number && unknown.has(found)
      if (found !== number && !isLater) {
        wrong(`${writer.keyOf(key)}: it has ${found}, acknowledged was ${number}`)
      }
      keys++
    }
  }
  return { appends, keys, problems }
}

process.on('message', async (order: LoadOrder) => {
  flooding++
  switch (order.do) {
    case 'measure':
      process.send?.(await measure(order.ms))
      return
    case 'flood':
      await flood(order.perSecond)
      return
    case 'settle':
      await settled()
      process.send?.(counts.report())
      return
    case 'check':
      process.send?.(await check())
      return
    default:
      order satisfies never
  }
})
// A parent that has gone has nothing to hear.
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
