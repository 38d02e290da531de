/** The roots of a store that can be read: the newest, the retained, those that answers named, the pinned; and what
 *  readers hold of them, so that a collection leaves it. See rfc/10.
 *  Invariant: a root that was given to a reader stays readable until the reader disposes of it. */

import type { Environment } from '../base/environment.js'
import type { Root } from '../engine/engine.js'
import { isCode, TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { type Held, type HeldRoot, Holds } from './holds.js'
import { KeptRoots } from './kept-roots.js'
import type { LiveNamespace } from './namespace.js'
import { Pins } from './pins.js'

export class Past {
  /** What open readers need; a collection asks after it has settled the floors and listed the pins. */
  readonly holds: Holds
  readonly pins: Pins
  /** Roots that answers named for more to be read from. */
  readonly kept: KeptRoots

  /** `system` is the newest tree of that namespace. */
  constructor(environment: Environment, nodes: Nodes, system: () => Promise<Dir>) {
    this.holds = new Holds(environment.timer)
    this.kept = new KeptRoots(this.holds, environment.monotonic)
    this.pins = new Pins(nodes, system)
  }

  /** A root to read from: the newest, a retained, a kept or a pinned one. Throws ECOMPACTED, EINVAL. */
  async hold(live: LiveNamespace, at: number | string | undefined): Promise<HeldRoot> {
    if (at === undefined) return this.holdRoot(live.root)
    try {
      const root = await live.roots.at(at, live.root)
      const held = this.holdRoot(root)
      // A collection may have begun meanwhile: it leaves what was held, and what is above the floor.
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

  /** REQUIRES: it is the newest or one that is still retained, in this turn of the event loop. */
  holdRoot(root: Root): HeldRoot {
    const hold = this.holds.hold(root.ref)
    return { root, [Symbol.dispose]: () => hold[Symbol.dispose]() }
  }

  /** What a collection must leave besides the retained roots: all that is pinned, and all that is read. Asked
   *  for after the floors were settled. */
  async inUse(): Promise<Held[]> {
    this.kept.expire()
    // Twice, around the pins: a root that is being pinned is held before, a pinned one that is read after.
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
    // Still pinned: then a collection that does not see the pin sees the hold.
    const still = await this.pins.holding(incarnation, at)
    if (still?.ref === ref) return held
    held[Symbol.dispose]()
    return undefined
  }
}
