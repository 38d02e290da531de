/** Looks for the results of actions: those of one turn of the event loop share a request for each
 *  layer. See rfc/22, rule 10.
 *  Invariant: a look is sent after the call that asks for it, so that its answer is never older than
 *  the call. */

import type { Kvs } from '../api/kvs.js'
import type { Token } from '../api/transaction.js'
import { joinAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { StoredHit, sameToken } from './hit.js'
import { isDamaged, noSeq, type ReadRecord, readRecords, recordsAtOnce } from './records.js'

/** The answer of a look: the result, the seq of the root of the first layer that was read, and if that
 *  layer has a record whose bytes are gone or damaged. */
type Look = {
  readonly hit: StoredHit | undefined
  readonly seq: number
  readonly isDamaged: boolean
}
/** The ids that one request looks for. */
type Batch = Map<string, Deferred<ReadRecord>>

export class ResultLooks {
  readonly #kvs: Kvs
  /** The requests that are sent at the end of this turn, by layer. */
  readonly #gathering = new Map<string, Batch>()

  constructor(kvs: Kvs) {
    this.#kvs = kvs
  }

  /** Looks for the result of an action in some layers; the first of them that has one counts. `but`:
   *  the tokens of results that do not count. A record whose bytes are gone or damaged counts as none. */
  async find(
    layers: readonly string[],
    id: string,
    { signal, but = [] }: { readonly signal?: AbortSignal; readonly but?: readonly Token[] } = {},
  ): Promise<Look> {
    const asked = Promise.all(layers.map((layer) => this.#ask(layer, id)))
    const found = await joinAbort(asked, signal)
    const damaged = found[0] !== undefined && isDamaged(found[0])
    for (const [at, layer] of layers.entries()) {
      const { record, seq = noSeq } = found[at] ?? {}
      if (!record || but.some((token) => sameToken(token, record.token))) continue
      const hit = new StoredHit(this.#kvs, { id, layer, seq }, record)
      return { hit, seq, isDamaged: damaged }
    }
    return { hit: undefined, seq: found[0]?.seq ?? noSeq, isDamaged: damaged }
  }

  #ask(layer: string, id: string): Promise<ReadRecord> {
    const gathering = this.#gathering.get(layer)
    const known = gathering?.get(id)
    if (known) return known.promise
    const batch = gathering && gathering.size < recordsAtOnce ? gathering : this.#begin(layer)
    const asked = deferred<ReadRecord>()
    batch.set(id, asked)
    return asked.promise
  }

  #begin(layer: string): Batch {
    const batch: Batch = new Map()
    this.#gathering.set(layer, batch)
    // In a promise's continuation, a tick comes behind all other continuations of the turn.
    process.nextTick(() => {
      if (this.#gathering.get(layer) === batch) this.#gathering.delete(layer)
      void this.#send(layer, batch)
    })
    return batch
  }

  /** Reads the records of a batch. Never throws: those who asked are told. */
  async #send(layer: string, batch: Batch): Promise<void> {
    const asked = [...batch]
    try {
      const ids = asked.map(([id]) => id)
      const found = await readRecords(this.#kvs, layer, ids)
      for (const [at, [, { resolve, reject }]] of asked.entries()) {
        const one = found[at] ?? { record: undefined, seq: noSeq }
        if (one.error && !isDamaged(one)) reject(one.error)
        else resolve(one)
      }
    } catch (error) {
      for (const [, { reject }] of asked) reject(error)
    }
  }
}
