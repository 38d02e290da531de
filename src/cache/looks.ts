/** ResultLooks for the results of actions: those of one turn of the event loop share a request for each
 *  layer. See rfc/22, rule 10.
 *  Invariant: a look is sent after the call that asks for it, so that its answer is never older than
 *  the call. */

import type { Kvs } from '../api/kvs.js'
import { readSizeMax } from '../api/kvs.js'
import type { Token } from '../api/transaction.js'
import { joinAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Code, isCode } from '../error.js'
import { StoredHit, sameToken } from './hit.js'
import { namespaceOf } from './layer.js'
import { damage, parseRecord, type ResultRecord, recordKey } from './record.js'

/** The largest number of results that one request looks for: their records fit into its answer
 *  whatever their sizes are. */
const lookIdsMax = readSizeMax / blobSizeMax
/** The seq of a layer that is not there. */
const noSeq = -1
/** Codes of a read of several records that one of them alone may have caused. */
const ofOneRecord: readonly Code[] = ['E2BIG', 'EISDIR', 'ENOTDIR', 'ELOOP', ...damage]

/** The answer of a look: the result, the seq of the root of the first layer that was read, and if that
 *  layer has a record whose bytes are gone or damaged. */
type Look = {
  readonly hit: StoredHit | undefined
  readonly seq: number
  readonly isDamaged: boolean
}
type Found = {
  readonly record: ResultRecord | undefined
  readonly seq: number
  readonly isDamaged?: boolean
}
/** The ids that one request looks for. */
type Batch = Map<string, Deferred<Found>>

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
    const isDamaged = found[0]?.isDamaged === true
    for (const [at, layer] of layers.entries()) {
      const { record, seq = noSeq } = found[at] ?? {}
      if (!record || but.some((token) => sameToken(token, record.token))) continue
      return { hit: new StoredHit(this.#kvs, { id, layer, seq }, record), seq, isDamaged }
    }
    return { hit: undefined, seq: found[0]?.seq ?? noSeq, isDamaged }
  }

  #ask(layer: string, id: string): Promise<Found> {
    const gathering = this.#gathering.get(layer)
    const known = gathering?.get(id)
    if (known) return known.promise
    const batch = gathering && gathering.size < lookIdsMax ? gathering : this.#begin(layer)
    const asked = deferred<Found>()
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
      const keys = asked.map(([id]) => recordKey(id))
      const { seq, values } = await this.#kvs.readMany(keys, { namespace: namespaceOf(layer) })
      for (const [at, [id, { resolve, reject }]] of asked.entries()) {
        const bytes = values[at]
        try {
          resolve({ record: bytes && parseRecord(bytes, id), seq })
        } catch (error) {
          reject(error)
        }
      }
    } catch (error) {
      if (isCode(error, 'ENONS')) {
        // The layer was removed, or nobody has made it yet.
        for (const [, { resolve }] of asked) resolve({ record: undefined, seq: noSeq })
      } else if (asked.length > 1 && ofOneRecord.some((code) => isCode(error, code))) {
        for (const each of asked) void this.#send(layer, new Map([each]))
      } else if (damage.some((code) => isCode(error, code))) {
        const lost = { record: undefined, seq: noSeq, isDamaged: true }
        for (const [, { resolve }] of asked) resolve(lost)
      } else {
        for (const [, { reject }] of asked) reject(error)
      }
    }
  }
}
