/** Claims of the steps of a run that are taken before there is a place for their calls. See rfc/24, rule 17.
 *  Invariant: as many are taken as are called within a short time, so that nobody else waits for them for
 *  long, and those that are asked for together share a commit. */

import type { Cache, Claim } from '../api/cache.js'
import { quietEnd } from '../base/abort.js'
import type { TargetAction } from './action.js'
import type { Step } from './graph.js'

/** The time after which others make the targets of a process that was killed, in ms. */
export const claimTtlMs = 10_000
/** The most claims that wait for a place, and the time in which they should get one, in ms. */
const [aheadMax, aheadMs] = [256, 100]
/** The share of the newest call in the mean time of calls. */
const meanShare = 0.1

/** The claim of a step, and its action. */
export type ClaimedStep = { readonly claim: Claim; readonly action: TargetAction }

/** The claims. Mutable; owned by the maker of a run. */
export class ClaimsAhead {
  readonly #cache: Cache
  readonly #bounds: { readonly concurrency: number }
  /** The claims of steps that wait for a place; none for those whose result is there by now, or that somebody
   *  else makes. */
  readonly #claims = new Map<Step, ClaimedStep | Promise<ClaimedStep | undefined>>()
  /** The number of claims that are asked for by `during`. */
  #asking = 0
  /** The actions of steps that have no result and no claim, in the order in which they were looked for. */
  readonly #missed = new Map<Step, TargetAction>()
  /** The mean time of the last calls, in ms. */
  #meanMs: number | undefined
  readonly #ending = new AbortController()

  /** `bounds`: the most calls of the run at the same time, at any moment. */
  constructor(cache: Cache, bounds: { readonly concurrency: number }) {
    this.#cache = cache
    this.#bounds = bounds
  }

  /** Aborts when the run ends. */
  get ending(): AbortSignal {
    return this.#ending.signal
  }

  /** True if one more claim may be taken ahead. */
  get hasRoom(): boolean {
    return this.#room > 0
  }

  /** Counts a claim that `ask` may take. */
  async during<T>(ask: () => Promise<T>): Promise<T> {
    this.#asking++
    try {
      return await ask()
    } finally {
      this.#asking--
    }
  }

  /** Keeps the claim of a step until its turn comes. */
  keep(step: Step, claimed: ClaimedStep): void {
    this.#claims.set(step, claimed)
  }

  /** Hears that a step was looked for and has no result. */
  miss(step: Step, action: TargetAction): void {
    this.#missed.set(step, action)
  }

  /** Returns the claim of a step whose turn it is, which is its caller's then; undefined if it has none. If
   *  fewer than half of those that may have a claim have one, it claims those that come next, too. */
  async take(step: Step): Promise<ClaimedStep | undefined> {
    const isMissed = this.#missed.has(step)
    if (isMissed) this.#ask(step)
    if (isMissed || 2 * this.#room > this.#max) {
      for (const next of this.#missed.keys()) {
        if (!this.hasRoom) break
        this.#ask(next)
      }
    }
    const claimed = await this.#claims.get(step)
    this.#claims.delete(step)
    return claimed
  }

  /** Hears of the time of a call, in ms. */
  note(ms: number): void {
    const before = this.#meanMs ?? ms
    this.#meanMs = before + (ms - before) * meanShare
  }

  /** Gives back all that were not taken. */
  async end(): Promise<void> {
    this.#ending.abort(quietEnd)
    const claims = [...this.#claims.values()]
    await Promise.all(claims.map(async (ahead) => (await ahead)?.claim.abandon()))
    this.#claims.clear()
  }

  get #max(): number {
    const { concurrency } = this.#bounds
    if (this.#meanMs === undefined) return concurrency
    return Math.min(aheadMax, Math.max(concurrency, (concurrency * aheadMs) / this.#meanMs))
  }

  get #room(): number {
    return this.#max - this.#claims.size - this.#asking
  }

  /** Claims a step that has no result. */
  #ask(step: Step): void {
    const action = this.#missed.get(step)
    this.#missed.delete(step)
    if (action) this.#claims.set(step, this.#claimOf(action))
  }

  /** Claims an action that had no result. Undefined if it has one by now, or if somebody else makes it.
   *  Never throws: the step itself meets that error again. */
  async #claimOf(action: TargetAction): Promise<ClaimedStep | undefined> {
    const options = { wait: 'skip', look: false, ttl: claimTtlMs, signal: this.ending } as const
    const got = await this.#cache.claim(action, options).catch(() => undefined)
    return got?.type === 'claimed' ? { claim: got, action } : undefined
  }
}
