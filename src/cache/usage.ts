/** The last use of each result, for eviction. See rfc/22, rule 18.
 *  Invariant: the record of a result has the hour of its last use, and the index has it under that hour.
 *  What the index has under other hours means nothing, and is dropped when it is met. */

import type { Kvs } from '../api/kvs.js'
import { startTimer } from '../base/timer.js'
import { commitJudged, type Judged } from './judged.js'
import { namespaceOf } from './layer.js'
import { encodeRecord, recordKey } from './record.js'
import { readRecords } from './records.js'
import { hourOf, type Use, useOps } from './use-index.js'

/** The number of hits that are noted in one transaction: their records fit into it. */
const notesMax = 256
/** The longest time for which a hit is not noted, in ms. */
const noteMs = 60_000
/** The number of results whose notes of this hour are remembered; a note more changes nothing. */
const notedMax = 65_536

/** Notes hits of one layer, each result at most once an hour. Notes that wait when the process ends
 *  are lost: the result then counts as used before. Mutable; owned by the cache object. */
export class UsageNotes {
  readonly #kvs: Kvs
  readonly #layer: string
  readonly #noted = new Set<string>()
  #waiting = new Set<string>()
  #hour = 0
  #stopTimer: (() => void) | undefined

  constructor(kvs: Kvs, layer: string) {
    this.#kvs = kvs
    this.#layer = layer
  }

  /** Notes a hit of a result that was last used in an hour that is over. */
  note(id: string): void {
    const hour = hourOf(Date.now())
    if (hour !== this.#hour || this.#noted.size >= notedMax) this.#noted.clear()
    this.#hour = hour
    if (this.#noted.has(id)) return
    this.#noted.add(id)
    this.#waiting.add(id)
    if (this.#waiting.size >= notesMax) void this.flush()
    else this.#stopTimer ??= startTimer(noteMs, () => void this.flush())
  }

  /** Writes the notes that wait. Never throws: a use that cannot be noted is noted in a later
   *  hour. */
  async flush(): Promise<void> {
    this.#stopTimer?.()
    this.#stopTimer = undefined
    const ids = [...this.#waiting]
    this.#waiting = new Set()
    if (ids.length === 0) return
    try {
      const hour = hourOf(Date.now())
      const changes = await this.#changesOf(ids, hour)
      await commitJudged(this.#kvs, namespaceOf(this.#layer), changes, {
        more: (left) => useOps(hour, left),
      })
    } catch {
      for (const id of ids) this.#noted.delete(id)
    }
  }

  /** Returns the notes of uses in an hour. One of a result that is removed or replaced meanwhile is
   *  refused: it would bring it back. */
  async #changesOf(ids: readonly string[], hour: number): Promise<readonly (Judged & Use)[]> {
    const found = await readRecords(this.#kvs, this.#layer, ids)
    const namespace = namespaceOf(this.#layer)
    const changes = found.map(async ({ record, seq }, at): Promise<(Judged & Use)[]> => {
      const id = ids[at] ?? ''
      if (!record || record.used === hour) return []
      const key = recordKey(id)
      const stat = await this.#kvs.stat(key, { namespace, at: seq })
      if (!stat) return []
      const value = encodeRecord({ ...record, used: hour })
      const guard = { key, ref: stat.ref }
      return [{ id, token: record.token, guard, ops: [{ op: 'put', key, value }] }]
    })
    return (await Promise.all(changes)).flat()
  }
}
