/** Time marks of logs in `meta`, which tell the age of their blobs. A mark is a time, and the count
 *  of blobs that were there before it. See rfc/19, rule 4.
 *  Invariant: a mark was true by the wall clock of its time. The times and counts of a log's marks
 *  only rise. Without a mark no blob counts as old. */

import type { DraftGroup } from '../draft/group.js'
import {
  getRecord,
  hasRecords,
  lifePath,
  type MetaRecord,
  removeRecord,
  setRecord,
} from '../draft/meta.js'
import type { Key } from '../treeobj/key.js'

/** The shortest time between two marks of a log, in ms. A log that is younger has none. */
export const timeMarkMs = 60_000
/** The largest number of marks of one log. Above it, every second mark of the older half goes. */
export const timeMarksMax = 128

/** A group, with the last marks of its namespace's logs. */
export type TimesGroup = DraftGroup & { readonly times: TimesKnown }

type Mark = { readonly time: number; readonly count: number }

/** Marks a log of `count` blobs that is about to be appended to, if its last mark is `timeMarkMs`
 *  old. A log that begins gets no mark. REQUIRES: the key is resolved. */
export function markTime(
  group: TimesGroup,
  key: Key,
  log: { readonly count: number; readonly begins: boolean },
): Promise<void> | undefined {
  const { now, times } = group
  if (log.begins) {
    times.set(key, now)
    return undefined
  }
  const known = times.get(key)
  if (known !== undefined && now - known < timeMarkMs) return undefined
  return addMark(group, key, log.count)
}

/** Returns how many of the `count` blobs of a log are at least `age` ms old, as far as
 *  its marks tell. */
export async function countOlder(
  group: TimesGroup,
  key: Key,
  count: number,
  age: number,
): Promise<number> {
  if (age === 0) return count
  const marks = await marksOf(group, key)
  const old = marks.findLast(({ time }) => time <= group.now - age)
  // Marks the log here too, or one that is no longer appended to would never be old.
  await addMark(group, key, count)
  return Math.min(old?.count ?? 0, count)
}

/** Removes the marks that tell only of blobs before `base`, where the log begins now. */
export async function dropMarks(group: TimesGroup, key: Key, base: number): Promise<void> {
  const marks = await marksOf(group, key)
  const left = marks.filter(({ count }) => count > base)
  if (left.length < marks.length) await setMarks(group, key, left)
}

async function addMark(group: TimesGroup, key: Key, count: number): Promise<void> {
  const { now, times } = group
  const marks = (await marksOf(group, key)).filter((mark) => mark.count <= count)
  const last = marks.at(-1)
  if (last && now - last.time < timeMarkMs) return times.set(key, last.time)
  times.set(key, now)
  if (last?.count !== count) await setMarks(group, key, thinned([...marks, { time: now, count }]))
}

function thinned(marks: readonly Mark[]): readonly Mark[] {
  if (marks.length <= timeMarksMax) return marks
  const half = timeMarksMax / 2
  return marks.filter((_, at) => at >= half || at % 2 === 0)
}

async function marksOf({ meta }: DraftGroup, key: Key): Promise<readonly Mark[]> {
  if (!(await hasRecords(meta, ['times']))) return []
  const record = await getRecord(meta, lifePath('times', key))
  return record ? decodeMarks(record) : []
}

async function setMarks({ meta }: DraftGroup, key: Key, marks: readonly Mark[]): Promise<void> {
  const path = lifePath('times', key)
  if (marks.length === 0) await removeRecord(meta, path)
  else await setRecord(meta, path, encodeMarks(marks))
}

/** Encodes marks as `[time, count, time, count, …]`. */
export function encodeMarks(marks: readonly Mark[]): number[] {
  return marks.flatMap(({ time, count }) => [time, count])
}

function decodeMarks(record: MetaRecord): Mark[] {
  const marks: Mark[] = []
  for (let at = 0; at + 1 < record.length; at += 2) {
    marks.push({ time: Number(record[at]), count: Number(record[at + 1]) })
  }
  return marks
}

/** The largest number of logs of a namespace whose last mark is in memory, so that an append need
 *  not look it up. */
export const timesKnownMax = 16_384

/** The times at which logs were marked last, or began. A log needs no look before `timeMarkMs` have
 *  passed since then. Owned by its namespace's commit loop. An entry that a failed transaction
 *  leaves only delays a mark. */
export class TimesKnown {
  readonly #times = new Map<Key, number>()

  /** Returns the time of a log's last mark, if it is remembered. */
  get(key: Key): number | undefined {
    return this.#times.get(key)
  }

  /** Remembers the time of a log's last mark; above `timesKnownMax` the log that was set
   *  longest ago goes. */
  set(key: Key, time: number): void {
    this.#times.delete(key)
    this.#times.set(key, time)
    if (this.#times.size <= timesKnownMax) return
    const oldest = this.#times.keys().next()
    if (!oldest.done) this.#times.delete(oldest.value)
  }
}
