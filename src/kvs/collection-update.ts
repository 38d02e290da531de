/** Changes what is durable of collections: one commit of the namespace `system`. See rfc/14. */

import type { UpdateCollection } from '../transaction/collection-record.js'
import type { Committer } from './committer.js'

/** `system` is the loop of that namespace. Throws what a commit throws. */
export async function updateCollection(
  system: Committer,
  update: UpdateCollection['update'],
): Promise<void> {
  const ops = [{ op: 'collection', update }] as const
  await system.submit({ guards: [], ops, noMerge: false, blobs: [], size: 0 })
}
