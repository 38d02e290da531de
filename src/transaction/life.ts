/** What a namespace keeps in `meta` for the value of a key, and what ends with that value. See rfc/6.
 *  Each kind mirrors the keys of `data`: a record, or a directory of records, stands at the key's own
 *  components below the kind. Values have no keys below them, so the two never meet.
 *  Invariant: a mirror holds keys of values that are there; what replaces, moves or removes a value, or a
 *  directory above it, takes the mirror's part along. */

import { componentsOf, type Key } from '../tree/key.js'
import { unfileAt } from './expiry-record.js'
import { lacksKind, type MetaDraft, type MetaPath, removeRecord } from './meta.js'

/** producers: one record for each (rfc/6); expiry: when the key goes; times: how old a log's blobs are; cap: how
 *  much of a log is kept. */
const kinds = ['producers', 'expiry', 'times', 'cap'] as const

export type LifeKind = (typeof kinds)[number]

/** Where a kind is kept for a key. REQUIRES: the key is resolved. */
export function lifePath(kind: LifeKind, key: Key): MetaPath {
  return [kind, ...componentsOf(key)]
}

/** The value at a key ends, or all values below it. */
export function endLife(group: MetaDraft, key: Key): Promise<void> | undefined {
  if (kinds.every((kind) => lacksKind(group, kind))) return undefined
  return endKinds(group, key)
}

async function endKinds(group: MetaDraft, key: Key): Promise<void> {
  for (const kind of kinds) {
    if (lacksKind(group, kind)) continue
    const path = lifePath(kind, key)
    if (kind === 'expiry') await unfileAt(group.meta, path, key)
    await removeRecord(group.meta, path)
  }
}
