/** A call in a directory: all that its function was given, without the store. See rfc/27, rule 3.
 *  Invariant: a result there has the hash that the action tells. An input that is gone is told as
 *  missing, with the reason, and never as another value. */

import { createWriteStream } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Packed } from '../api/value.js'
import { StreamHash } from '../blob/hash.js'
import { pack, unpack } from '../cache/packing.js'
import { type ErrorRecord, hasSystemCode, TailraceError } from '../error.js'
import { openValues } from '../value/values.js'
import type { InputAction, TargetAction } from './action.js'
import { isDirectoryPath } from './file-input.js'
import type { ModuleCode } from './modules.js'
import type { Plan } from './plan.js'

/** The version of what stands in the directory. */
const callVersion = 1
/** The directory with the call, within that of the user. */
const hidden = '.tailrace'
/** The size of the pieces in which packed bytes are hashed. */
const pieceSize = 1024 * 1024

/** An element of a branch: a packed result, or an item of one. */
export type ElementPlace =
  | { readonly hash: string; readonly index?: number }
  | { readonly missing: string }

/** A call whose packed results stand beside it. */
export type PackedCall = {
  readonly target: string
  readonly run: string
  readonly error?: ErrorRecord
  readonly action: TargetAction
  /** The code of its module; null if the flow has not that. */
  readonly module: ModuleCode | null
  /** The hashes of the results of the targets that it depends on, by their names. */
  readonly sources: { readonly [name: string]: string }
  /** The hashes of the results of branches, by that of the result of their `map` or `cross`. */
  readonly branches: { readonly [hash: string]: readonly string[] }
  readonly elements: readonly ElementPlace[]
  /** The paths of files within the directory, by the paths that the action tells. */
  readonly files: { readonly [path: string]: string }
  /** The reasons why results, by their hashes, and files, by their paths, are not there. */
  readonly missing: { readonly [name: string]: string }
}

/** Writes a call into a directory, whose results are there. */
export async function writeCall(directory: string, call: PackedCall): Promise<void> {
  const { error, ...more } = call
  const whole = { version: callVersion, ...more, ...(error && { error }) }
  await mkdir(join(directory, hidden), { recursive: true })
  await writeFile(join(directory, hidden, 'call'), pack(whole, 'a call'))
}

/** Writes packed bytes into a directory, and returns their hash. */
export async function writeResult(
  directory: string,
  name: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<string> {
  await mkdir(join(directory, hidden, 'results'), { recursive: true })
  using hash = new StreamHash()
  const hashed = async function* () {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += pieceSize) {
        hash.update(chunk.subarray(at, at + pieceSize))
      }
      yield chunk
    }
  }
  await pipeline(hashed, createWriteStream(resultPath(directory, name)))
  return hash.digest().toString('hex')
}

/** Throws ECORRUPT for what is no hash: it comes from the store, and may name no other place. */
function resultPath(directory: string, hash: string): string {
  if (!/^[0-9a-f]{64}$/.test(hash)) {
    throw new TailraceError('ECORRUPT', `the call names a result by ${JSON.stringify(hash)}`)
  }
  return join(directory, hidden, 'results', hash)
}

/** Reads the call in a directory. Throws ENOENT (there is none), EINVAL (it is one of another
 *  version). */
export async function readCall(directory: string): Promise<PackedCall> {
  const path = join(directory, hidden, 'call')
  const bytes = await readFile(path).catch((cause: unknown) => {
    if (!hasSystemCode(cause, 'ENOENT')) throw cause
    const message = `${directory} has no call: "tailrace flow shell TARGET" makes such a directory`
    throw new TailraceError('ENOENT', message, { cause })
  })
  const call = unpack(bytes, path) as PackedCall & { readonly version?: unknown }
  if (call.version === callVersion) return call
  throw new TailraceError('EINVAL', `${path} is of another version of tailrace: reopen the call`)
}

/** Tells the items of a long array of inputs, which the action has the hash of alone, from the way in
 *  which its target is made now; undefined if these are others. */
export type LongItems = (hash: string, plan: Plan) => readonly InputAction[] | undefined

/** The values that a call gets. They stay in memory. */
export class CallValues {
  readonly #directory: string
  readonly #call: PackedCall
  readonly #longItems: LongItems
  readonly #leaves = new Map<string, Promise<Packed<unknown>>>()
  readonly #values = openValues({
    packedMax: Number.MAX_SAFE_INTEGER,
    openedMax: Number.MAX_SAFE_INTEGER,
  })

  constructor(directory: string, call: PackedCall, longItems: LongItems = () => undefined) {
    this.#directory = directory
    this.#call = call
    this.#longItems = longItems
  }

  /** Returns an element of a branch. Throws ENOENT. */
  async element(at: number): Promise<unknown> {
    const place = this.#call.elements[at]
    if (!place || 'missing' in place) throw missing(`element ${at}`, place?.missing)
    const value = await this.#result(place.hash)
    return place.index === undefined ? value : (value as readonly unknown[])[place.index]
  }

  /** Returns an input, in the form in which a plan wants results. Throws ENOENT. */
  async input(input: InputAction, plan?: Plan): Promise<unknown> {
    if ('value' in input) return input.value
    if ('result' in input) {
      return plan?.type === 'packed' ? this.#packed(input.result) : this.#result(input.result)
    }
    if ('file' in input) {
      const path = this.#call.files[input.file]
      // The path of a directory ends with a slash, here too.
      if (path !== undefined)
        return join(this.#directory, path, isDirectoryPath(input.file) ? '/' : '')
      throw missing(`the file ${input.file}`, this.#call.missing[input.file])
    }
    if ('items' in input) {
      const plans = plan?.type === 'list' ? plan.items : []
      const items: unknown[] = []
      for (const [at, item] of input.items.entries()) items.push(await this.input(item, plans[at]))
      return items
    }
    if ('itemsHash' in input) {
      const items = plan && this.#longItems(input.itemsHash, plan)
      if (items) return this.input({ items }, plan)
      throw missing('a long array', 'its items are known by the code that gave them alone')
    }
    const plans = new Map(plan?.type === 'fields' ? plan.fields : [])
    const fields: [string, unknown][] = []
    for (const [name, field] of Object.entries(input.fields)) {
      fields.push([name, await this.input(field, plans.get(name))])
    }
    return Object.fromEntries(fields)
  }

  async #result(hash: string): Promise<unknown> {
    const { branches } = this.#call
    const parts = Object.hasOwn(branches, hash) ? branches[hash] : undefined
    if (!parts) return this.#opened(hash)
    const array: unknown[] = []
    for (const part of parts) array.push(await this.#opened(part))
    return array
  }

  async #packed(hash: string): Promise<Packed<unknown>> {
    if (!Object.hasOwn(this.#call.branches, hash)) return this.#leaf(hash)
    return this.#values.pack(await this.#result(hash))
  }

  async #opened(hash: string): Promise<unknown> {
    const packed = await this.#leaf(hash)
    return (await packed.open()).value
  }

  #leaf(hash: string): Promise<Packed<unknown>> {
    const leaf = this.#leaves.get(hash) ?? this.#read(hash)
    this.#leaves.set(hash, leaf)
    return leaf
  }

  async #read(hash: string): Promise<Packed<unknown>> {
    const { sources, missing: reasons } = this.#call
    const reason = reasons[hash]
    const name = Object.keys(sources).find((each) => sources[each] === hash)
    if (reason !== undefined) throw missing(`the result of ${name ?? 'a target'}`, reason)
    return this.#values.of(await readFile(resultPath(this.#directory, hash)))
  }
}

function missing(what: string, reason = 'nobody knows it'): TailraceError {
  return new TailraceError('ENOENT', `${what} is not here: ${reason}`)
}
