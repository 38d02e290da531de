/** Kept roots: an answer named them for a next read, such as the next page of a list, and they stay
 *  readable for a while, retained or not. See rfc/10, rule 20.
 *  Invariant: a root is kept for `keptRootMs` after it was named or read last, at most. No more
 *  than `keptRootsMax` are kept. None of them has what was forgotten. */

import type { Environment } from '../base/environment.js'
import type { Root } from '../engine/engine.js'
import type { Holds } from './holds.js'
import type { LiveNamespace } from './namespace.js'

/** The time for which a root is kept after it was named or read last, in ms (monotonic). */
export const keptRootMs = 60_000
/** The largest number of kept roots in all namespaces. Above it, the one that was used
 *  longest ago goes. */
export const keptRootsMax = 256

type Kept = { readonly root: Root; readonly hold: Disposable; readonly until: number }

/** The kept roots of a store. */
export class KeptRoots {
  readonly #holds: Holds
  readonly #monotonic: Environment['monotonic']
  /** The roots by incarnation and seq, the one that was used longest ago first. */
  readonly #kept = new Map<string, Kept>()
  /** The seq of each incarnation below which no root is kept. */
  readonly #least = new Map<string, number>()

  constructor(holds: Holds, monotonic: Environment['monotonic']) {
    this.#holds = holds
    this.#monotonic = monotonic
  }

  /** Keeps a root for `keptRootMs` from now on. REQUIRES: the root is held, or retained in this
   *  turn of the event loop. */
  keep(live: LiveNamespace, root: Root): void {
    const { incarnation } = live.record
    if (live.ended || root.seq < (this.#least.get(incarnation) ?? 0)) return
    const id = idOf(incarnation, root.seq)
    const hold = this.#kept.get(id)?.hold ?? this.#holds.hold(root.ref)
    this.#kept.delete(id) // to the end of the order
    this.#kept.set(id, { root, hold, until: this.#monotonic() + keptRootMs })
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= keptRootsMax) break
      this.#drop(oldest)
    }
  }

  /** Returns a kept root by its own seq or its ref, and keeps it for its full time again. */
  find(live: LiveNamespace, at: number | string): Root | undefined {
    this.expire()
    const { incarnation } = live.record
    const root =
      typeof at === 'number'
        ? this.#kept.get(idOf(incarnation, at))?.root
        : [...this.#kept].find(([id, { root }]) => isOf(id, incarnation) && root.ref === at)?.[1]
            .root
    if (root) this.keep(live, root)
    return root
  }

  /** Drops the roots whose time is over. */
  expire(): void {
    const now = this.#monotonic()
    for (const [id, { until }] of this.#kept) {
      if (until > now) break
      this.#drop(id)
    }
  }

  /** Drops the roots of a namespace below `seq`, and keeps none of them again. */
  raise(live: LiveNamespace, seq: number): void {
    const { incarnation } = live.record
    this.#least.set(incarnation, Math.max(seq, this.#least.get(incarnation) ?? 0))
    for (const [id, { root }] of this.#kept) {
      if (isOf(id, incarnation) && root.seq < seq) this.#drop(id)
    }
  }

  /** Drops the roots of a namespace that has ended. */
  end(live: LiveNamespace): void {
    this.raise(live, Number.POSITIVE_INFINITY)
    this.#least.delete(live.record.incarnation)
  }

  #drop(id: string): void {
    this.#kept.get(id)?.hold[Symbol.dispose]()
    this.#kept.delete(id)
  }
}

function idOf(incarnation: string, seq: number): string {
  return `${incarnation} ${seq}`
}

function isOf(id: string, incarnation: string): boolean {
  return id.startsWith(`${incarnation} `)
}
