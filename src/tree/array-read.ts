/** Reading append arrays: by index, by byte offset, in order, and how one relates to another. See
 *  rfc/5. Each is a descent through closed pages: O(log n) nodes. */

import { LoopSlice } from '../base/loop-slice.js'
import { blobrefAt, digestSize } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type AppendArray, type ArrayBlob, arrayRef, emptyArray } from './array.js'
import { type ArrayLevel, emptyLevel, entriesOfLevel, levelFrom } from './array-level.js'
import { type Entries, moreOfMark, sizeOfMark, sizeOfMarks, widthOf } from './array-node.js'
import { corrupt } from './check.js'
import type { Nodes } from './nodes.js'

/** A blob in its place: `offset` is that of its first byte in the whole value. */
export type ArrayEntry = ArrayBlob & {
  readonly index: number
  readonly offset: number
}

/** Neighbours of one level: those of an open node, or of a page. */
type Run = Entries & {
  /** Of the first blob below. */
  readonly index: number
  readonly offset: number
}

/** The first `count` blobs. Its open nodes may not be stored: closing it writes them. Throws EINVAL
 *  (there are fewer), EDANGLING, ECORRUPT, EIO. */
export async function truncateArray(
  nodes: Nodes,
  array: AppendArray,
  count: number,
): Promise<AppendArray> {
  if (count === array.count) return array
  if (!isIndex(array, count)) {
    throw new TailraceError('EINVAL', `an array of ${array.count} blobs has no first ${count}`)
  }
  // The levels above the one where blob `count` stands stay as they are.
  const level = levelWhere(array, (above) => count >= above.count)
  let up = level.up
  for (let run = runOfLevel(level); ; ) {
    const at = placeOf(run, count)
    const cut = levelFrom(run, at, up)
    if (run.level === 0) return cut
    up = cut.count > 0 ? cut : undefined
    if (cut.count === count) return emptyBelow(run.level, up)
    run = await descend(nodes, run, at)
  }
}

/** Does `b` begin with all blobs of `a`? Throws EDANGLING, ECORRUPT, EIO. */
export async function isPrefix(nodes: Nodes, a: AppendArray, b: AppendArray): Promise<boolean> {
  if (a.count > b.count || a.size > b.size) return false
  return arrayRef(a) === arrayRef(await truncateArray(nodes, b, a.count))
}

/** Throws ENOENT (no such index), EDANGLING, ECORRUPT, EIO. */
export async function blobAt(nodes: Nodes, array: AppendArray, index: number): Promise<ArrayEntry> {
  if (!isIndex(array, index)) {
    throw new TailraceError('ENOENT', `no blob ${index} in an array of ${array.count}`)
  }
  let run = runOfLevel(levelWhere(array, (above) => index >= above.count))
  while (run.level > 0) run = await descend(nodes, run, placeOf(run, index))
  const at = index - run.index
  return entryAt(run, at, offsetOf(run, at))
}

/** The bytes of the first `index` blobs. Throws ENOENT (there are fewer), EDANGLING, ECORRUPT, EIO. */
export async function offsetAt(nodes: Nodes, array: AppendArray, index: number): Promise<number> {
  if (index === array.count) return array.size
  return (await blobAt(nodes, array, index)).offset
}

/** The index of the blob that holds the byte at `offset`, so never an empty one; `count` where the
 *  value ends before it. Throws EDANGLING, ECORRUPT, EIO. */
export async function indexAtOffset(
  nodes: Nodes,
  array: AppendArray,
  offset: number,
): Promise<number> {
  if (offset >= array.size) return array.count
  let run = runOfLevel(levelWhere(array, (above) => offset >= above.size))
  for (;;) {
    const at = placeOfByte(run, offset)
    if (run.level === 0) return run.index + at
    run = await descend(nodes, run, at)
  }
}

/** The blobs from index `from` up to, not including, `to`, bounded by what is there. Each page is read
 *  once, when the consumer gets there; the event loop turns meanwhile. Throws EDANGLING, ECORRUPT, EIO. */
export async function* entriesOf(
  nodes: Nodes,
  array: AppendArray,
  from: number,
  to: number,
): AsyncGenerator<ArrayEntry> {
  const end = Math.min(to, array.count)
  const path: Run[] = []
  const slice = new LoopSlice()
  let index = Math.max(0, from)
  while (index < end) {
    const run = await runOfBlob(nodes, array, index, path)
    const first = index - run.index
    let offset = offsetOf(run, first)
    for (let at = first; at < run.marks.length && index < end; at++) {
      const entry = entryAt(run, at, offset)
      offset += entry.size
      index++
      if (slice.over) await slice.turn()
      yield entry
    }
  }
}

function isIndex(array: AppendArray, index: number): boolean {
  return Number.isSafeInteger(index) && index >= 0 && index < array.count
}

/** The lowest level for which `beyond` says that what is looked for comes after all levels above. */
function levelWhere(
  array: AppendArray,
  beyond: (above: { readonly count: number; readonly size: number }) => boolean,
): ArrayLevel {
  let level: ArrayLevel = array
  while (level.up && !beyond(level.up)) level = level.up
  return level
}

function runOfLevel(level: ArrayLevel): Run {
  const { up } = level
  return { ...entriesOfLevel(level), index: up?.count ?? 0, offset: up?.size ?? 0 }
}

/** The page that is the run's entry at `at`. */
async function descend(nodes: Nodes, run: Run, at: number): Promise<Run> {
  const ref = blobrefAt(run.digests, at * digestSize)
  const node = nodes.peek(ref) ?? (await nodes.load(ref))
  if (node.kind !== 'page' || node.level !== run.level - 1) {
    throw corrupt(`something else than a page of level ${run.level - 1}`)
  }
  if (sizeOfMarks(node.marks, node.level) !== run.marks[at]) {
    throw corrupt('a page of another size than its entry says')
  }
  const { level, digests, marks } = node
  const index = run.index + at * widthOf(run.level)
  return { level, digests, marks, index, offset: offsetOf(run, at) }
}

/** The run of level 0 that holds a blob, going on from the runs of `path`, top first, which is kept up
 *  to date: each is left for good once its last blob is behind. */
async function runOfBlob(
  nodes: Nodes,
  array: AppendArray,
  index: number,
  path: Run[],
): Promise<Run> {
  let run = path.at(-1)
  while (run && placeOf(run, index) >= run.marks.length) {
    path.pop()
    run = path.at(-1)
  }
  run ??= runOfLevel(levelWhere(array, (above) => index >= above.count))
  if (path.length === 0) path.push(run)
  while (run.level > 0) {
    run = await descend(nodes, run, placeOf(run, index))
    path.push(run)
  }
  return run
}

function placeOf(run: Run, index: number): number {
  return Math.floor((index - run.index) / widthOf(run.level))
}

/** The entry that holds the byte at `offset`. REQUIRES: the run holds it. */
function placeOfByte(run: Run, offset: number): number {
  let end = run.offset
  return run.marks.findIndex((mark) => {
    end += sizeOfMark(mark, run.level)
    return offset < end
  })
}

function offsetOf(run: Run, at: number): number {
  let offset = run.offset
  for (const mark of run.marks.slice(0, at)) offset += sizeOfMark(mark, run.level)
  return offset
}

function entryAt(run: Run, at: number, offset: number): ArrayEntry {
  const ref = blobrefAt(run.digests, at * digestSize)
  const mark = run.marks[at] ?? 0
  const more = moreOfMark(mark)
  return { index: run.index + at, offset, ref, size: sizeOfMark(mark, 0), more }
}

/** The levels below `level`, all empty, down to the array itself. */
function emptyBelow(level: number, up: ArrayLevel | undefined): AppendArray {
  if (!up) return emptyArray
  let array = up
  for (let below = level - 1; below >= 0; below--) array = emptyLevel(below, array)
  return array
}
