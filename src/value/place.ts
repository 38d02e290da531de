/** The place of a stored value: a key of a store at one root. See rfc/23, rules 5 and 7.
 *  Invariant: the first read chooses the value, and all later reads and copies have the same one, or
 *  fail. While the first is on its way the others wait for it. */

import type { Kvs, Reading, ReadOptions, ReadScope } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { StoreOptions } from '../api/value.js'
import { joinAbort } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { isCode, TailraceError } from '../error.js'

/** The value that was seen: its ref, and the seq of a root that has it. */
export type SeenValue = { readonly ref: string; readonly seq: number }

/** The answer to a write of the value. */
export type StoredValue = { readonly seq: number; readonly ref: string | undefined }

/** The place of a value. Mutable: it learns which value that is. */
export class ValuePlace {
  readonly kvs: Kvs
  readonly key: string
  readonly #scope: Pick<ReadScope, 'namespace' | 'at'>
  #seen: SeenValue | undefined
  /** Settles when the first read has seen the value, or failed. */
  #choosing: Promise<void> | undefined

  constructor(
    kvs: Kvs,
    key: string,
    scope: Pick<ReadScope, 'namespace' | 'at'>,
    { seq, ref }: Partial<StoredValue> = {},
  ) {
    this.kvs = kvs
    this.key = key
    this.#scope = scope
    if (ref !== undefined && seq !== undefined) this.#seen = { ref, seq }
  }

  get namespace(): string | undefined {
    return this.#scope.namespace
  }

  /** Reads the value, or bytes of it, wherever the key leads now. Throws ENOENT, ECOMPACTED, and what
   *  `Kvs.read` throws. */
  async read(options: Pick<ReadOptions, 'from' | 'to' | 'signal'>): Promise<Reading> {
    return this.#inOrder(options.signal, {
      later: (seen) => this.#readAgain(seen, options),
      first: async () => {
        const reading = await this.kvs.read(this.key, { ...this.#scope, ...options })
        if (!reading) throw this.#missing()
        this.#seen = { ref: reading.stat.ref, seq: reading.stat.seq }
        return reading
      },
    })
  }

  /** Copies the value by reference, if it stands in that store. Returns undefined if it cannot. */
  async copyTo(
    kvs: Kvs,
    key: string,
    { namespace, guards = [], ttl, signal }: Omit<StoreOptions, 'timings'>,
  ): Promise<StoredValue | undefined> {
    if (this.kvs !== kvs || ttl !== undefined) return undefined
    const isWithin = (this.namespace ?? primary) === (namespace ?? primary)
    const copy = async (at: number | string | undefined): Promise<StoredValue> => {
      const op = {
        ...({ op: 'copy', key, from: this.key, replace: true } as const),
        ...{ namespace: this.namespace ?? primary, ...(at !== undefined && { at }) },
      }
      const into = { ...(namespace !== undefined && { namespace }), ...(signal && { signal }) }
      const { seq, results } = await kvs.commit({ guards, ops: [op] }, into)
      return { seq, ref: results[0]?.ref }
    }
    try {
      if (this.#scope.at !== undefined) return await copy(this.#scope.at)
      return await this.#inOrder(signal, {
        later: ({ seq }) => copy(seq),
        first: async () => {
          // The root of a copy within a namespace has the source, too. That of another one says
          // nothing of it: then a look chooses the value.
          if (!isWithin) return copy(await this.#look(signal))
          const copied = await copy(undefined)
          if (copied.ref !== undefined) this.#seen = { ref: copied.ref, seq: copied.seq }
          return copied
        },
      })
    } catch (error) {
      // The root is no longer retained. The value may be there all the same.
      if (isCode(error, 'ECOMPACTED')) return undefined
      throw error
    }
  }

  /** Chooses the value without reading it. Returns the seq of its root. */
  async #look(signal: AbortSignal | undefined): Promise<number> {
    const stat = await this.kvs.stat(this.key, { ...this.#scope, ...(signal && { signal }) })
    if (!stat) throw this.#missing()
    this.#seen = { ref: stat.ref, seq: stat.seq }
    return stat.seq
  }

  /** Runs `first` if nobody has seen the value, alone, and `later` otherwise. */
  async #inOrder<R>(
    signal: AbortSignal | undefined,
    run: { readonly first: () => Promise<R>; readonly later: (seen: SeenValue) => Promise<R> },
  ): Promise<R> {
    while (!this.#seen && this.#choosing) await joinAbort(this.#choosing, signal)
    if (this.#seen) return run.later(this.#seen)
    const chosen = deferred<void>()
    this.#choosing = chosen.promise
    try {
      return await run.first()
    } finally {
      this.#choosing = undefined
      chosen.resolve()
    }
  }

  async #readAgain(
    { ref, seq }: SeenValue,
    options: Pick<ReadOptions, 'from' | 'to' | 'signal'>,
  ): Promise<Reading> {
    const reading = await this.kvs.read(this.key, { ...this.#scope, ...options })
    if (reading?.stat.ref === ref) return reading
    // Something else stands there now: ends its stream.
    for await (const _ of reading?.chunks ?? []) break
    const then = await this.kvs.read(this.key, { ...this.#scope, ...options, at: seq })
    if (then?.stat.ref === ref) return then
    // Its namespace was removed and made again.
    for await (const _ of then?.chunks ?? []) break
    throw this.#missing()
  }

  #missing(): TailraceError {
    const within = this.namespace === undefined ? '' : ` in ${this.namespace}`
    return new TailraceError('ENOENT', `there is no ${this.key}${within}`)
  }
}
