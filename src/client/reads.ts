/** The reads of a store, over a server. See rfc/12, rule 16.
 *  Invariant: each read answers as the embedded store would. A read whose answer was lost is sent
 *  again. Small ones take the road (rule 37). */

import {
  getSizeMax,
  type Listing,
  type ListOptions,
  type Reading,
  type ReadOptions,
  type ReadScope,
  type RootOptions,
  type RootView,
  type Stat,
  type StatOptions,
  type TreeobjOptions,
} from '../api/kvs.js'
import { isCode } from '../error.js'
import type { TreeobjJson } from '../treeobj/treeobj.js'
import { getKey, getTreeobj, listKeys, root, statKey } from '../wire/keys.js'
import type { AnswerOf } from '../wire/request.js'
import { read } from '../wire/transaction.js'
import { missing, placed } from './call.js'
import type { Asking, Http } from './http.js'
import { readingOf } from './reading.js'
import type { Road } from './road.js'

export class RemoteReads {
  readonly #http: Http
  readonly #road: Road

  constructor(http: Http, road: Road) {
    this.#http = http
    this.#road = road
  }

  get(key: string, options: ReadScope = {}): Promise<Uint8Array | undefined> {
    const { signal, namespace, ...scope } = options
    return this.#road.ask({
      spec: read,
      namespace,
      body: { keys: [key], ...scope },
      signal,
      take: onlyValueOf,
      overHttp: () => this.#get(key, options),
      // A `read` takes no value above `blobSizeMax`.
      overHttpAfter: 'E2BIG',
    })
  }

  async #get(key: string, options: ReadScope): Promise<Uint8Array | undefined> {
    const { signal: _, ...scope } = options
    const { path } = placed(getKey, { key, ...scope })
    return missing(
      this.#http.read(path, { ...askingOf(options), shape: 'value' }, (response) =>
        response.bytes(getSizeMax).catch((error: unknown) => this.#explain(error, key, options)),
      ),
    )
  }

  async read(key: string, options: ReadOptions = {}): Promise<Reading | undefined> {
    const { signal, ...scope } = options
    const { at, index, from } = scope
    const { path } = placed(getKey, { key, ...scope })
    const asking = { ...askingOf(options), long: true, shape: 'value' as const }
    const readOn = ({ base, seq }: Stat, received: number): Promise<unknown> => {
      const begin = (from ?? base?.size ?? 0) + received
      const { minSeq: _minSeq, index: _index, ...where } = scope
      const rest = { ...where, key, at: at ?? seq, from: begin, to: begin + 1 }
      return this.#http.read(placed(getKey, rest).path, { signal, shape: 'value' }, (response) =>
        response.bytes(1),
      )
    }
    const reading = this.#http.read(path, asking, async (response) => readingOf(response, readOn))
    if (index === undefined) return missing(reading)
    // HTTP says ENOENT for a missing key and for an index past the end. Only the latter throws
    // here.
    return reading.catch(async (error: unknown) => {
      const { index: _, from: _from, to: _to, ...there } = options
      if (!isCode(error, 'ENOENT') || (await this.stat(key, there))) throw error
      return undefined
    })
  }

  /** Reads a value again whose answer was cut. If the value is damaged, this read throws the
   *  reason; otherwise it throws `error`. */
  async #explain(error: unknown, key: string, options: ReadScope): Promise<never> {
    if (!isCode(error, 'EUNKNOWN')) throw error
    const reading = await this.read(key, options)
    for await (const _ of reading?.chunks ?? []);
    throw error
  }

  async stat(key: string, { signal, ...args }: StatOptions = {}): Promise<Stat | undefined> {
    return missing(this.#road.call(statKey, { key, ...args }, signal))
  }

  async treeobj(
    key: string,
    { signal, ...args }: TreeobjOptions = {},
  ): Promise<TreeobjJson | undefined> {
    return missing(this.#road.call(getTreeobj, { key, ...args }, signal))
  }

  async list(key: string, { signal, ...args }: ListOptions = {}): Promise<Listing> {
    return this.#road.call(listKeys, { key, ...args }, signal)
  }

  async readMany(
    keys: readonly string[],
    { signal, ...args }: ReadScope = {},
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }> {
    // A copy, since the request may be asked again later.
    const { seq, values } = await this.#road.call(read, { keys: [...keys], ...args }, signal)
    return { seq, values: values.map((value) => value ?? undefined) }
  }

  async root({ signal, ...args }: RootOptions = {}): Promise<RootView> {
    return this.#road.call(root, args, signal)
  }
}

/** Returns the one value of an answer. Its bytes are a part of what came with them, which a copy does
 *  not keep in memory. The copy is a Buffer if they are one. */
function onlyValueOf({ values: [value] }: AnswerOf<typeof read>): Uint8Array | undefined {
  return value ? Uint8Array.prototype.slice.call(value) : undefined
}

/** Returns the options of a request for a read. A read with `minSeq` may wait for its answer. */
function askingOf(scope: ReadScope): Pick<Asking, 'signal' | 'patience'> {
  return { signal: scope.signal, patience: scope.minSeq === undefined ? undefined : 'answer' }
}
