/** The commit that removes the keys whose time has come. See rfc/9.
 *  Invariant: a key is removed as an unlink would, if its own record says at that moment that it is due;
 *  an entry of the index alone removes nothing. */

import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import {
  decodeExpires,
  type Expires,
  encodeExpires,
  file,
  getFiled,
  orderPath,
  timeOf,
} from './expiry-record.js'
import type { Group } from './group.js'
import { lifePath } from './life.js'
import { getShortRecord, removeRecord, setRecord, standingNames } from './meta.js'
import { unlink } from './ops.js'
import type { Prepared } from './transaction.js'
import type { Work } from './work.js'

/** Entries of the index that one commit looks at. */
export const expiredPerCommitMax = 1_024

/** A transaction of the server's own. */
export const expireKeysTransaction: Prepared = {
  guards: [],
  ops: [{ op: 'expireKeys' }],
  noMerge: false,
  blobs: [],
  size: 0,
}

/** Throws ECANCELED where nothing is due; OpensNextGroup. */
export async function expireKeys(group: Group, work: Work): Promise<void> {
  const { meta, now } = group
  let looked = 0
  for await (const name of standingNames(meta, orderPath)) {
    const filed = timeOf(name)
    if (filed > now || looked === expiredPerCommitMax) break
    looked++
    const key = await getFiled(meta, name)
    const record = await getShortRecord(meta, lifePath('expiry', key))
    await removeRecord(meta, [...orderPath, name])
    const expires = record && decodeExpires(record)
    if (expires?.filed === filed) await settle(group, key, expires, work)
  }
  if (looked === 0) throw new TailraceError('ECANCELED', 'no key is due any more')
}

async function settle(group: Group, key: Key, expires: Expires, work: Work): Promise<void> {
  const { draft, meta, now } = group
  const path = lifePath('expiry', key)
  if (expires.at > now) {
    await file(meta, expires.at, key)
    await setRecord(meta, path, encodeExpires({ ...expires, filed: expires.at }))
    return
  }
  const place = await draft.locate(key, { follow: false })
  const there = place.parent && place.entry && place.key === key && !place.foreign
  if (there && place.entry?.type !== 'draft')
    await unlink(group, { op: 'unlink', key, recursive: false }, work)
  else await removeRecord(meta, path)
}
