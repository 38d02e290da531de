/** The memory of packed and of opened values in this process. See rfc/23, rules 9 to 13.
 *  Invariant: each sum is at most its bound, or all of it belongs to the values of one claim. Claims are
 *  granted in order, each whole: who has a part waits for nothing. The memory that a claim lacks is
 *  counted at the moment when it is granted. What is idle is forgotten, least recently used first,
 *  before anybody waits. */

import type { CountName, LedgerView } from '../api/value.js'
import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { canceled, TailraceError } from '../error.js'

/** The most claims that wait. */
export const waitingMax = 10_000
/** The most values that are written elsewhere at the same time, to make room. */
export const spillsMax = 16

/** The two sums. */
export type Kind = 'packed' | 'opened'
/** Bytes of each sum. */
export type Sizes = Readonly<Record<Kind, number>>

/** Memory that nobody uses now. */
export type Idle = {
  readonly kind: Kind
  /** Bytes. */
  readonly size: number
  /** True if it is still here, and may be forgotten. */
  readonly isIdle: () => boolean
  /** True if it is written elsewhere before it is forgotten. */
  readonly isWritten: () => boolean
  /** Frees the memory, now or by the time when the promise resolves with true, and the ledger takes the
   *  bytes off its sum. With false the memory is in use again, and stays. REQUIRES: it does not call the
   *  ledger at once. */
  readonly forget: () => Promise<boolean> | undefined
}

/** The memory that a claim lacks. */
export type Need = {
  readonly sizes: Sizes
  /** Memory of the claim's own values, which is not forgotten for it. */
  readonly keeps?: readonly Idle[]
}

/** A claim on memory. */
export type MemoryClaim = {
  /** Returns what the claim lacks now. It is asked when it is the claim's turn, and again whenever there
   *  is more room. What it throws ends the claim. */
  readonly need: () => Need
  /** Takes what the last `need` named. It is called at the moment when the claim is granted. */
  readonly take?: () => void
}

/** The ledger. Mutable; shared by the values of a process. */
export class Ledger {
  readonly #max: Sizes
  readonly #used: Record<Kind, number> = { packed: 0, opened: 0 }
  readonly #highest: Record<Kind, number> = { packed: 0, opened: 0 }
  /** The bytes that are being written elsewhere, and free afterwards. */
  readonly #leaving: Record<Kind, number> = { packed: 0, opened: 0 }
  /** The least recently used first. */
  readonly #idle: Record<Kind, Set<Idle>> = { packed: new Set(), opened: new Set() }
  readonly #waiting = new Map<MemoryClaim, Deferred<void>>()
  /** The number of values that are being written elsewhere. */
  #spilling = 0
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

  /** The bounds. */
  get max(): Sizes {
    return this.#max
  }

  /** True if claims wait. */
  get isShort(): boolean {
    return this.#waiting.size > 0
  }

  count(name: CountName): void {
    this.#counts[name]++
  }

  /** Grants a claim if there is memory and nobody waits for it. Throws what its `need` throws. */
  tryClaim(claim: MemoryClaim): boolean {
    return this.#waiting.size === 0 && this.#tryGrant(claim)
  }

  /** Waits until a claim is granted. Throws EBUSY (there is no memory and `wait` is `fail`, or too many
   *  wait), ECANCELED, and what a spill throws that should make room. */
  async claim(
    claim: MemoryClaim,
    { wait, signal }: { readonly wait: 'wait' | 'fail'; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    if (signal?.aborted) throw canceled(signal)
    if (this.tryClaim(claim)) return
    // A spill on its way makes room, if nobody waits for it before: that is no wait for others.
    if (wait === 'fail' && (this.#waiting.size > 0 || !this.#willFit(claim))) throw this.#busy()
    if (this.#waiting.size >= waitingMax) throw this.#busy()
    this.count('waits')
    const granted = deferred<void>()
    this.#waiting.set(claim, granted)
    const endAbort = onAbort(signal, () => {
      if (signal) this.#refuse(claim, canceled(signal))
      this.#goOn()
    })
    try {
      await granted.promise
    } finally {
      endAbort()
    }
  }

  /** True if a claim waits. */
  waits(claim: MemoryClaim): boolean {
    return this.#waiting.has(claim)
  }

  /** Grants a claim out of turn that waits and lacks nothing any more. */
  pass(claim: MemoryClaim): void {
    const granted = this.#waiting.get(claim)
    if (!granted) return
    this.#waiting.delete(claim)
    claim.take?.()
    granted.resolve()
    this.#goOn()
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
    this.#trim(idle.kind)
  }

  /** Says that somebody uses some memory again. Returns false if it was forgotten. */
  wake(idle: Idle): boolean {
    return this.#idle[idle.kind].delete(idle)
  }

  /** Grants the claims that wait, in order, as long as there is room. */
  #goOn(): void {
    for (const [claim, granted] of this.#waiting) {
      try {
        if (!this.#tryGrant(claim)) return
        granted.resolve()
      } catch (error) {
        this.#refuse(claim, error)
      }
    }
  }

  /** Ends the wait of a claim with an error. */
  #refuse(claim: MemoryClaim, error: unknown): void {
    const granted = this.#waiting.get(claim)
    this.#waiting.delete(claim)
    granted?.reject(error)
  }

  #tryGrant(claim: MemoryClaim): boolean {
    const need = claim.need()
    if (!this.#makeRoom(need)) return false
    // Before it takes, since that may free memory for the next one.
    this.#waiting.delete(claim)
    for (const kind of ['packed', 'opened'] as const) {
      this.#used[kind] += need.sizes[kind]
      this.#highest[kind] = Math.max(this.#highest[kind], this.#used[kind])
    }
    claim.take?.()
    return true
  }

  /** Forgets what is idle until both sums fit. Returns true if they do now. */
  #makeRoom({ sizes, keeps = [] }: Need): boolean {
    const kept = new Set(keeps)
    const packed = this.#makeRoomOf('packed', sizes.packed, kept)
    return this.#makeRoomOf('opened', sizes.opened, kept) && packed
  }

  #makeRoomOf(kind: Kind, size: number, kept: ReadonlySet<Idle>): boolean {
    if (size === 0) return true
    const lacks = () => this.#used[kind] - this.#leaving[kind] + size > this.#max[kind]
    // To begin a walk over a set takes as long as it has lost items, so none begins in vain.
    for (const idle of lacks() ? this.#idle[kind] : []) {
      if (!lacks() || this.#spilling >= spillsMax) break
      if (kept.has(idle)) continue
      this.#idle[kind].delete(idle)
      this.#forget(idle)
    }
    return this.#fits(kind, size, this.#used[kind], kept)
  }

  /** Forgets what is above the bound since it belonged to one claim, as far as nothing is written for it. */
  #trim(kind: Kind): void {
    const fits = () => this.#used[kind] - this.#leaving[kind] <= this.#max[kind]
    for (const idle of fits() ? [] : this.#idle[kind]) {
      if (fits()) return
      if (idle.isWritten()) continue
      this.#idle[kind].delete(idle)
      this.#forget(idle)
    }
  }

  /** True if memory fits beside what is used, or if nobody but the claim's own values uses any. */
  #fits(kind: Kind, size: number, used: number, kept: Iterable<Idle>): boolean {
    if (size === 0 || used + size <= this.#max[kind]) return true
    let own = 0
    for (const idle of kept) if (idle.kind === kind) own += idle.size
    return used <= own
  }

  /** True if there will be room once all has left that is idle or on its way out. */
  #willFit(claim: MemoryClaim): boolean {
    const { sizes, keeps = [] } = claim.need()
    const kept = new Set(keeps)
    return (['packed', 'opened'] as const).every((kind) => {
      let stays = this.#used[kind] - this.#leaving[kind]
      for (const idle of this.#idle[kind]) if (!kept.has(idle)) stays -= idle.size
      return this.#fits(kind, sizes[kind], stays, kept)
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
  async #leave(idle: Idle, leaves: Promise<boolean>): Promise<void> {
    const { kind, size } = idle
    this.#leaving[kind] += size
    this.#spilling++
    try {
      if (await leaves) {
        this.#used[kind] -= size
        this.count('forgotten')
      }
    } catch (error) {
      // Nothing was freed, so that it may be tried again for the next claim.
      if (idle.isIdle()) this.#idle[kind].add(idle)
      const [first] = this.#waiting.keys()
      if (first) this.#refuse(first, error)
    } finally {
      this.#leaving[kind] -= size
      this.#spilling--
      this.#goOn()
    }
  }

  #busy(): TailraceError {
    const { packed, opened } = this.#used
    const message = `no memory for a value: ${packed} packed and ${opened} opened bytes are in use, ${this.#waiting.size} calls wait; try again when one of them has ended`
    return new TailraceError('EBUSY', message)
  }
}
