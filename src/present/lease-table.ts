/** Until when each lease of a namespace is held: in memory only, on the monotonic clock. See rfc/9.
 *  Invariant: a lease is due no sooner than its ttl after the answer that gave or renewed it, and after
 *  everybody who could renew it was heard: a server that stood still hears what waits in its sockets
 *  before it expires anything. After an open a lease has what the wall clock leaves of its ttl. */

import { Alarm } from '../base/alarm.js'
import type { Environment } from '../base/environment.js'
import type { Key } from '../tree/key.js'

/** A deadline that has passed is listened past for so long: renewals that came in time may still be on
 *  their way through the server. */
export const hearingMs = 50
/** A timer that rings later than this says that the server stood still. */
export const stallMs = 250
/** A server that stood still expires nothing for so long after it noticed. */
export const stallGraceMs = 2_000
/** An expiry that could not be committed is tried again after so long. */
export const expiryRetryMs = 1_000
/** The wall clock may have been set forward by so much between a renewal and an open: a lease lasts longer by
 *  that after an open, though never for more than its ttl. */
export const clockAllowanceMs = 2_000
/** Leases that one commit expires. */
export const expiredLeasesMax = 1_024
/** Deadlines are on the clock of the timers: one look is enough, but for what a timer can wait. */
const waitMsMax = 24 * 3_600_000

/** A lease that is held. */
export type GrantedLease = {
  readonly key: Key
  /** Of the transaction that took it: with the incarnation the fencing token. */
  readonly seq: number
  readonly ttl: number
  readonly owner: string | undefined
  /** When it was taken or renewed last, on the wall clock. Undefined: the record is older than this field. */
  readonly renewed: number | undefined
}

type Deadline = { readonly lease: GrantedLease; readonly deadline: number }

export class LeaseTable implements Disposable {
  readonly #monotonic: () => number
  readonly #now: () => number
  /** Commits the removal of what is due. Rejects where that failed. */
  readonly #expire: () => Promise<unknown>
  /** By resolved key. */
  readonly #held = new Map<Key, Deadline>()
  /** Rings at the nearest deadline. Renewals do not move it: it looks again when it rings. */
  readonly #nearest: Alarm
  /** Rings when those that are past their deadline since `#heardFrom` have been listened for. */
  readonly #hearing: Alarm
  #heardFrom = Number.NEGATIVE_INFINITY
  #graceUntil = Number.NEGATIVE_INFINITY
  #expiring = false

  constructor(environment: Environment, expire: () => Promise<unknown>) {
    const { monotonic, now, timer } = environment
    this.#monotonic = monotonic
    this.#now = now
    this.#expire = expire
    const clock = { clock: monotonic, waitMsMax }
    this.#nearest = new Alarm(timer, { ...clock, ring: (late) => this.#listen(late) })
    this.#hearing = new Alarm(timer, { ...clock, ring: (late) => this.#heard(late) })
  }

  get size(): number {
    return this.#held.size
  }

  /** The lease is held for its ttl from now on, or for `restMs`. */
  hold(lease: GrantedLease, restMs = lease.ttl): void {
    const deadline = this.#monotonic() + restMs
    this.#held.set(lease.key, { lease, deadline })
    if (!this.#expiring) this.#nearest.by(deadline)
  }

  /** That lease is held no more. */
  drop(lease: GrantedLease): void {
    if (this.#held.get(lease.key)?.lease.seq === lease.seq) this.#held.delete(lease.key)
  }

  /** These are held, and no others. One that is new here, or was renewed by others, has what the wall clock
   *  leaves of its ttl. */
  adopt(leases: readonly GrantedLease[]): void {
    const before = new Map(this.#held)
    this.#held.clear()
    for (const lease of leases) {
      const known = before.get(lease.key)
      const same = known?.lease.seq === lease.seq && known.lease.renewed === lease.renewed
      if (same) this.#held.set(lease.key, known)
      else this.hold(lease, restOf(lease, this.#now()))
    }
  }

  /** Nobody can have a renewal on its way: what is past its deadline now is due at once. */
  hearNobody(): void {
    this.#heardFrom = this.#monotonic()
  }

  /** Leases whose record does not say how long they last by this clock: of an older format, or from a clock
   *  that has been set back since. */
  undated(now: number): readonly GrantedLease[] {
    const leases = [...this.#held.values()].map(({ lease }) => lease)
    return leases.filter(({ renewed }) => renewed === undefined || renewed > now)
  }

  /** The record of a lease says another time now; its deadline stays. */
  date(lease: GrantedLease): void {
    const known = this.#held.get(lease.key)
    if (known?.lease.seq === lease.seq) this.#held.set(lease.key, { ...known, lease })
  }

  /** Those whose time is over, at most `expiredLeasesMax`. */
  due(): readonly GrantedLease[] {
    const due: GrantedLease[] = []
    for (const { lease, deadline } of this.#held.values()) {
      if (deadline > this.#heardFrom) continue
      due.push(lease)
      if (due.length === expiredLeasesMax) break
    }
    return due
  }

  /** Nothing expires any more. */
  [Symbol.dispose](): void {
    this.#nearest[Symbol.dispose]()
    this.#hearing[Symbol.dispose]()
  }

  #listen(late: number): void {
    const now = this.#monotonic()
    if (late > stallMs) this.#graceUntil = now + stallGraceMs
    if (!this.#hearing.pending) this.#heardFrom = now
    this.#hearing.by(Math.max(now + hearingMs, this.#graceUntil))
  }

  #heard(late: number): void {
    if (late > stallMs || this.#monotonic() < this.#graceUntil) this.#listen(late)
    else if (this.due().length === 0) this.#rearm()
    else void this.#submit()
  }

  async #submit(): Promise<void> {
    this.#expiring = true
    try {
      await this.#expire()
      this.#expiring = false
      this.#rearm()
    } catch {
      // Closed, or it could not be stored: then it is tried again.
      this.#expiring = false
      this.#nearest.by(this.#monotonic() + expiryRetryMs)
    }
  }

  #rearm(): void {
    let nearest = Number.POSITIVE_INFINITY
    for (const { deadline } of this.#held.values()) nearest = Math.min(nearest, deadline)
    if (nearest < Number.POSITIVE_INFINITY) this.#nearest.by(nearest)
  }
}

/** ms that a lease has left after an open: 0 or less where it is over. A clock that was set back gives it its
 *  ttl, not more. */
function restOf({ ttl, renewed }: GrantedLease, now: number): number {
  if (renewed === undefined) return ttl
  return Math.min(ttl, renewed + ttl + clockAllowanceMs - now)
}
