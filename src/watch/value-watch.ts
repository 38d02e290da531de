/** One value watcher: it delivers the value now, then the value at each later root that names the
 *  key. See rfc/7, rules 2 and 4.
 *  Invariant: values come in the order of their roots, at most one for a root. No value is loaded
 *  before it is asked for. */

import type { ValueEvent, WatchEvent } from '../api/watch.js'
import type { Signal } from '../base/abort.js'
import { blobSizeMax } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { statOf } from '../treeobj/codec.js'
import { type Symlink, sizeOf, type Treeobj } from '../treeobj/treeobj.js'
import { LeaseWatch } from './lease-watch.js'
import type { SeenRoot, Sight, WatchedStore } from './sights.js'
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
    const isFirst = !leases?.hasTold
    const change = await leases?.at(sight)
    // The end of a lease comes behind the value of its root: who waits for it has what its holder
    // wrote last.
    const end = change && !change.held && !isFirst ? change : undefined
    if (change && !end) yield change
    if (there && !sight.leaseOnly) {
      skipped ||= sight.skipped && delivered !== undefined
      const { ref } = statOf(treeobj, sight.root.seq)
      if (!uniq || ref !== delivered) {
        let event: ValueEvent
        try {
          event = await valueAt(store, sight, { key, treeobj, skipped }, ports)
        } catch (error) {
          if (end) yield end
          throw error
        }
        yield event
        delivered = ref
        skipped = false
      }
    }
    if (end) yield end
  }
}

/** Makes the event of a value, which it loads unless it is large. Throws EISDIR, ECANCELED, and what
 *  a load throws. */
async function valueAt(
  store: WatchedStore,
  sight: SeenRoot,
  {
    key,
    treeobj,
    skipped,
  }: {
    readonly key: string
    readonly treeobj: Exclude<Treeobj, Symlink>
    readonly skipped: boolean
  },
  { loads, signal }: { readonly loads: ValueLoads; readonly signal: Signal },
): Promise<ValueEvent> {
  if (treeobj.type === 'dir') {
    throw new TailraceError('EISDIR', `${key} is a directory: watch a key in it`)
  }
  const { seq } = sight.root
  const { ref } = statOf(treeobj, seq)
  const size = sizeOf(treeobj)
  const event = { type: 'value', seq, ref, size } as const
  const large = size > blobSizeMax
  const data = large ? {} : { data: await loads.bytes(ref, treeobj, signal) }
  // The consumer reads a large value by the seq of its root, so that root must stay readable.
  if (large) store.spaces.past.kept.keep(sight.live, sight.root)
  sight.held[Symbol.dispose]()
  return skipped ? { ...event, skipped, ...data } : loads.share({ ...event, ...data })
}
