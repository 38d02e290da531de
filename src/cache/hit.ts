/** Results that were found. See rfc/22, rules 10 and 14.
 *  Invariant: all outputs are read at the root where the record was found, or at a later one that
 *  has the same result: they belong together whatever is published or removed meanwhile. */

import { type Hit, onlyOutput, type ResultView, type StoredOutput } from '../api/cache.js'
import { getSizeMax, type Kvs, type Reading } from '../api/kvs.js'
import type { Token } from '../api/transaction.js'
import { isCode, TailraceError, unless } from '../error.js'
import { namespaceOf } from './layer.js'
import { unpack } from './packing.js'
import {
  actionKey,
  type OutputRecord,
  outputKey,
  parseRecord,
  type ResultRecord,
  recordKey,
} from './record.js'

/** True if two tokens name the same holding. */
export function sameToken(a: Token, b: Token): boolean {
  return a.incarnation === b.incarnation && a.seq === b.seq
}

/** Reads the record of a result, with the seq of its root; undefined if it is not there. Throws what
 *  `Kvs.readMany` throws, EINVAL. */
export async function readRecord(kvs: Kvs, layer: string, id: string) {
  const { seq, values } = await kvs.readMany([recordKey(id)], { namespace: namespaceOf(layer) })
  const [bytes] = values
  return bytes && { record: parseRecord(bytes, id), seq }
}

/** The place where a result was found. */
type Place = { readonly id: string; readonly layer: string; readonly seq: number }

/** A result that was found in a layer. */
export class StoredHit implements Hit {
  readonly type = 'hit'
  readonly #kvs: Kvs
  readonly #found: Place
  readonly #record: ResultRecord
  /** The seq of the root to read. */
  #seq: number
  /** The view, once it was asked for: most hits are only read. */
  #result: ResultView | undefined

  constructor(kvs: Kvs, found: Place, record: ResultRecord) {
    this.#kvs = kvs
    this.#found = found
    this.#record = record
    this.#seq = found.seq
  }

  get result(): ResultView {
    this.#result ??= viewOf(this.#found, this.#record)
    return this.#result
  }

  async get(name: string = onlyOutput): Promise<Uint8Array> {
    const { size, bytes } = this.#output(name)
    if (bytes) return Uint8Array.from(bytes)
    if (size > getSizeMax) {
      throw new TailraceError('E2BIG', `the output ${name} has ${size} bytes: read it as a stream`)
    }
    const key = outputKey(this.#found.id, name)
    return this.#there(name, await this.#retained((scope) => this.#kvs.get(key, scope)))
  }

  place(name: string = onlyOutput): StoredOutput | undefined {
    if (this.#output(name).bytes) return undefined
    const { id, layer } = this.#found
    return { namespace: namespaceOf(layer), key: outputKey(id, name), at: this.#seq }
  }

  async action(): Promise<unknown> {
    const { id } = this.#found
    const what = `the action of the result ${id}`
    const { action } = this.#record
    if (action.bytes) return unpack(action.bytes, what)
    const bytes = await this.#retained((scope) => this.#kvs.get(actionKey(id), scope))
    if (!bytes) throw new TailraceError('ENOENT', `${what} is gone`)
    return unpack(bytes, what)
  }

  async *stream(name: string = onlyOutput): AsyncGenerator<Uint8Array, void, undefined> {
    const { bytes } = this.#output(name)
    if (bytes) {
      yield Uint8Array.from(bytes)
      return
    }
    const key = outputKey(this.#found.id, name)
    const read = (scope: { readonly namespace: string; readonly at: number }) =>
      this.#kvs.read(key, scope)
    const reading: Reading = this.#there(name, await this.#retained(read))
    yield* reading.chunks
  }

  #output(name: string): OutputRecord {
    const { outputs } = this.#record
    const output = Object.hasOwn(outputs, name) ? outputs[name] : undefined
    if (output) return output
    const names = Object.keys(outputs).slice(0, 10).join(', ')
    throw new TailraceError('ENOENT', `the result has no output "${name}": it has ${names}`)
  }

  /** Reads at the root where the result was found. If that is no longer retained, it reads at the
   *  newest root, if the result is still there. Throws ECOMPACTED. */
  async #retained<T>(
    read: (scope: { readonly namespace: string; readonly at: number }) => Promise<T>,
  ): Promise<T> {
    const { id, layer } = this.#found
    const { token } = this.#record
    const namespace = namespaceOf(layer)
    try {
      return await read({ namespace, at: this.#seq })
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED')) throw error
      const now = await readRecord(this.#kvs, layer, id).catch(unless('ENONS'))
      if (!now || !sameToken(now.record.token, token)) throw error
      this.#seq = now.seq
    }
    return read({ namespace, at: this.#seq })
  }

  #there<T>(name: string, found: T | undefined): T {
    if (found !== undefined) return found
    const message = `the bytes of the output "${name}" of ${this.#found.id} are gone: rerun the action`
    throw new TailraceError('ENOENT', message)
  }
}

/** Returns the view of a result. Hits of one record share that; what a caller gets is its own. */
function viewOf(found: Place, { action: _action, used: _used, ...told }: ResultRecord): ResultView {
  const outputs = Object.entries(told.outputs).map(([name, { size }]) => [name, { size }])
  return {
    ...told,
    ...{ by: { ...told.by }, token: { ...told.token } },
    ...found,
    outputs: Object.fromEntries(outputs),
  }
}
