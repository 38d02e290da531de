/** What a namespace keeps in `meta` for the value of a key, and what ends with that value. See rfc/6.
 *  Each kind mirrors the keys of `data`: a record, or a directory of records, stands at the key's own
 *  components below the kind. Values have no keys below them, so the two never meet.
 *  Invariant: a mirror holds keys of values that are there; what replaces, moves or removes a value, or a
 *  directory above it, takes the mirror's part along. */

import { lacksKind, lifeKinds, lifePath, type MetaDraft, removeRecord } from '../draft/meta.js'
import type { Key } from '../tree/key.js'
import { unfileAt } from './expiry.js'

/** The value at a key ends, or all values below it. */
export function endLife(group: MetaDraft, key: Key): Promise<void> | undefined {
  if (lifeKinds.every((kind) => lacksKind(group, kind))) return undefined
  return endEach(group, key)
}

async function endEach(group: MetaDraft, key: Key): Promise<void> {
  for (const kind of lifeKinds) {
    if (lacksKind(group, kind)) continue
    const path = lifePath(kind, key)
    if (kind === 'expiry') await unfileAt(group.meta, path, key)
    await removeRecord(group.meta, path)
  }
}
