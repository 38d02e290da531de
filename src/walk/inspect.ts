/** Inspections of trees, for checks and repairs (rfc/15): an inspection yields what can be read,
 *  and what cannot, with all that is lost by it. All other readers stop at the first damage.
 *  Invariant: an entry that is yielded was verified as a reader would verify it. Entries, blobs and
 *  losses come in their order, and nothing is left out. */

import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import { type TailraceError, toTailraceError } from '../error.js'
import {
  type Entries,
  type OpenNode,
  sizeOfMark,
  sizeOfMarks,
  widthOf,
} from '../tree/array-node.js'
import { loadChild, loadTop } from '../tree/dir.js'
import type { DirNode } from '../tree/dir-node.js'
import type { Nodes } from '../tree/nodes.js'
import { corrupt } from '../treeobj/check.js'
import { baseNone, type Dir, type Treeobj, type Valref } from '../treeobj/treeobj.js'

/** Lost names of a directory: those behind `after`, up to and including `upTo`. Without `after`
 *  from the first name on, without `upTo` up to the last one. */
export type LostNames = {
  readonly part: 'lost'
  readonly after: string | undefined
  readonly upTo: string | undefined
  /** The number of keys below these names. */
  readonly keys: number
  /** The bytes of the values below these names. */
  readonly size: number
  /** The node that cannot be read. */
  readonly ref: Blobref
  readonly error: TailraceError
}

/** An entry of a directory, or a range of its names that is lost. */
export type DirPart =
  | { readonly part: 'entry'; readonly name: string; readonly treeobj: Treeobj }
  | LostNames

/** Lost blobs of a log: those from index `from` up to, not including, `to`, with the bytes from
 *  `offset` up to, not including, `end`. `kind` and `ref` name what is damaged. */
export type LostBlobs = {
  readonly part: 'lost'
  readonly kind: 'node' | 'blob'
  readonly from: number
  readonly to: number
  readonly offset: number
  readonly end: number
  readonly ref: Blobref
  readonly error: TailraceError
}

/** A blob of a log. `size` is what the log says; the blob itself was not read. */
export type LogBlob = {
  readonly part: 'blob'
  readonly index: number
  readonly offset: number
  readonly ref: Blobref
  readonly size: number
}

/** A blob of a log, or a range of its blobs that is lost. */
export type LogPart = LogBlob | LostBlobs

/** The findings of an inspection: the parts that were found whole, and the number of damages. A
 *  node below which no damage was found is added to `clean`, and is skipped from then on. */
export type Findings = { readonly clean: Clean; damages: number }

/** Yields the entries and the losses of one directory. The consumer adds the damages that it finds
 *  below an entry to `findings.damages` before it takes the next one. Without `findings` no entry
 *  is skipped. Throws only what is no damage. */
export async function* inspectDir(
  nodes: Nodes,
  dir: Dir,
  findings?: Findings,
): AsyncGenerator<DirPart, void, undefined> {
  const { ref, keys, size } = dir
  if (ref === undefined) return
  const top = await attempt(() => loadTop(nodes, dir, ref))
  if ('error' in top) {
    const names = { after: undefined, upTo: undefined }
    yield { part: 'lost', ...names, keys, size, ref, error: top.error }
    return
  }
  yield* inspectNode(nodes, { ref, node: top.value, after: undefined }, findings)
}

async function* inspectNode(
  nodes: Nodes,
  at: { readonly ref: Blobref; readonly node: DirNode; readonly after: string | undefined },
  findings: Findings | undefined,
): AsyncGenerator<DirPart, void, undefined> {
  const { ref, node } = at
  if (findings?.clean.directories.has(ref)) return
  const before = findings?.damages
  if (node.kind === 'leaf') {
    for (const { name, treeobj } of node.items) yield { part: 'entry', name, treeobj }
  } else {
    let { after } = at
    for (const [index, child] of node.items.entries()) {
      const loaded = await attempt(() => loadChild(nodes, node, index))
      if ('error' in loaded) {
        const { name: upTo, keys, size } = child
        yield { part: 'lost', after, upTo, keys, size, ref: child.ref, error: loaded.error }
      } else yield* inspectNode(nodes, { ref: child.ref, node: loaded.value, after }, findings)
      after = child.name
    }
  }
  if (findings && findings.damages === before) findings.clean.directories.add(ref)
}

/** Yields the blobs and the losses of a value, from its base on. Whole pages are added to
 *  `findings.clean`, and are skipped from then on. Throws only what is no damage. */
export async function* inspectLog(
  nodes: Nodes,
  valref: Valref,
  findings?: Findings,
): AsyncGenerator<LogPart, void, undefined> {
  const { ref, count, size, base = baseNone } = valref
  if (count === base.count) return
  if (count === 1) {
    yield { part: 'blob', index: 0, offset: 0, ref, size }
    return
  }
  yield* inspectLevel({ nodes, base: base.count, findings }, { ref, level: 0, count, size })
}

type LogWalk = {
  readonly nodes: Nodes
  /** The number of blobs that trims dropped. */
  readonly base: number
  readonly findings: Findings | undefined
}

/** Inspects an open node, after that of the level above, whose blobs are older. */
async function* inspectLevel(
  walk: LogWalk,
  at: {
    readonly ref: Blobref
    readonly level: number
    readonly count: number
    readonly size: number
  },
): AsyncGenerator<LogPart, void, undefined> {
  const { ref, level, count, size } = at
  const loaded = await attempt(async () => {
    const node = await walk.nodes.load(ref)
    if (node.kind !== 'open' || node.level !== level) throw corrupt('no such level of an array')
    if (node.count !== count || node.size !== size) throw corrupt('an array with other totals')
    return node
  })
  if ('error' in loaded) {
    const range = { from: Math.min(walk.base, count), to: count, offset: 0, end: size }
    yield { part: 'lost', kind: 'node', ...range, ref, error: loaded.error }
    return
  }
  const node: OpenNode = loaded.value
  const above = {
    count: count - node.marks.length * widthOf(level),
    size: size - sizeOfMarks(node.marks, level),
  }
  // The level above is needed even if all its blobs were dropped, since appends go on from it.
  if (node.up) yield* inspectLevel(walk, { ref: node.up, level: level + 1, ...above })
  yield* inspectEntries(walk, node, above.count, above.size)
}

async function* inspectEntries(
  walk: LogWalk,
  entries: Entries,
  first: number,
  start: number,
): AsyncGenerator<LogPart, void, undefined> {
  const { level, digests, marks } = entries
  const width = widthOf(level)
  let offset = start
  for (const [at, mark] of marks.entries()) {
    const ref = blobrefAt(digests, at * digestSize)
    const from = first + at * width
    const size = sizeOfMark(mark, level)
    if (from + width > walk.base) {
      if (level === 0) yield { part: 'blob', index: from, offset, ref, size }
      else yield* inspectPage(walk, { ref, level: level - 1, from, offset, size })
    }
    offset += size
  }
}

async function* inspectPage(
  walk: LogWalk,
  at: {
    readonly ref: Blobref
    readonly level: number
    readonly from: number
    readonly offset: number
    readonly size: number
  },
): AsyncGenerator<LogPart, void, undefined> {
  const { ref, level, from, offset, size } = at
  const { findings, base } = walk
  if (findings?.clean.pages.has(ref, size, level)) return
  const before = findings?.damages
  const loaded = await attempt(async () => {
    const node = await walk.nodes.load(ref)
    if (node.kind !== 'page' || node.level !== level) throw corrupt('no page where one is named')
    if (sizeOfMarks(node.marks, level) !== size) throw corrupt('a page of another size')
    return node
  })
  if ('error' in loaded) {
    const range = { from: Math.max(from, base), to: from + widthOf(level + 1) }
    const lost = { ...range, offset, end: offset + size, ref, error: loaded.error }
    yield { part: 'lost', kind: 'node', ...lost }
    return
  }
  yield* inspectEntries(walk, loaded.value, from, offset)
  const whole = from >= base
  if (findings && whole && findings.damages === before) findings.clean.pages.add(ref, size, level)
}

/** Checks a blob of a log. Returns the loss that the part is or that the check finds; undefined for
 *  a whole blob. Throws only what is no damage. */
export async function lossOf(
  part: LogPart,
  check: (blob: LogBlob) => Promise<void>,
): Promise<LostBlobs | undefined> {
  if (part.part === 'lost') return part
  const checked = await attempt(() => check(part))
  if (!('error' in checked)) return undefined
  const { index, offset, size, ref } = part
  const range = { from: index, to: index + 1, offset, end: offset + size }
  return { part: 'lost', kind: 'blob', ...range, ref, error: checked.error }
}

/** The codes of damage in one stored blob or node. Any other error ends the whole inspection. */
const damage: ReadonlySet<string> = new Set(['ECORRUPT', 'EDANGLING', 'EIO'])

/** Returns the value that `read` loads, or the damage that makes it unreadable. Throws only what is
 *  no damage (ECLOSED, …). */
export async function attempt<T>(
  read: () => Promise<T>,
): Promise<{ readonly value: T } | { readonly error: TailraceError }> {
  try {
    return { value: await read() }
  } catch (thrown) {
    const error = toTailraceError(thrown)
    if (!damage.has(error.code)) throw error
    return { error }
  }
}

/** The whole parts. Mutable; owned by the inspection that fills it. */
export class Clean {
  /** Nodes of directories, with all that is below them. */
  readonly directories = new RefSet()
  /** Pages of arrays with their sizes and levels, if all their blobs are
   *  above the base of their log. */
  readonly pages = new RefSet()
  /** Values, by the refs of their treeobjs. */
  readonly values = new RefSet()
  /** Blobs with their sizes. */
  readonly blobs = new RefSet()
}
