/** Leases as programs hold them. See rfc/9. */

import type { Guard, Scope, Token } from './transaction.js'

/** ms. */
export const leaseTtlDefault = 30_000

/** How a lease is taken and kept. */
export type TakeLeaseOptions = Scope & {
  /** The lease ends by itself so long after the last renewal, ms: 1,000 to a day. Default `leaseTtlDefault`. It is
   *  renewed after a third of that. */
  readonly ttl?: number
  /** For people: who holds it. */
  readonly owner?: string
  /** Wait until it is free; otherwise a lease that is held is ECONFLICT. Who waits is woken by an event, and the
   *  first to take it wins. */
  readonly wait?: boolean
  /** Told at the take and after each renewal: for so many ms the lease is held at least. */
  readonly onHeld?: (ms: number) => void
}

/** A lease that is held, and renewed until it is released. */
export interface Lease extends AsyncDisposable {
  readonly key: string
  readonly namespace: string
  readonly token: Token
  /** Fences writes: a transaction with this guard is refused (ECONFLICT) once the lease is another's. */
  readonly guard: Guard
  /** Aborted as soon as the lease may be another's: with EFENCED and why. Work that it was taken for must end then.
   *  After a release it is aborted with ECLOSED. */
  readonly signal: AbortSignal
  /** Gives the lease back, so that who waits can take it. Idempotent. Throws nothing: a lease that cannot be given
   *  back ends by itself. */
  release(): Promise<void>
}

/** Whether a lease is held, and by whom. */
export type LeaseState = {
  readonly held: boolean
  readonly token?: Token
  readonly owner?: string
}

/** Leases of keys. */
export interface Leases {
  /** Takes the lease of a key, which need not be there. Throws ECONFLICT (held, without `wait`; `failed.state` says by
   *  whom), ENONS, EPERM, EINVAL, EBUSY.
   *
   *      await using lease = await store.leases.take('deploy', { wait: true })
   *      await store.put('deploy/version', '7', { guards: [lease.guard] })
   *      await work(lease.signal)
   */
  take(key: string, options?: TakeLeaseOptions): Promise<Lease>
  /** Who holds the lease of a key now. Throws ENONS. */
  show(key: string, options?: Scope): Promise<LeaseState>
}
