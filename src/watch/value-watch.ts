/** One value watcher: it delivers the value now, then the value at each later root that names the
 *  key. See rfc/7, rules 2 and 4.
 *  Invariant: values come in the order of their roots, at most one for a root. No value is loaded
 *  before it is asked for. */

import type { WatchEvent } from '../api/watch.js'
import type { Signal } from '../base/abort.js'
import { blobSizeMax } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { statOf } from '../treeobj/codec.js'
import { sizeOf } from '../treeobj/treeobj.js'
import { LeaseWatch } from './lease-watch.js'
import type { Sight, WatchedStore } from './sights.js'
import type { ValueLoads } from './value-loads.js'

/** Delivers the events of one value watch. Throws ENOENT, ENONS, EISDIR, ECLOSED, ECANCELED, and
 *  what a load throws. */
export async function* watchValue(
  store: WatchedStore,
  sights: AsyncIterable<Sight>,
  options: {
    readonly key: string
    readonly waitCreate: boolean
    readonly uniq: boolean
    readonly lease: boolean
  },
  ports: { readonly loads: ValueLoads; readonly signal: Signal },
): AsyncGenerator<WatchEvent, void, undefined> {
  const { key, waitCreate, uniq } = options
  const { loads, signal } = ports
  const leases = options.lease ? new LeaseWatch(store) : undefined
  let delivered: Blobref | undefined
  let skipped = false
  for await (const sight of sights) {
    if ('gone' in sight) {
      const waits = waitCreate && delivered === undefined && sight.gone.code === 'ENONS'
      if (!waits) throw sight.gone
      const event = leases?.gone()
      if (event) yield event
      continue
    }
    const { treeobj } = sight.found
    const there = treeobj !== undefined && treeobj.type !== 'symlink'
    if (!there && !(waitCreate && delivered === undefined)) {
      throw new TailraceError('ENOENT', `${key} is not there`)
    }
    const change = await leases?.at(sight)
    if (change) yield change
    if (!there || sight.leaseOnly) continue
    if (treeobj.type === 'dir') {
      throw new TailraceError('EISDIR', `${key} is a directory: watch a key in it`)
    }
    skipped ||= sight.skipped && delivered !== undefined
    const { seq } = sight.root
    const { ref } = statOf(treeobj, seq)
    const size = sizeOf(treeobj)
    if (uniq && ref === delivered) continue
    const event = { type: 'value', seq, ref, size } as const
    const large = size > blobSizeMax
    const data = large ? {} : { data: await loads.bytes(ref, treeobj, signal) }
    // The consumer reads a large value by the seq of its root, so that root must stay readable.
    if (large) store.spaces.past.kept.keep(sight.live, sight.root)
    sight.held[Symbol.dispose]()
    yield skipped ? { ...event, skipped, ...data } : loads.share({ ...event, ...data })
    delivered = ref
    skipped = false
  }
}
