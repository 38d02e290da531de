/** Marks everything that is in use while others write to the store: every root that somebody can
 *  read, now or later. See rfc/14, rules 10 to 16.
 *  Invariant: a commit that lands after the walk names only blobs that the walk found, that
 *  the commit itself brings, or that uploads have put. The order of the steps in
 *  `markInUse` ensures this. */

import { setImmediate } from 'node:timers/promises'
import { joinAbort } from '../base/abort.js'
import type { Open } from '../commit/committer.js'
import type { Engine } from '../engine/engine.js'
import { canceled, isCode } from '../error.js'
import { settle } from '../kvs/configure.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import { floorPageSize } from '../past/retention.js'
import type { Mark } from './mark.js'
import { RefList } from './ref-list.js'

/** Marks everything that is in use. `durable`: it also records the floors, so that a root whose
 *  tree the collection frees is never retained again. Throws ECORRUPT, EIO, ENOSPC, ECANCELED,
 *  ECLOSED. REQUIRES: the engine's collection has begun. */
export async function markInUse(
  { engine, spaces }: { readonly engine: Engine; readonly spaces: OpenNamespaces },
  mark: Mark,
  { durable, signal }: { readonly durable: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const moved = new RefList()
  using listening = spaces.listen({
    moved: (_live, root) => moved.push(root.ref),
    changed: (live) => moved.push(live.root.ref),
  })
  // 1. List the retained roots. Holds that are taken from here on are above the floors.
  const retained = new RefList()
  for (const open of spaces.all()) {
    await listRetained(open, { durable, signal, into: retained })
  }
  // 2. List what is held or pinned now, retained or not.
  const held = await spaces.past.inUse()
  // 3. Wait for the groups in progress. They may copy from roots that are not retained any more,
  //    but their own roots are in `moved` then. Later groups copy from listed roots, or from roots
  //    that moved since.
  for (const { committer } of spaces.all()) await joinAbort(committer.passed(), signal)
  // 4. List the newest roots, those of new namespaces too. The engine may have the root of a commit
  //    whose outcome is not known yet.
  const newest = (await engine.roots()).map(({ root }) => root.ref)
  for (const { live } of spaces.all()) newest.push(live.root.ref)
  listening[Symbol.dispose]()

  for (const ref of newest) await mark.newest(ref)
  for (const reached of held) await mark.held(reached)
  for (const refs of [moved, retained]) for (const ref of refs) await mark.root(ref)
}

async function listRetained(
  open: Open,
  options: { readonly durable: boolean; readonly signal: AbortSignal; readonly into: RefList },
): Promise<void> {
  const { live } = open
  const floor = options.durable ? await durableFloor(open) : await live.retention.floor()
  try {
    for (let after = floor - 1; after < live.root.seq; ) {
      const page = await live.roots.page(after, floorPageSize)
      for (const { ref } of page) options.into.push(ref)
      after = page.at(-1)?.seq ?? live.root.seq
      await setImmediate()
      if (options.signal.aborted) throw canceled(options.signal)
    }
  } catch (error) {
    // The namespace was removed meanwhile: it retains nothing.
    if (!isCode(error, 'ENONS')) throw error
  }
}

/** Records the floor of a namespace, and returns it. A namespace that is being removed accepts no
 *  commit: then the floor is not recorded, but its roots are listed, since its removal may fail. */
async function durableFloor(open: Open): Promise<number> {
  try {
    return await settle(open)
  } catch (error) {
    if (!isCode(error, 'ENONS')) throw error
    return open.live.retention.floor()
  }
}
