/** Trees as they are, damage included: what can be read, in order, and what cannot, with all that is lost
 *  by it. For checks and repairs (rfc/15); everybody else stops at the first thing that is wrong.
 *  Invariant: what is given as readable was verified as a reader of it would; entries, blobs and losses
 *  come in their order and leave nothing out. */

import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { type TailraceError, toTailraceError } from '../error.js'
import { type Entries, type OpenNode, sizeOfMark, sizeOfMarks, widthOf } from './array-node.js'
import { corrupt } from './check.js'
import type { Clean } from './clean.js'
import { loadChild, loadTop } from './dir.js'
import type { DirNode } from './dir-node.js'
import type { Nodes } from './nodes.js'
import { baseNone, type Dir, type Treeobj, type Valref } from './treeobj.js'

/** Names of a directory, after `after` and up to `upTo` (absent: from its first, up to its last). */
export type LostNames = {
  readonly part: 'lost'
  readonly after: string | undefined
  readonly upTo: string | undefined
  /** Keys below them, and their bytes. */
  readonly keys: number
  readonly size: number
  /** The node. */
  readonly ref: Blobref
  readonly error: TailraceError
}

export type DirPart =
  | { readonly part: 'entry'; readonly name: string; readonly treeobj: Treeobj }
  | LostNames

/** Blobs of a log from index `from` up to `to`, bytes from `offset` up to `end`. `kind`: what is damaged. */
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

/** `size` as the log has it; the blob itself was not looked at. */
export type LogBlob = {
  readonly part: 'blob'
  readonly index: number
  readonly offset: number
  readonly ref: Blobref
  readonly size: number
}

export type LogPart = LogBlob | LostBlobs

/** What was found whole before, and how much was found that is not: a node below which nothing was joins
 *  `clean`, and is passed over from then on. */
export type Findings = { readonly clean: Clean; damages: number }

/** The entries of one directory. The consumer adds to `findings.damages` what it finds below an entry,
 *  before it asks for the next. Without `findings` all entries are given. */
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

/** The blobs of a value from its base on. Pages join `findings.clean` as nodes do. */
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
  /** Blobs that were dropped. */
  readonly base: number
  readonly findings: Findings | undefined
}

/** An open node: that of the level above first, whose blobs are older. */
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
  // Even where all its blobs were dropped: what is appended goes on from it.
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

/** What can be wrong with one thing that is stored; whatever else ends the whole inspection. */
const damage: ReadonlySet<string> = new Set(['ECORRUPT', 'EDANGLING', 'EIO'])

/** The value, or why it cannot be read. Throws what is no damage (ECLOSED, …). */
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
