/** All that is in use while a store is written to: every root that somebody can read, now or from now on.
 *  See rfc/14.
 *  Invariant: a commit that lands after the walk names only what it found, what the commit itself brings, and
 *  what uploads have put: the order of the steps in `markInUse` is what makes it so. */

import { setImmediate } from 'node:timers/promises'
import { joinAbort } from '../base/join-abort.js'
import { RefList } from '../blob/ref-list.js'
import type { Open } from '../commit/committer.js'
import type { Engine } from '../engine/engine.js'
import { canceled, isCode } from '../error.js'
import { settle } from '../kvs/configure.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import { floorPageSize } from '../past/retention.js'
import type { Mark } from './mark.js'

/** Marks it all. REQUIRES: the engine's collection has begun. `durable`: the floors are recorded, so that a
 *  root whose tree is taken is not retained again. Throws ECORRUPT, EIO, ENOSPC, ECANCELED, ECLOSED. */
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
  // 1. Whoever takes a hold from here on has seen the floors; what is below them nobody takes.
  const retained = new RefList()
  for (const open of spaces.all()) {
    await listRetained(open, { durable, signal, into: retained })
  }
  // 2. What is read or pinned now, retained or not.
  const held = await spaces.past.inUse()
  // 3. Who began before has landed, and is among `moved`, whatever it took from a root that is no more
  //    retained; who begins from here on takes from roots that were listed, or moved since.
  for (const { committer } of spaces.all()) await joinAbort(committer.passed(), signal)
  // 4. What is newest now, also of namespaces that were made meanwhile; the engine may have a root of a commit
  //    whose outcome nobody knows yet.
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
    // Removed meanwhile: then it retains nothing.
    if (!isCode(error, 'ENONS')) throw error
  }
}

/** A namespace that is being removed takes no more commits; should that fail, it has its roots still. */
async function durableFloor(open: Open): Promise<number> {
  try {
    return await settle(open)
  } catch (error) {
    if (!isCode(error, 'ENONS')) throw error
    return open.live.retention.floor()
  }
}
