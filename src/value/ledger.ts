/** The memory of packed and of opened values in this process. See rfc/23, rules 9 to 13.
 *  Invariant: each sum is at most its bound, or one claim alone has it. Claims are granted in order,
 *  each whole: who has a part waits for nothing. What is idle is forgotten, least recently used first,
 *  before anybody waits. */

import type { CountName, LedgerView } from '../api/value.js'
import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { canceled, TailraceError } from '../error.js'

/** The most claims that wait. */
export const waitingMax = 10_000

/** The two sums. */
export type Kind = 'packed' | 'opened'
/** Bytes of each sum. */
export type Sizes = Readonly<Record<Kind, number>>

/** Memory that nobody uses now. */
export type Idle = {
  readonly kind: Kind
  /** Bytes. */
  readonly size: number
  /** Frees the memory, now or by the time when the promise resolves. The ledger takes the bytes off its
   *  sum then. */
  readonly forget: () => Promise<void> | void
}

type Waiting = { readonly sizes: Sizes; readonly granted: Deferred<void> }

/** The ledger. Mutable; shared by the values of a process. */
export class Ledger {
  readonly #max: Sizes
  readonly #used: Record<Kind, number> = { packed: 0, opened: 0 }
  readonly #highest: Record<Kind, number> = { packed: 0, opened: 0 }
  /** The bytes that are being written elsewhere, and free afterwards. */
  readonly #leaving: Record<Kind, number> = { packed: 0, opened: 0 }
  /** The least recently used first. */
  readonly #idle: Record<Kind, Set<Idle>> = { packed: new Set(), opened: new Set() }
  readonly #waiting = new Set<Waiting>()
  readonly #counts: Record<CountName, number> = {
    ...{ fetches: 0, opens: 0, packs: 0, copies: 0 },
    ...{ stores: 0, spills: 0, forgotten: 0, waits: 0 },
  }

  constructor(max: Sizes) {
    this.#max = max
  }

  get view(): LedgerView {
    const sumOf = (kind: Kind) => ({
      ...{ used: this.#used[kind], max: this.#max[kind], highest: this.#highest[kind] },
    })
    return {
      ...{ packed: sumOf('packed'), opened: sumOf('opened') },
      waiting: this.#waiting.size,
      counts: { ...this.#counts },
    }
  }

  count(name: CountName): void {
    this.#counts[name]++
  }

  /** Takes memory, if there is some and nobody waits for it. */
  tryClaim(sizes: Sizes): boolean {
    if (this.#waiting.size > 0 || !this.#makeRoom(sizes)) return false
    this.#grant(sizes)
    return true
  }

  /** Takes memory. Throws EBUSY (there is none and `wait` is `fail`, or too many wait), ECANCELED, and
   *  what a spill throws that should make room. */
  async claim(
    sizes: Sizes,
    { wait, signal }: { readonly wait: 'wait' | 'fail'; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    if (signal?.aborted) throw canceled(signal)
    if (this.tryClaim(sizes)) return
    // A spill on its way makes room: that is no wait for others.
    if (wait === 'fail' && !this.#willFit(sizes)) throw this.#busy(sizes)
    if (this.#waiting.size >= waitingMax) throw this.#busy(sizes)
    this.count('waits')
    const waiting: Waiting = { sizes, granted: deferred<void>() }
    this.#waiting.add(waiting)
    const endAbort = onAbort(signal, () => {
      if (!this.#waiting.delete(waiting)) return
      if (signal) waiting.granted.reject(canceled(signal))
      this.#goOn()
    })
    try {
      await waiting.granted.promise
    } finally {
      endAbort()
    }
  }

  /** Gives memory back. */
  give(sizes: Partial<Sizes>): void {
    this.#used.packed -= sizes.packed ?? 0
    this.#used.opened -= sizes.opened ?? 0
    this.#goOn()
  }

  /** Says that nobody uses some memory now, so that it may be forgotten. */
  rest(idle: Idle): void {
    this.#idle[idle.kind].add(idle)
    this.#goOn()
  }

  /** Says that somebody uses some memory again. Returns false if it was forgotten. */
  wake(idle: Idle): boolean {
    return this.#idle[idle.kind].delete(idle)
  }

  /** Grants the claims that wait, in order, as long as there is room. */
  #goOn(): void {
    for (const waiting of this.#waiting) {
      if (!this.#makeRoom(waiting.sizes)) return
      this.#waiting.delete(waiting)
      this.#grant(waiting.sizes)
      waiting.granted.resolve()
    }
  }

  #grant(sizes: Sizes): void {
    for (const kind of ['packed', 'opened'] as const) {
      this.#used[kind] += sizes[kind]
      this.#highest[kind] = Math.max(this.#highest[kind], this.#used[kind])
    }
  }

  /** Forgets what is idle until both sums fit. Returns true if they do now. */
  #makeRoom(sizes: Sizes): boolean {
    const packed = this.#makeRoomOf('packed', sizes.packed)
    return this.#makeRoomOf('opened', sizes.opened) && packed
  }

  #makeRoomOf(kind: Kind, size: number): boolean {
    if (size === 0) return true
    const lacks = () => this.#used[kind] - this.#leaving[kind] + size > this.#max[kind]
    for (const idle of this.#idle[kind]) {
      if (!lacks()) break
      this.#idle[kind].delete(idle)
      this.#forget(idle)
    }
    return this.#used[kind] + size <= this.#max[kind] || this.#used[kind] === 0
  }

  /** True if there will be room once what is on its way out has left. */
  #willFit(sizes: Sizes): boolean {
    return (['packed', 'opened'] as const).every((kind) => {
      const used = this.#used[kind] - this.#leaving[kind]
      return sizes[kind] === 0 || used + sizes[kind] <= this.#max[kind] || used === 0
    })
  }

  #forget(idle: Idle): void {
    const leaves = idle.forget()
    if (leaves) {
      void this.#leave(idle, leaves)
      return
    }
    this.#used[idle.kind] -= idle.size
    this.count('forgotten')
  }

  /** Waits until memory has left. A claim that waits for it hears why it did not. */
  async #leave({ kind, size }: Idle, leaves: Promise<void>): Promise<void> {
    this.#leaving[kind] += size
    try {
      await leaves
      this.#used[kind] -= size
      this.count('forgotten')
    } catch (error) {
      const [first] = this.#waiting
      if (first) {
        this.#waiting.delete(first)
        first.granted.reject(error)
      }
    } finally {
      this.#leaving[kind] -= size
      this.#goOn()
    }
  }

  #busy(sizes: Sizes): TailraceError {
    const { packed, opened } = this.#used
    const message = `no memory for ${sizes.packed} packed and ${sizes.opened} opened bytes of values: ${packed} and ${opened} are in use, ${this.#waiting.size} calls wait`
    return new TailraceError('EBUSY', message)
  }
}
