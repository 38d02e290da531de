/** The last use of each result, for eviction. See rfc/22, rule 18.
 *  Invariant: a result of a layer has `used/ID`, and the index has it under that hour, `u/HOUR/ID`.
 *  Other entries of the index mean nothing and are dropped when they are met. */

import type { Kvs } from '../api/kvs.js'
import type { Op } from '../api/transaction.js'
import { startTimer } from '../base/timer.js'
import { namespaceOf } from './layer.js'
import { usesKey } from './record.js'

const hourMs = 3_600_000
const hourDigits = 8
/** The number of hits that are noted in one transaction, at most `readKeysMax`. */
const notesMax = 1_000
/** The longest time for which a hit is not noted, in ms. */
const noteMs = 60_000
/** The number of results whose notes of this hour are remembered; a note more changes nothing. */
const notedMax = 65_536

/** The directory of the index, by hours. */
export const hoursKey = 'u'

/** Returns the key of the last use of a result. */
export function useKey(id: string): string {
  return `${usesKey}/${id}`
}

/** Returns the name of an hour: hours since 1970, in order. */
export function hourName(time: number): string {
  return String(Math.floor(time / hourMs)).padStart(hourDigits, '0')
}

/** Returns the end of an hour, ms since 1970. */
export function endOfHour(hour: string): number {
  return (Number(hour) + 1) * hourMs
}

/** Returns the hours of the last use of some results, as the layer has them now or `at` a root. */
export async function usesOf(
  kvs: Kvs,
  layer: string,
  ids: readonly string[],
  root: { readonly at?: number } = {},
): Promise<readonly (string | undefined)[]> {
  const namespace = namespaceOf(layer)
  const { values } = await kvs.readMany(ids.map(useKey), { namespace, ...root })
  const text = new TextDecoder()
  return values.map((value) => value && text.decode(value))
}

/** Returns the ops that note a use in an hour; `before` is the hour that is noted now. */
export function useOps(id: string, hour: string, before: string | undefined): Op[] {
  if (before === hour) return []
  return [
    ...indexedOps(id, before),
    { op: 'put', key: useKey(id), value: hour },
    { op: 'put', key: `${hoursKey}/${hour}/${id}`, value: '' },
  ]
}

/** Returns the ops that drop a result from the index; `hour` is the hour that is noted now. */
export function unuseOps(id: string, hour: string | undefined): Op[] {
  return [...indexedOps(id, hour), { op: 'unlink', key: useKey(id) }]
}

function indexedOps(id: string, hour: string | undefined): Op[] {
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
    const hour = hourName(Date.now())
    try {
      const before = await usesOf(this.#kvs, this.#layer, ids)
      // One without a note was removed.
      const ops = ids.flatMap((id, at) => {
        const its = before[at]
        return its === undefined ? [] : useOps(id, hour, its)
      })
      if (ops.length > 0) await this.#kvs.commit({ ops }, { namespace: namespaceOf(this.#layer) })
    } catch {
      for (const id of ids) this.#noted.delete(id)
    }
  }
}
