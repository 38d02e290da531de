/** Audits of trees: an audit reads everything below a directory, and reports what is damaged, by
 *  key. See rfc/15.
 *  Invariant: a tree without damage can be read to its last byte. Each directory and each
 *  value is read once, however many keys lead to it: the work grows with the nodes of a
 *  tree, not with its paths. */

import type { Blobref } from '../blob/blobref.js'
import type { Nodes } from '../tree/nodes.js'
import { corrupt } from '../treeobj/check.js'
import { refOf } from '../treeobj/codec.js'
import { joinKey, type Key } from '../treeobj/key.js'
import { baseNone, type Dir, type Valref } from '../treeobj/treeobj.js'
import {
  type DirPart,
  type Findings,
  inspectDir,
  inspectLog,
  type LogBlob,
  type LostBlobs,
  type LostNames,
  lossOf,
} from './inspect.js'

/** A damaged part of a directory or of a value. */
export type Damage = {
  /** The shortest key, in components, that leads to it. */
  readonly key: Key
  /** The number of other keys that lead to it; at most `Number.MAX_SAFE_INTEGER`. */
  readonly others: number
} & (
  | { readonly kind: 'names'; readonly lost: LostNames }
  | { readonly kind: 'blobs'; readonly valref: Valref; readonly lost: LostBlobs }
)

/** Damage in a directory itself, or in a value that it names. `name`: the name of that value. */
type Own =
  | { readonly kind: 'names'; readonly lost: LostNames }
  | {
      readonly kind: 'blobs'
      readonly name: string
      readonly valref: Valref
      readonly lost: LostBlobs
    }

/** A directory with damage in it or below it. `id`: the ref of the damaged directory's treeobj. */
type DamagedDir = {
  readonly own: readonly Own[]
  readonly below: readonly { readonly name: string; readonly id: Blobref }[]
}

/** The damage found so far, by the refs of treeobjs. Its memory grows with the damage. Mutable;
 *  filled by the audits that share it. */
export class Damaged {
  readonly directories = new Map<Blobref, DamagedDir>()
  readonly values = new Map<Blobref, readonly LostBlobs[]>()
}

/** The ports, the bound and the shared findings of an audit. */
export type Audit = {
  readonly nodes: Nodes
  readonly findings: Findings
  /** Damage that earlier audits found. It is reported again, but not read again. */
  readonly damaged: Damaged
  /** The number of new findings after which the audit ends. The last value may add some more. */
  readonly findingsMax: number
  /** Checks a blob of `size` bytes. Throws ECORRUPT, EDANGLING, EIO if it is damaged. A blob that
   *  passed is not checked again. */
  readonly checkBlob: (ref: Blobref, size: number) => Promise<void>
}

/** Audits the tree below a directory, whose key is `key`. Returns its damage in the order of the
 *  keys. Throws only what is no damage (ECLOSED, ECANCELED). */
export async function audit(walk: Audit, dir: Dir, key: Key): Promise<Damage[]> {
  await inspect(walk, dir)
  return damagesBelow(walk.damaged, refOf(dir), key)
}

/** A directory on the way of an audit, with the damage that was found in it so far. */
class Frame {
  readonly dir: Dir
  readonly name: string
  readonly parts: AsyncGenerator<DirPart, void, undefined>
  readonly own: Own[] = []
  readonly below: { readonly name: string; readonly id: Blobref }[] = []

  constructor(walk: Audit, dir: Dir, name: string) {
    this.dir = dir
    this.name = name
    this.parts = inspectDir(walk.nodes, dir, walk.findings)
  }
}

/** Fills `damaged`, depth first, so that the state of a directory is known
 *  before its parent goes on. */
async function inspect(walk: Audit, dir: Dir): Promise<void> {
  const { findings, damaged } = walk
  const path = damaged.directories.has(refOf(dir)) ? [] : [new Frame(walk, dir, '')]
  let found = 0
  for (let frame = path.at(-1); frame; frame = path.at(-1)) {
    const next = found < walk.findingsMax ? await frame.parts.next() : undefined
    if (!next || next.done) {
      path.pop()
      await frame.parts.return()
      leave(damaged, frame, path.at(-1))
      continue
    }
    const part = next.value
    if (part.part === 'lost') {
      frame.own.push({ kind: 'names', lost: part })
      findings.damages++
      found++
    } else if (part.treeobj.type === 'dir') {
      if (!isKnown(damaged, part.treeobj)) path.push(new Frame(walk, part.treeobj, part.name))
      else {
        frame.below.push({ name: part.name, id: refOf(part.treeobj) })
        findings.damages++
      }
    } else if (part.treeobj.type === 'valref') {
      const { name, treeobj: valref } = part
      const losses = await lossesOf(walk, valref)
      frame.own.push(...losses.map((lost) => ({ kind: 'blobs', name, valref, lost }) as const))
      findings.damages += losses.length
      found += losses.length
    }
  }
}

function isKnown({ directories }: Damaged, dir: Dir): boolean {
  return directories.size > 0 && directories.has(refOf(dir))
}

function leave({ directories }: Damaged, frame: Frame, parent: Frame | undefined): void {
  const { dir, name, own, below } = frame
  if (own.length + below.length === 0) return
  const id = refOf(dir)
  directories.set(id, { own, below })
  parent?.below.push({ name, id })
}

async function lossesOf(walk: Audit, valref: Valref): Promise<readonly LostBlobs[]> {
  const { nodes, findings, damaged } = walk
  const id = refOf(valref)
  if (findings.clean.values.has(id)) return []
  const known = damaged.values.get(id)
  if (known) return known
  const losses: LostBlobs[] = []
  for await (const part of inspectLog(nodes, valref, findings)) {
    const lost = await lossOf(part, (blob) => checkOnce(walk, valref, blob))
    if (!lost) continue
    findings.damages++
    losses.push(lost)
  }
  if (losses.length === 0) findings.clean.values.add(id)
  else damaged.values.set(id, losses)
  return losses
}

/** Checks a blob unless it was found whole before. Throws ECORRUPT,
 *  EDANGLING, EIO if it is damaged. */
async function checkOnce(
  { findings, checkBlob }: Audit,
  { base = baseNone }: Valref,
  { index, offset, size, ref }: LogBlob,
): Promise<void> {
  if (index === base.count && offset !== base.size) throw corrupt('a log with another base')
  const { blobs } = findings.clean
  if (blobs.has(ref, size)) return
  await checkBlob(ref, size)
  blobs.add(ref, size)
}

/** Returns the damage below one directory, each with its shortest key. */
function damagesBelow({ directories }: Damaged, top: Blobref, topKey: Key): Damage[] {
  const keys = new Map([[top, topKey]])
  // The map grows breadth first, so that each directory gets its shortest key.
  for (const [id, key] of keys) {
    for (const { name, id: child } of directories.get(id)?.below ?? []) {
      if (!keys.has(child)) keys.set(child, joinKey(key, name))
    }
  }
  const paths = pathsTo(directories, top, keys)
  const damages = [...keys].flatMap(([id, key]) =>
    (directories.get(id)?.own ?? []).map((own): Damage => {
      const others = Math.min((paths.get(id) ?? 1) - 1, Number.MAX_SAFE_INTEGER)
      if (own.kind === 'names') return { key, others, ...own }
      const { name, ...rest } = own
      return { key: joinKey(key, name), others, ...rest }
    }),
  )
  return damages.sort((a, b) => compareKeys(a.key, b.key))
}

/** Returns the number of keys that lead to each directory. Parents are
 *  counted before their children. */
function pathsTo(
  directories: Damaged['directories'],
  top: Blobref,
  keys: ReadonlyMap<Blobref, Key>,
): Map<Blobref, number> {
  const belowOf = (id: Blobref) => directories.get(id)?.below ?? []
  const open = new Map<Blobref, number>()
  for (const id of keys.keys()) {
    for (const child of belowOf(id)) open.set(child.id, (open.get(child.id) ?? 0) + 1)
  }
  const paths = new Map([[top, 1]])
  const ready = [top]
  for (let id = ready.pop(); id; id = ready.pop()) {
    for (const child of belowOf(id)) {
      paths.set(child.id, (paths.get(child.id) ?? 0) + (paths.get(id) ?? 0))
      const left = (open.get(child.id) ?? 0) - 1
      open.set(child.id, left)
      if (left === 0) ready.push(child.id)
    }
  }
  return paths
}

/** Compares keys component by component. */
function compareKeys(a: Key, b: Key): number {
  const [left, right] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')]
  return left < right ? -1 : left > right ? 1 : 0
}
