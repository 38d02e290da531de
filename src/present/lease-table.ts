/** The deadlines of a namespace's leases, in memory, on the monotonic clock. See
 *  rfc/9, rules 6 to 9.
 *  Invariant: a lease expires no sooner than its ttl after the answer that gave or renewed it, and
 *  after every renewal that may be on its way was heard: a server that stood still reads what
 *  waits in its sockets before it expires anything. After an open a lease has what the wall clock
 *  leaves of its ttl. */

import { Alarm } from '../base/alarm.js'
import type { Environment } from '../base/environment.js'
import type { Key } from '../treeobj/key.js'

/** The wait after a deadline, in ms, for renewals that came in time and are still on their way
 *  through the server. */
export const hearingMs = 50
/** The delay of a timer, in ms, above which the server is taken to have stood still. */
export const stallMs = 250
/** The time, in ms, for which nothing expires after the server was seen to have stood still. */
export const stallGraceMs = 2_000
/** The time, in ms, after which a failed expiry is tried again. */
export const expiryRetryMs = 1_000
/** The time, in ms, that a lease gets in addition after an open, since the wall clock may have been
 *  corrected. It never gets more than its ttl. */
export const clockAllowanceMs = 2_000
/** The largest number of leases that one transaction expires. */
export const expiredLeasesMax = 1_024
/** The longest wait of a timer, in ms. Deadlines and timers have the same clock, so no shorter
 *  look is needed. */
const waitMsMax = 24 * 3_600_000

/** A lease that is held. */
export type GrantedLease = {
  readonly key: Key
  /** The seq of the transaction that took the lease. With the incarnation it is the fencing
   *  token. */
  readonly seq: number
  /** The time for which it is held from each take or renewal on, in ms. */
  readonly ttl: number
  readonly owner: string | undefined
  /** The time at which it was taken or renewed last, wall clock, ms since 1970. Undefined in
   *  records that are older than this field. */
  readonly renewed: number | undefined
  /** The name of the take, if it has one. */
  readonly takeId: string | undefined
}

type Deadline = { readonly lease: GrantedLease; readonly deadline: number }

/** The table of deadlines. Effects of durable transactions change it, and `Present` fills it. */
export class LeaseTable implements Disposable {
  readonly #monotonic: () => number
  readonly #now: () => number
  /** Commits the removal of the leases that are due. Rejects if that fails. */
  readonly #expire: () => Promise<unknown>
  /** The leases by their resolved keys. */
  readonly #held = new Map<Key, Deadline>()
  /** Rings at the nearest deadline. A renewal does not move it: the table looks
   *  again when it rings. */
  readonly #nearest: Alarm
  /** Rings when the wait for late renewals is over. */
  readonly #hearing: Alarm
  /** Leases with a deadline up to this time are due, once `#hearing` has rung. */
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

  /** The number of leases that are held. */
  get size(): number {
    return this.#held.size
  }

  /** Sets the deadline of a lease to `restMs` from now, by default its ttl. */
  hold(lease: GrantedLease, restMs = lease.ttl): void {
    const deadline = this.#monotonic() + restMs
    this.#held.set(lease.key, { lease, deadline })
    if (!this.#expiring) this.#nearest.by(deadline)
  }

  /** Removes a lease, unless another one holds its key by now. */
  drop(lease: GrantedLease): void {
    if (this.#held.get(lease.key)?.lease.seq === lease.seq) this.#held.delete(lease.key)
  }

  /** Replaces all leases. One that is new here, or was renewed elsewhere, gets what the wall clock
   *  leaves of its ttl; others keep their deadlines. */
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

  /** Makes the leases that are past their deadline due at once. REQUIRES: no renewal
   *  can be on its way. */
  hearNobody(): void {
    this.#heardFrom = this.#monotonic()
  }

  /** Lists the leases whose `renewed` says nothing by this clock: it is missing, or after `now`,
   *  since the clock was set back. */
  undated(now: number): readonly GrantedLease[] {
    const leases = [...this.#held.values()].map(({ lease }) => lease)
    return leases.filter(({ renewed }) => renewed === undefined || renewed > now)
  }

  /** Replaces the record of a lease, whose `renewed` has changed. Its deadline stays. */
  date(lease: GrantedLease): void {
    const known = this.#held.get(lease.key)
    if (known?.lease.seq === lease.seq) this.#held.set(lease.key, { ...known, lease })
  }

  /** Lists the leases that are due, at most `expiredLeasesMax`. */
  due(): readonly GrantedLease[] {
    const due: GrantedLease[] = []
    for (const { lease, deadline } of this.#held.values()) {
      if (deadline > this.#heardFrom) continue
      due.push(lease)
      if (due.length === expiredLeasesMax) break
    }
    return due
  }

  /** Stops the timers: nothing expires any more. */
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
      // The namespace is closed, or the commit failed: tries again later.
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

/** Returns the ms that the wall clock leaves of a lease; 0 or less if it is over. It is never more
 *  than the ttl, even if the clock was set back. */
function restOf({ ttl, renewed }: GrantedLease, now: number): number {
  if (renewed === undefined) return ttl
  return Math.min(ttl, renewed + ttl + clockAllowanceMs - now)
}
