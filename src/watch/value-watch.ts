/** One value watcher: the value now, then at each later root that names the key. See rfc/7.
 *  Invariant: values come in the order of their roots, each at most once; a value that was not asked
 *  for yet is not loaded. */

import { blobSizeMax } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { statOf } from '../kvs/read.js'
import type { KeyStore } from '../kvs/store.js'
import type { WatchEvent } from '../kvs/watching.js'
import type { Sight } from './sights.js'

export async function* watchValue(
  store: KeyStore,
  sights: AsyncIterable<Sight>,
  options: { readonly key: string; readonly waitCreate: boolean; readonly uniq: boolean },
): AsyncGenerator<WatchEvent, void, undefined> {
  const { key, waitCreate, uniq } = options
  let delivered: Blobref | undefined
  let skipped = false
  for await (const sight of sights) {
    if ('gone' in sight) {
      if (waitCreate && delivered === undefined && sight.gone.code === 'ENONS') continue
      throw sight.gone
    }
    const { treeobj } = sight.found
    if (!treeobj || treeobj.type === 'symlink') {
      if (waitCreate && delivered === undefined) continue
      throw new TailraceError('ENOENT', `${key} is not there`)
    }
    if (treeobj.type === 'dir') {
      throw new TailraceError('EISDIR', `${key} is a directory: watch a key in it`)
    }
    skipped ||= sight.skipped && delivered !== undefined
    const { seq } = sight.root
    const { ref, size } = statOf(treeobj, seq)
    if (uniq && ref === delivered) continue
    const event = { type: 'value', seq, ref, size, ...(skipped ? { skipped } : {}) } as const
    yield size > blobSizeMax ? event : { ...event, data: await store.reader.bytes(treeobj) }
    delivered = ref
    skipped = false
  }
}
