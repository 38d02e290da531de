/** Everything below a directory, looked at: what is damaged, by key. See rfc/15.
 *  Invariant: a tree without findings can be read to its last byte; what was found whole once is not
 *  looked at again, what is damaged is told wherever it is reached. */

import type { Blobref } from '../blob/blobref.js'
import { corrupt } from './check.js'
import {
  attempt,
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

export type Damage =
  | { readonly kind: 'names'; readonly key: Key; readonly lost: LostNames }
  | {
      readonly kind: 'blobs'
      readonly key: Key
      readonly valref: Valref
      readonly lost: LostBlobs
    }

export type Audit = {
  readonly nodes: Nodes
  readonly findings: Findings
  /** Throws what is wrong with a blob: ECORRUPT, EDANGLING, EIO. Not asked twice of what was right. */
  readonly checkBlob: (ref: Blobref, size: number) => Promise<void>
}

/** In the order of the keys, however deep they are. Throws only what is no damage (ECLOSED, ECANCELED). */
export async function* audit(walk: Audit, dir: Dir, key: Key): AsyncGenerator<Damage> {
  const { nodes, findings } = walk
  const path = [{ key, parts: inspectDir(nodes, dir, findings) }]
  for (let step = path.at(-1); step; step = path.at(-1)) {
    const { done, value: part } = await step.parts.next()
    if (done) path.pop()
    else if (part.part === 'lost') {
      findings.damages++
      yield { kind: 'names', key: step.key, lost: part }
    } else if (part.treeobj.type === 'dir') {
      const below = inspectDir(nodes, part.treeobj, findings)
      path.push({ key: joinKey(step.key, part.name), parts: below })
    } else if (part.treeobj.type === 'valref') {
      yield* auditLog(walk, part.treeobj, joinKey(step.key, part.name))
    }
  }
}

async function* auditLog(walk: Audit, valref: Valref, key: Key): AsyncGenerator<Damage> {
  const { nodes, findings } = walk
  const id = refOf(valref)
  if (findings.clean.values.has(id)) return
  const before = findings.damages
  for await (const part of inspectLog(nodes, valref, findings)) {
    const lost = await lostOf(walk, valref, part)
    if (!lost) continue
    findings.damages++
    yield { kind: 'blobs', key, valref, lost }
  }
  if (findings.damages === before) findings.clean.values.add(id)
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
