/** The cap of a log, which bounds what appends leave of it. See rfc/19, rule 5.
 *  Invariant: a transaction that appends leaves no more than the cap allows. Watchers see what an
 *  earlier transaction of its group appended before it is dropped. */

import type { Cap } from '../api/transaction.js'
import { corrupt, isCount } from '../base/stored.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup, Work } from '../draft/group.js'
import {
  getShortRecord,
  lacksKind,
  lifePath,
  type MetaRecord,
  readRecord,
  removeRecord,
  setRecord,
} from '../draft/meta.js'
import { TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Key } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'

const names = ['keep', 'keepBytes', 'keepAge'] as const

/** Checks the cap of an op: a new one, null (no cap from now on), or undefined (no
 *  change). Throws EINVAL. */
export function parseCap(cap: Cap | null | undefined): Cap | null | undefined {
  if (cap === undefined || cap === null) return cap
  const fields = typeof cap === 'object' ? Object.entries(cap) : []
  const given = fields.filter(([, bound]) => bound !== undefined)
  const wrong = given.some(
    ([name, bound]) =>
      !names.some((each) => each === name) || !Number.isSafeInteger(bound) || Number(bound) < 1,
  )
  if (wrong || given.length === 0) {
    const message =
      'a cap has keep (blobs), keepBytes or keepAge (ms), or several: whole numbers of at least 1'
    throw new TailraceError('EINVAL', message)
  }
  return Object.fromEntries(given)
}

/** Notes that a value was put or appended to, and sets its cap if it changes. REQUIRES: the
 *  key is resolved. */
export function capAfterWrite(
  group: DraftGroup,
  key: Key,
  change: Cap | null | undefined,
  work: Work,
): Promise<void> | undefined {
  if (change === undefined && lacksKind(group, 'cap')) return undefined
  work.capped ??= new Set()
  work.capped.add(key)
  return change === undefined ? undefined : setCap(group, key, change)
}

/** Reads the cap of a key in a committed meta tree. REQUIRES: the key is resolved. Throws ECORRUPT,
 *  EDANGLING, EIO. */
export async function readCap(nodes: Nodes, meta: Dir, key: Key): Promise<Cap | undefined> {
  const record = await readRecord(nodes, meta, lifePath('cap', key))
  return record && decodeCap(record)
}

/** Encodes a cap as `[keep, keepBytes, keepAge]`, null for each that is not there. */
export function encodeCap(cap: Cap): readonly Plain[] {
  return names.map((name) => cap[name] ?? null)
}

/** Decodes a cap. Throws ECORRUPT. */
export function decodeCap(record: MetaRecord): Cap {
  const [keep, keepBytes, keepAge] = record.map((bound) => {
    if (bound === null) return undefined
    if (isCount(bound) && bound >= 1) return bound
    throw corrupt('the cap of a log')
  })
  return {
    ...(keep === undefined ? {} : { keep }),
    ...(keepBytes === undefined ? {} : { keepBytes }),
    ...(keepAge === undefined ? {} : { keepAge }),
  }
}

/** Returns the cap of a key in the draft of a group. REQUIRES: the key is resolved.
 *  Throws ECORRUPT. */
export async function getCap(group: DraftGroup, key: Key): Promise<Cap | undefined> {
  if (lacksKind(group, 'cap')) return undefined
  const record = await getShortRecord(group.meta, lifePath('cap', key))
  return record && decodeCap(record)
}

/** Sets the cap of a key, or removes it (null). An equal record is not written again. */
async function setCap(group: DraftGroup, key: Key, cap: Cap | null): Promise<void> {
  const before = await getCap(group, key)
  const path = lifePath('cap', key)
  if (!cap) {
    if (before) await removeRecord(group.meta, path)
    return
  }
  const same = before && names.every((name) => before[name] === cap[name])
  if (!same) await setRecord(group.meta, path, encodeCap(cap))
}
