/** The cap of a log: how much of it is kept as it is appended to, by whoever appends. See rfc/19, rule 5.
 *  Invariant: the transaction that appends leaves no more than the cap allows, in its own commit; what an
 *  earlier transaction of its group appended is seen by watchers before it goes. */

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
import type { Key } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'

const names = ['keep', 'keepBytes', 'keepAge'] as const

/** Checks the cap of an op: another one, or none from now on (null). Throws EINVAL. */
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

/** A value was put, or appended to: without a change the cap stays. REQUIRES: the key is resolved. */
export function capAfterWrite(
  group: DraftGroup,
  key: Key,
  change: Cap | null | undefined,
  work: Work,
): Promise<void> | undefined {
  if (change === undefined && lacksKind(group, 'cap')) return undefined
  work.capped.add(key)
  return change === undefined ? undefined : setCap(group, key, change)
}

/** The cap of a key in a committed meta tree. REQUIRES: the key is resolved. Throws ECORRUPT, EDANGLING, EIO. */
export async function readCap(nodes: Nodes, meta: Dir, key: Key): Promise<Cap | undefined> {
  const record = await readRecord(nodes, meta, lifePath('cap', key))
  return record && decodeCap(record)
}

export function encodeCap(cap: Cap): readonly Plain[] {
  return names.map((name) => cap[name] ?? null)
}

/** Throws ECORRUPT. */
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

/** The cap of a key as its group has left it. REQUIRES: the key is resolved. */
export async function getCap(group: DraftGroup, key: Key): Promise<Cap | undefined> {
  if (lacksKind(group, 'cap')) return undefined
  const record = await getShortRecord(group.meta, lifePath('cap', key))
  return record && decodeCap(record)
}

/** A record that says the same already costs nothing. */
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
