/** Everything below a directory, looked at: what is damaged, by key. See rfc/15.
 *  Invariant: a tree without findings can be read to its last byte. Each directory and each value is looked
 *  at once, however many keys lead to it: the work grows with the nodes of a tree, not with its paths. */

import type { Blobref } from '../blob/blobref.js'
import { corrupt } from './check.js'
import {
  attempt,
  type DirPart,
  type Findings,
  inspectDir,
  inspectLog,
  type LogPart,
  type LostBlobs,
  type LostNames,
} from './inspect.js'
import { joinKey, type Key } from './key.js'
import type { Nodes } from './nodes.js'
import { baseNone, type Dir, type Valref } from './treeobj.js'
import { refOf } from './treeobj-codec.js'

export type Damage = {
  /** The key with the fewest components of those that lead to it. */
  readonly key: Key
  /** How many other keys lead to it; at most `Number.MAX_SAFE_INTEGER`. */
  readonly others: number
} & (
  | { readonly kind: 'names'; readonly lost: LostNames }
  | { readonly kind: 'blobs'; readonly valref: Valref; readonly lost: LostBlobs }
)

/** Damage in a directory itself. `name`: of the damaged value. */
type Own =
  | { readonly kind: 'names'; readonly lost: LostNames }
  | {
      readonly kind: 'blobs'
      readonly name: string
      readonly valref: Valref
      readonly lost: LostBlobs
    }

/** A directory with damage in it or below it; each by the ref of its treeobj. */
type DamagedDir = {
  readonly own: readonly Own[]
  readonly below: readonly { readonly name: string; readonly id: Blobref }[]
}

/** Damage found so far, by the refs of treeobjs; grows with the damage. Mutable; filled by the audits that
 *  share it. */
export class Damaged {
  readonly directories = new Map<Blobref, DamagedDir>()
  readonly values = new Map<Blobref, readonly LostBlobs[]>()
}

export type Audit = {
  readonly nodes: Nodes
  readonly findings: Findings
  /** Damage that is known from before is told again, and not looked at again. */
  readonly damaged: Damaged
  /** The audit ends after so many new findings (of one value perhaps some more). */
  readonly findingsMax: number
  /** Throws what is wrong with a blob: ECORRUPT, EDANGLING, EIO. Not asked twice of what was right. */
  readonly checkBlob: (ref: Blobref, size: number) => Promise<void>
}

/** In the order of the keys, once the whole tree was looked at. Throws only what is no damage (ECLOSED, ECANCELED). */
export async function audit(walk: Audit, dir: Dir, key: Key): Promise<Damage[]> {
  await look(walk, dir)
  return toldOf(walk.damaged, refOf(dir), key)
}

/** A directory that is being looked at. */
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

/** Fills `damaged`, depth first, so that a directory is whole or damaged before its parent goes on. */
async function look(walk: Audit, dir: Dir): Promise<void> {
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
    const lost = await lostOf(walk, valref, part)
    if (!lost) continue
    findings.damages++
    losses.push(lost)
  }
  if (losses.length === 0) findings.clean.values.add(id)
  else damaged.values.set(id, losses)
  return losses
}

async function lostOf(
  walk: Audit,
  { base = baseNone }: Valref,
  part: LogPart,
): Promise<LostBlobs | undefined> {
  if (part.part === 'lost') return part
  const { index, offset, size, ref } = part
  const checked = await attempt(async () => {
    if (index === base.count && offset !== base.size) throw corrupt('a log with another base')
    const { blobs } = walk.findings.clean
    if (blobs.has(ref, size)) return
    await walk.checkBlob(ref, size)
    blobs.add(ref, size)
  })
  if (!('error' in checked)) return undefined
  const range = { from: index, to: index + 1, offset, end: offset + size }
  return { part: 'lost', kind: 'blob', ...range, ref, error: checked.error }
}

/** Damage below one directory, with its shortest keys. */
function toldOf({ directories }: Damaged, top: Blobref, topKey: Key): Damage[] {
  const keys = new Map([[top, topKey]])
  // The keys of a directory are found before those of what lies deeper.
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

/** How many keys lead to each directory: parents are counted before their children. */
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

/** By components. */
function compareKeys(a: Key, b: Key): number {
  const [left, right] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')]
  return left < right ? -1 : left > right ? 1 : 0
}
