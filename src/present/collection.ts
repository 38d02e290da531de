/** The durable record of collections: the one under way, its progress, and the forgets to sweep up
 *  behind. See rfc/14, rule 17.
 *  Invariant: the record stands in the `meta` of the namespace `system`; only that commit
 *  loop changes it. */

import { corrupt, isCount } from '../base/stored.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup, Work } from '../draft/group.js'
import { getRecord, type MetaRecord, readRecord, setRecord } from '../draft/meta.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../treeobj/treeobj.js'

const path = ['collection'] as const
const version = 1

/** The state of collections. */
export type CollectionRecord = {
  /** True while a collection is under way. It goes on when the store is opened again. */
  readonly running: boolean
  /** The place in the engine up to which that collection has swept: see `SweepStep.after`. */
  readonly after: number
  /** True if that collection frees every blob that is not in use: see `SweepStep.thorough`. */
  readonly thorough: boolean
  /** The number of forgets so far. */
  readonly forgets: number
  /** The number of forgets before that collection began. */
  readonly covered: number
  /** The number of forgets before the beginning of a collection that has ended. */
  readonly swept: number
  /** The bytes that were stored when the last collection ended. */
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

/** The op that changes the record. */
export type UpdateCollection = {
  readonly op: 'collection'
  readonly update: (record: CollectionRecord) => CollectionRecord
}

/** Reads the record in a committed meta tree. Throws ECORRUPT, EDANGLING, EIO. */
export async function readCollection(nodes: Nodes, meta: Dir): Promise<CollectionRecord> {
  const record = await readRecord(nodes, meta, path)
  return record ? decodeCollection(record) : none
}

/** Changes the record in the draft of a group. Throws ECORRUPT. */
export async function applyCollection(
  { meta }: DraftGroup,
  { update }: UpdateCollection,
  work: Work,
): Promise<void> {
  const record = await getRecord(meta, path)
  await setRecord(meta, path, encodeCollection(update(record ? decodeCollection(record) : none)))
  work.results.push({})
}

/** Encodes the record as rfc/14, rule 17 says. */
export function encodeCollection(record: CollectionRecord): readonly Plain[] {
  const { running, after, thorough, forgets, covered, swept, left } = record
  return [version, running, after, thorough, forgets, covered, swept, left]
}

/** Decodes the record. Throws ECORRUPT. */
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
