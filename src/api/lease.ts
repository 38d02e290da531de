/** Leases: the calls by which a program takes, keeps and releases them. See rfc/9. */

import type { TailraceError } from '../error.js'
import type { CommitOptions } from './kvs.js'
import type { Committed, Guard, Scope, Token, Transaction } from './transaction.js'

/** The default ttl of a lease, in ms. */
export const leaseTtlDefault = 30_000

/** The options of `take`. */
export type TakeLeaseOptions = Scope & {
  /** The time after the last renewal at which the lease ends by itself, in ms, 1,000 to a day.
   *  Default `leaseTtlDefault`. The lease is renewed after a third of that, or after half if it is 10 s
   *  or more. */
  readonly ttl?: number
  /** A text for people that says who holds the lease. */
  readonly owner?: string
  /** True to wait until the lease is free; otherwise a lease that is held is ECONFLICT. All who
   *  wait are woken by an event, and the first to take it wins. */
  readonly wait?: boolean
  /** The guards of the take. All must hold where the lease is taken, else ECONFLICT, with `wait` too;
   *  `failed.guard` says which did not. */
  readonly guards?: readonly Guard[]
  /** True to make a client send the take again until it is answered, for at most the `ttl`. Without
   *  this option a take whose answer was lost is EUNKNOWN, and the lease may be held by nobody until
   *  it ends. Embedded it changes nothing. */
  readonly exactlyOnce?: boolean
  /** Called after the take and after each renewal, with the ms for which the lease
   *  is held at least. */
  readonly onHeld?: (ms: number) => void
}

/** The largest number of leases that one call takes or finishes. */
export const leasesAtOnceMax = 256

/** The options of `takeEach`. */
export type TakeEachOptions = Omit<TakeLeaseOptions, 'wait' | 'guards' | 'onHeld'> & {
  /** True to take only the leases of keys that are not there. */
  readonly ifAbsent?: boolean
}

/** A lease that is held, and renewed until it is released. */
export interface Lease extends AsyncDisposable {
  readonly key: string
  readonly namespace: string
  /** The fencing token. */
  readonly token: Token
  /** A guard that fences writes: a transaction with it is refused (ECONFLICT) once the lease is not
   *  held any more. */
  readonly guard: Guard
  /** Aborts with EFENCED as soon as somebody else may hold the lease: the work that it was taken
   *  for must end then. After a pause of the whole process that may be 2 s late. Aborts with ECLOSED
   *  after a release. */
  readonly signal: AbortSignal
  /** Commits a transaction with `guard`, which also releases the lease: the last write of the work
   *  and the end of the lease are one step. Throws EFENCED (the lease is not held any more; nothing
   *  was done), ECLOSED (it was released), EUNKNOWN (the answer was lost, or did not come before the
   *  lease ended), and what `Kvs.commit` throws; then the lease is still held. */
  finish(transaction: Transaction, options?: FinishOptions): Promise<Committed>
  /** Releases the lease, so that another one can take it. Idempotent. Throws nothing: a lease that
   *  cannot be released ends by itself. */
  release(): Promise<void>
}

/** The options of `finish`. */
export type FinishOptions = Omit<CommitOptions, 'namespace'>

/** The state of a lease: its token and owner, if it is held. */
export type LeaseState = {
  readonly held: boolean
  readonly token?: Token
  readonly owner?: string
}

/** The calls on leases of keys. */
export interface Leases {
  /** Takes the lease of a key, which need not exist. Throws ECONFLICT (it is held, without `wait`;
   *  `failed.state` names the holder), ENONS, EPERM, EINVAL, EBUSY.
   *
   *      await using lease = await store.leases.take('deploy', { wait: true })
   *      await store.put('deploy/version', '7', { guards: [lease.guard] })
   *      await work(lease.signal)
   */
  take(key: string, options?: TakeLeaseOptions): Promise<Lease>
  /** Takes the leases of several keys, at most `leasesAtOnceMax`, in one transaction: those that are free.
   *  In the place of each other one is an ECONFLICT, whose `failed.state` names the holder, or says that
   *  the key is there. Throws ENONS, EPERM, EINVAL, EBUSY. */
  takeEach(
    keys: readonly string[],
    options?: TakeEachOptions,
  ): Promise<readonly (Lease | TailraceError)[]>
  /** Commits a transaction that is guarded by all of some leases of one namespace, at most
   *  `leasesAtOnceMax`, and releases them: the last writes of several works are one step. Throws what
   *  `Lease.finish` throws, for the first lease that is not held any more; of several, `failed.guard`
   *  is its place. Then nothing was done, and the others are held. */
  finishAll(
    leases: readonly Lease[],
    transaction: Transaction,
    options?: FinishOptions,
  ): Promise<Committed>
  /** Returns the state of the lease of a key. Throws ENONS. */
  show(key: string, options?: Scope): Promise<LeaseState>
}
