/** The last use of each result, for eviction. See rfc/22, rule 18.
 *  Invariant: a result of a layer has `r/ID/used`, and the index has it under that hour, `u/HOUR/ID`.
 *  Other entries of the index mean nothing and are dropped when they are met. */

import type { Kvs } from '../api/kvs.js'
import type { Op } from '../api/transaction.js'
import { startTimer } from '../base/timer.js'
import type { Blobref } from '../blob/blobref.js'
import { commitJudged, type Judged } from './judged.js'
import { namespaceOf } from './layer.js'
import { hoursKey, useKey } from './record.js'

const hourMs = 3_600_000
const hourDigits = 8
/** The number of hits that are noted in one transaction, at most `readKeysMax` and `guardsMax`. */
const notesMax = 1_000
/** The longest time for which a hit is not noted, in ms. */
const noteMs = 60_000
/** The number of results whose notes of this hour are remembered; a note more changes nothing. */
const notedMax = 65_536

/** Returns the name of an hour: hours since 1970, in order. */
export function hourName(time: number): string {
  return String(Math.floor(time / hourMs)).padStart(hourDigits, '0')
}

/** Returns the end of an hour, ms since 1970. */
export function endOfHour(hour: string): number {
  return (Number(hour) + 1) * hourMs
}

/** Returns the hours of the last use of some results, now or `at` a root, and the seq of that root. */
export async function usesOf(
  kvs: Kvs,
  layer: string,
  ids: readonly string[],
  root: { readonly at?: number } = {},
): Promise<{ readonly uses: readonly (string | undefined)[]; readonly seq: number }> {
  const namespace = namespaceOf(layer)
  const { values, seq } = await kvs.readMany(ids.map(useKey), { namespace, ...root })
  const text = new TextDecoder()
  return { uses: values.map((value) => value && text.decode(value)), seq }
}

/** Returns the ops that note a use in an hour; `before` is the hour that was noted last. */
export function useOps(id: string, hour: string, before: string | undefined): Op[] {
  return [
    ...(before === hour ? [] : indexedOps(id, before)),
    { op: 'put', key: useKey(id), value: hour },
    { op: 'put', key: `${hoursKey}/${hour}/${id}`, value: '' },
  ]
}

/** Returns the ops that drop a result from the index; `hour` is the hour that was noted last. */
export function indexedOps(id: string, hour: string | undefined): Op[] {
  return hour === undefined ? [] : [{ op: 'unlink', key: `${hoursKey}/${hour}/${id}` }]
}

/** Notes hits of one layer, each result at most once an hour. Notes that wait when the process ends
 *  are lost: the result then counts as used before. Mutable; owned by the cache object. */
export class UsageNotes {
  readonly #kvs: Kvs
  readonly #layer: string
  readonly #noted = new Set<string>()
  #waiting = new Set<string>()
  #hour = ''
  #stopTimer: (() => void) | undefined

  constructor(kvs: Kvs, layer: string) {
    this.#kvs = kvs
    this.#layer = layer
  }

  /** Notes a hit of a result that was last used in an hour that is over. */
  note(id: string): void {
    const hour = hourName(Date.now())
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
      const changes = await this.#changesOf(ids, hourName(Date.now()))
      await commitJudged(this.#kvs, namespaceOf(this.#layer), changes)
    } catch {
      for (const id of ids) this.#noted.delete(id)
    }
  }

  /** Returns the notes of uses in an hour. One of a result that is removed meanwhile is refused: it
   *  would stand where no result is. */
  async #changesOf(ids: readonly string[], hour: string): Promise<readonly Judged[]> {
    const { uses, seq } = await usesOf(this.#kvs, this.#layer, ids)
    const root = { namespace: namespaceOf(this.#layer), at: seq }
    // Equal values have equal refs: one of each hour is asked for.
    const refs = new Map<string, Blobref>()
    const changes: Judged[] = []
    for (const [at, id] of ids.entries()) {
      const before = uses[at]
      if (before === undefined || before === hour) continue // it was removed, or is noted
      const key = useKey(id)
      const ref = refs.get(before) ?? (await this.#kvs.stat(key, root))?.ref
      if (!ref) continue
      refs.set(before, ref)
      changes.push({ guard: { key, ref }, ops: useOps(id, hour, before) })
    }
    return changes
  }
}
