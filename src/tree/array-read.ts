/** Reads of append arrays: by index, by byte offset, in order, and of prefixes. See rfc/5. Each
 *  read goes down through closed pages: O(log n) nodes. */

import { LoopSlice } from '../base/loop-slice.js'
import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { corrupt } from '../treeobj/check.js'
import { type AppendArray, type ArrayBlob, arrayRef, emptyArray } from './array.js'
import { type ArrayLevel, emptyLevel, entriesOfLevel, levelFrom } from './array-level.js'
import { type Entries, moreOfMark, sizeOfMark, sizeOfMarks, widthOf } from './array-node.js'
import type { Node } from './node.js'
import type { Nodes } from './nodes.js'

/** A blob of an array with its index, and with the offset of its first byte in the whole value. */
export type ArrayEntry = ArrayBlob & {
  readonly index: number
  readonly offset: number
}

/** The entries of an open node or of a page, with their place in the array. */
type Run = Entries & {
  /** The index of the first blob below. */
  readonly index: number
  /** The offset of the first byte below. */
  readonly offset: number
}

/** Returns the array of the first `count` blobs. Its open nodes may not be stored yet: `closeArray`
 *  writes them. Throws EINVAL (the array has fewer blobs), EDANGLING, ECORRUPT, EIO. */
export async function truncateArray(
  nodes: Nodes,
  array: AppendArray,
  count: number,
): Promise<AppendArray> {
  if (count === array.count) return array
  if (!isIndex(array, count)) {
    throw new TailraceError('EINVAL', `an array of ${array.count} blobs has no first ${count}`)
  }
  // The levels above the one that holds blob `count` stay as they are.
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

/** True if `b` begins with all blobs of `a`. Throws EDANGLING, ECORRUPT, EIO. */
export async function isPrefix(nodes: Nodes, a: AppendArray, b: AppendArray): Promise<boolean> {
  if (a.count > b.count || a.size > b.size) return false
  return arrayRef(a) === arrayRef(await truncateArray(nodes, b, a.count))
}

/** Returns the blob at an index. Throws ENOENT (no such index), EDANGLING, ECORRUPT, EIO. */
export async function blobAt(nodes: Nodes, array: AppendArray, index: number): Promise<ArrayEntry> {
  if (!isIndex(array, index)) {
    throw new TailraceError('ENOENT', `no blob ${index} in an array of ${array.count}`)
  }
  let run = runOfLevel(levelWhere(array, (above) => index >= above.count))
  while (run.level > 0) run = await descend(nodes, run, placeOf(run, index))
  const at = index - run.index
  return entryAt(run, at, offsetOf(run, at))
}

/** Returns the blob at an index if the pages on the way to it are in memory; undefined if they are
 *  not, or if there is no such index. Throws ECORRUPT. */
export function peekBlob(nodes: Nodes, array: AppendArray, index: number): ArrayEntry | undefined {
  if (!isIndex(array, index)) return undefined
  let run = runOfLevel(levelWhere(array, (above) => index >= above.count))
  while (run.level > 0) {
    const at = placeOf(run, index)
    const page = nodes.peek(refAt(run, at))
    if (!page) return undefined
    run = runOfPage(page, run, at)
  }
  const at = index - run.index
  return entryAt(run, at, offsetOf(run, at))
}

/** Returns the bytes of the first `index` blobs together. Throws ENOENT (the array has fewer
 *  blobs), EDANGLING, ECORRUPT, EIO. */
export async function offsetAt(nodes: Nodes, array: AppendArray, index: number): Promise<number> {
  if (index === array.count) return array.size
  return (await blobAt(nodes, array, index)).offset
}

/** Returns the index of the blob that holds the byte at `offset`, so never that of an empty blob;
 *  `count` if the value ends before that byte. Throws EDANGLING, ECORRUPT, EIO. */
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

/** Yields the blobs that the array has from index `from` up to, not including, `to`. It reads
 *  each page once, when the consumer gets there; the event loop turns meanwhile. Throws
 *  EDANGLING, ECORRUPT, EIO. */
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

/** Returns the level that holds what the caller looks for: the lowest one whose level above ends
 *  before that, as `beyond` says. */
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

/** Loads the page that the run's entry at `at` names. Throws EDANGLING, ECORRUPT, EIO. */
async function descend(nodes: Nodes, run: Run, at: number): Promise<Run> {
  const ref = refAt(run, at)
  return runOfPage(nodes.peek(ref) ?? (await nodes.load(ref)), run, at)
}

/** Returns the entries of the page that the run's entry at `at` names. Throws ECORRUPT. */
function runOfPage(node: Node, run: Run, at: number): Run {
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

/** Returns the run of level 0 that holds a blob. `path` has the runs from the top down to the last
 *  result, and is updated: the walk leaves a run once its last blob was passed. */
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

/** Returns the place of the entry that holds the byte at `offset`. REQUIRES: the run holds it. */
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

function refAt({ digests }: Run, at: number): Blobref {
  return blobrefAt(digests, at * digestSize)
}

function entryAt(run: Run, at: number, offset: number): ArrayEntry {
  const ref = refAt(run, at)
  const mark = run.marks[at] ?? 0
  const more = moreOfMark(mark)
  return { index: run.index + at, offset, ref, size: sizeOfMark(mark, 0), more }
}

/** Returns the array that has empty levels below `level`, and `up` as its level `level`. */
function emptyBelow(level: number, up: ArrayLevel | undefined): AppendArray {
  if (!up) return emptyArray
  let array = up
  for (let below = level - 1; below >= 0; below--) array = emptyLevel(below, array)
  return array
}
