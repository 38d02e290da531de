/** What is durable of collections: whether one is under way, how far it has come, and what the next one has
 *  to do. See rfc/14.
 *  Invariant: one record in the `meta` of the namespace `system`, changed by its commit loop only. */

import { corrupt, isCount } from '../base/stored.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup, Work } from '../draft/group.js'
import { getRecord, type MetaRecord, readRecord, setRecord } from '../draft/meta.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'

const path = ['collection'] as const
const version = 1

export type CollectionRecord = {
  /** One is under way; it goes on when the store is opened again. */
  readonly running: boolean
  /** What the engine has looked at for it. */
  readonly after: number
  /** It frees every blob that is not in use, see `SweepStep.thorough`. */
  readonly thorough: boolean
  /** Forgets so far, those of them that the collection under way began after, and those that a collection
   *  has swept up behind. */
  readonly forgets: number
  readonly covered: number
  readonly swept: number
  /** Bytes that were stored when the last one ended. */
  readonly left: number
}

const none: CollectionRecord = {
  running: false,
  after: 0,
  thorough: false,
  forgets: 0,
  covered: 0,
  swept: 0,
  left: 0,
}

export type UpdateCollection = {
  readonly op: 'collection'
  readonly update: (record: CollectionRecord) => CollectionRecord
}

/** Throws ECORRUPT, EDANGLING, EIO. */
export async function readCollection(nodes: Nodes, meta: Dir): Promise<CollectionRecord> {
  const record = await readRecord(nodes, meta, path)
  return record ? decodeCollection(record) : none
}

/** The op, as the commit loop applies it. */
export async function applyCollection(
  { meta }: DraftGroup,
  { update }: UpdateCollection,
  work: Work,
): Promise<void> {
  const record = await getRecord(meta, path)
  await setRecord(meta, path, encodeCollection(update(record ? decodeCollection(record) : none)))
  work.results.push({})
}

/** See rfc/14. */
export function encodeCollection(record: CollectionRecord): readonly Plain[] {
  const { running, after, thorough, forgets, covered, swept, left } = record
  return [version, running, after, thorough, forgets, covered, swept, left]
}

/** Throws ECORRUPT. */
export function decodeCollection([found, ...fields]: MetaRecord): CollectionRecord {
  const [running, after, thorough, forgets, covered, swept, left] = fields
  if (found !== version || typeof running !== 'boolean' || typeof thorough !== 'boolean') {
    throw corrupt('the record of collections')
  }
  if (!isCount(after) || !isCount(left)) throw corrupt('the record of collections')
  if (!isCount(forgets) || !isCount(covered) || !isCount(swept))
    throw corrupt('the record of collections')
  return { running, after, thorough, forgets, covered, swept, left }
}
