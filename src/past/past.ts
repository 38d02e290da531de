/** The roots of a store that can be read: the newest, the retained, the kept and the pinned ones;
 *  and the holds that readers have on them. See rfc/10.
 *  Invariant: a root that was given to a reader stays readable until the reader disposes of it. */

import type { Environment } from '../base/environment.js'
import type { Root } from '../engine/engine.js'
import { isCode, TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../treeobj/treeobj.js'
import { type Held, type HeldRoot, Holds } from './holds.js'
import { KeptRoots } from './kept-roots.js'
import type { LiveNamespace } from './namespace.js'
import { Pins } from './pins.js'

/** The past of all namespaces of a store. */
export class Past {
  readonly holds: Holds
  readonly pins: Pins
  readonly kept: KeptRoots

  /** `system` returns the newest tree of the namespace of that name. */
  constructor(environment: Environment, nodes: Nodes, system: () => Promise<Dir>) {
    this.holds = new Holds(environment.timer)
    this.kept = new KeptRoots(this.holds, environment.monotonic)
    this.pins = new Pins(nodes, system)
  }

  /** Holds a root to read from: the newest, or by `at` (a seq or a ref) a retained, a kept or a
   *  pinned one. Throws ECOMPACTED, EINVAL. */
  async hold(live: LiveNamespace, at: number | string | undefined): Promise<HeldRoot> {
    if (at === undefined) return this.holdRoot(live.root)
    try {
      const root = await live.roots.at(at, live.root)
      const held = this.holdRoot(root)
      // A collection may have begun meanwhile. It spares roots that were held before, and roots
      // from the floor on.
      if (root.seq >= (live.retention.known ?? 0)) return held
      held[Symbol.dispose]()
      throw new TailraceError('ECOMPACTED', `the root ${at} is no more retained`)
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED')) throw error
      const kept = this.kept.find(live, at)
      if (kept) return this.holdRoot(kept)
      const pinned = await this.#holdPinned(live, at)
      if (!pinned) throw error
      return pinned
    }
  }

  /** Holds a root. REQUIRES: it is the newest one or retained in this turn of the event loop. */
  holdRoot(root: Root): HeldRoot {
    const hold = this.holds.hold(root.ref)
    return { root, [Symbol.dispose]: () => hold[Symbol.dispose]() }
  }

  /** Lists what a collection must spare besides the retained roots: all that is pinned or held.
   *  REQUIRES: the floors were settled before (rfc/14, rule 11). */
  async inUse(): Promise<Held[]> {
    this.kept.expire()
    // Lists the holds before and after the pins. A root that becomes pinned meanwhile is held
    // before. A root that a reader has found by a pin, which is then removed, is held after.
    const before = this.holds.held()
    const pins = (await this.pins.list()).map(({ ref }): Held => ({ root: ref }))
    return [...before, ...pins, ...this.holds.held()]
  }

  async #holdPinned(live: LiveNamespace, at: number | string): Promise<HeldRoot | undefined> {
    const { incarnation } = live.record
    const pin = await this.pins.holding(incarnation, at)
    if (!pin) return undefined
    const { seq, ref, time } = pin
    const held = this.holdRoot({ seq, ref, time, tx: '', epoch: 0 })
    // Looks again: if the pin is still there, a collection has seen the pin or sees the hold.
    const still = await this.pins.holding(incarnation, at)
    if (still?.ref === ref) return held
    held[Symbol.dispose]()
    return undefined
  }
}
