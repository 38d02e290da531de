/** The reads of a store behind a server. See rfc/12.
 *  Invariant: a read that was lost is asked again; what comes is what the embedded store would say. */

import type { Stat } from '../api/kvs.js'
import {
  getSizeMax,
  type Listing,
  type Reading,
  type ReadOptions,
  type ReadScope,
  type RootView,
} from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import { isCode } from '../error.js'
import type { TreeobjJson } from '../tree/json.js'
import * as answers from '../wire/answers.js'
import type { Http } from './http.js'
import { pathOf, pathOfKey } from './path.js'
import { readingOf } from './reading.js'
import { askingOf, missing, namespaceOf, readQuery } from './scope.js'

export class RemoteReads {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async get(key: string, options: ReadScope = {}): Promise<Uint8Array | undefined> {
    const path = pathOfKey('kv', key, readQuery(options))
    return missing(
      this.#http.read(path, { ...askingOf(options), shape: 'value' }, (response) =>
        response.bytes(getSizeMax).catch((error: unknown) => this.#explain(error, key, options)),
      ),
    )
  }

  async read(key: string, options: ReadOptions = {}): Promise<Reading | undefined> {
    const { at, index, from, to } = options
    const path = pathOfKey('kv', key, { ...readQuery(options), index, from, to })
    const asking = { ...askingOf(options), long: true, shape: 'value' as const }
    const readOn = ({ base, seq }: Stat, received: number): Promise<unknown> => {
      const begin = (from ?? base?.size ?? 0) + received
      const rest = { namespace: options.namespace, at: at ?? seq, from: begin, to: begin + 1 }
      const { signal } = options
      return this.#http.read(pathOfKey('kv', key, rest), { signal, shape: 'value' }, (response) =>
        response.bytes(1),
      )
    }
    const reading = this.#http.read(path, asking, async (response) => readingOf(response, readOn))
    if (index === undefined) return missing(reading)
    // Over HTTP a missing key and an index past the end are both ENOENT: here only the second is.
    return reading.catch(async (error: unknown) => {
      if (!isCode(error, 'ENOENT') || (await this.stat(key, options))) throw error
      return undefined
    })
  }

  /** Why an answer was cut: a value that fails in its middle fails again, with what is the matter. */
  async #explain(error: unknown, key: string, options: ReadScope): Promise<never> {
    if (!isCode(error, 'EUNKNOWN')) throw error
    const reading = await this.read(key, options)
    for await (const _ of reading?.chunks ?? []);
    throw error
  }

  async stat(
    key: string,
    options: ReadScope & { readonly nofollow?: boolean } = {},
  ): Promise<Stat | undefined> {
    const path = pathOfKey('stat', key, { ...readQuery(options), nofollow: options.nofollow })
    return missing(this.#http.readJson(path, askingOf(options), answers.parseStat))
  }

  async treeobj(
    key: string,
    options: ReadScope & { readonly after?: number; readonly limit?: number } = {},
  ): Promise<TreeobjJson | undefined> {
    const { after, limit } = options
    const path = pathOfKey('treeobj', key, { ...readQuery(options), after, limit })
    return missing(this.#http.readJson(path, askingOf(options), answers.parseTreeobjJson))
  }

  async list(
    key: string,
    options: ReadScope & {
      readonly after?: string
      readonly limit?: number
      readonly recursive?: boolean
    } = {},
  ): Promise<Listing> {
    const { after, limit, recursive } = options
    const path = pathOfKey('list', key, { ...readQuery(options), after, limit, recursive })
    return this.#http.readJson(path, askingOf(options), answers.parseListing)
  }

  async readMany(
    keys: readonly string[],
    options: ReadScope = {},
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }> {
    const { at, minSeq } = options
    const path = pathOf('read', namespaceOf(options))
    return this.#http.readJson(path, askingOf(options), answers.parseValues, { keys, at, minSeq })
  }

  async root(options: Scope & { readonly waitSeq?: number } = {}): Promise<RootView> {
    const { waitSeq, signal } = options
    const path = pathOf('root', { ...namespaceOf(options), waitSeq })
    const patience = waitSeq === undefined ? undefined : 'answer'
    return this.#http.readJson(path, { signal, patience }, answers.parseRootView)
  }
}
