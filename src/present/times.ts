/** How old the blobs of a log are: marks in `meta`, each a time and how many blobs were there then. See
 *  rfc/19.
 *  Invariant: what a mark says was so, by the wall clock; times and counts of a log's marks only rise. Without a
 *  mark nothing is known to be old. */

import type { DraftGroup } from '../draft/group.js'
import {
  getRecord,
  hasRecords,
  lifePath,
  type MetaRecord,
  removeRecord,
  setRecord,
} from '../draft/meta.js'
import type { Key } from '../tree/key.js'

/** Marks of one log stand so far apart, at least. A log that is younger has none. */
export const timeMarkMs = 60_000
/** Of one log. When they are full, every second one of the older half goes. */
export const timeMarksMax = 128

/** A group, with what is remembered of its namespace's logs. */
export type TimesGroup = DraftGroup & { readonly times: TimesKnown }

type Mark = { readonly time: number; readonly count: number }

/** A log of `count` blobs gets more, or begins: marks it if its last mark was long ago. `key` is resolved. */
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

/** Of `count` blobs those that were there `age` ms ago, as far as marks say so. */
export async function countOlder(
  group: TimesGroup,
  key: Key,
  count: number,
  age: number,
): Promise<number> {
  if (age === 0) return count
  const marks = await marksOf(group, key)
  const old = marks.findLast(({ time }) => time <= group.now - age)
  // A log that is not appended to any more gets its marks from those who ask for its age.
  await addMark(group, key, count)
  return Math.min(old?.count ?? 0, count)
}

/** The log begins at blob `base` now: what marks say of blobs before that is of no use. */
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

/** Logs of a namespace that are remembered, so that an append to one of them need not look. */
export const timesKnownMax = 16_384

/** When a log was marked last, or seen to begin: until `timeMarkMs` later it needs no look. Owned by its
 *  namespace's commit loop. What a transaction that failed leaves here only puts a mark off. */
export class TimesKnown {
  readonly #times = new Map<Key, number>()

  get(key: Key): number | undefined {
    return this.#times.get(key)
  }

  set(key: Key, time: number): void {
    this.#times.delete(key)
    this.#times.set(key, time)
    if (this.#times.size <= timesKnownMax) return
    const oldest = this.#times.keys().next()
    if (!oldest.done) this.#times.delete(oldest.value)
  }
}
