/** Takes of claims, and last transactions of publishes: those that come together share a transaction.
 *  See rfc/22, rules 10 and 12.
 *  Invariant: each is answered as if it had been alone. */

import { type Lease, type Leases, leasesAtOnceMax } from '../api/lease.js'
import type { Guard, Op, Transaction } from '../api/transaction.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { isCode, TailraceError } from '../error.js'
import { type LogContext, logOps } from './layer.js'
import { type Use, useOps } from './use-index.js'

/** The number of refusals in one transaction after which those that are left are sent one by one. */
const refusalsMax = 4
/** The largest size of a publish that shares its transaction, in bytes of values. */
const sharedSizeMax = 32 * 1024
/** The largest size of a transaction that publishes share, in bytes of values: a client sends it at once
 *  on its connection. */
const transactionSizeMax = 256 * 1024

type WaitingTake = { readonly key: string; readonly answer: Deferred<Lease | TailraceError> }

/** The takes of the claims of one layer: those of one turn of the event loop share a transaction.
 *  Mutable; owned by the cache object. */
export class ClaimTakes {
  readonly #leases: Leases
  readonly #common: { readonly namespace: string; readonly owner?: string }
  /** The takes that are sent at the end of this turn, by their ttl. */
  readonly #gathering = new Map<number, WaitingTake[]>()

  constructor(leases: Leases, namespace: string, owner: string | undefined) {
    this.#leases = leases
    this.#common = { namespace, ...(owner !== undefined && { owner }) }
  }

  /** Takes the lease of a key that is not there, or with `again` of any, and sends that again until it is
   *  answered. Returns the refusal. Throws what `Leases.take` throws besides. */
  async take(key: string, ttl: number, again: boolean): Promise<Lease | TailraceError> {
    if (again) return this.#takeAgain(key, ttl)
    const take: WaitingTake = { key, answer: deferred() }
    const gathering = this.#gathering.get(ttl)
    if (gathering && gathering.length < leasesAtOnceMax) gathering.push(take)
    else this.#begin(ttl, take)
    return take.answer.promise
  }

  async #takeAgain(key: string, ttl: number): Promise<Lease | TailraceError> {
    const options = { ...this.#common, ttl, exactlyOnce: true }
    const [taken] = await this.#leases.takeEach([key], options)
    if (!taken) throw new Error('a key has a lease')
    return taken
  }

  #begin(ttl: number, first: WaitingTake): void {
    const takes = [first]
    this.#gathering.set(ttl, takes)
    // In a promise's continuation, a tick comes behind all other continuations of the turn.
    process.nextTick(() => {
      if (this.#gathering.get(ttl) === takes) this.#gathering.delete(ttl)
      void this.#send(ttl, takes)
    })
  }

  /** Sends takes. Never throws: those who asked are told. */
  async #send(ttl: number, takes: readonly WaitingTake[]): Promise<void> {
    const options = { ...this.#common, ttl, exactlyOnce: true, ifAbsent: true }
    try {
      const keys = takes.map(({ key }) => key)
      const taken = await this.#leases.takeEach(keys, options)
      for (const [at, { answer }] of takes.entries()) answer.resolve(taken[at] as Lease)
    } catch (error) {
      for (const { answer } of takes) answer.reject(error)
    }
  }
}

/** The last transaction of a claim. */
export type Publish = {
  readonly lease: Lease
  readonly guards: readonly Guard[]
  readonly ops: readonly Op[]
  /** The size of the values of the ops, in bytes. */
  readonly size: number
  readonly use: Use
  readonly hour: number
  readonly event: LogContext
}
type Waiting = Publish & { readonly answer: Deferred<number> }

/** The publishes of one layer: while a transaction of theirs is on its way, the next one gathers.
 *  Mutable; owned by the cache object. */
export class Publishes {
  readonly #leases: Leases
  #waiting: Waiting[] = []
  #isSending = false

  constructor(leases: Leases) {
    this.#leases = leases
  }

  /** Commits the last transaction of a claim, which ends its lease. Returns a seq of the layer at which
   *  that is done. Throws what `Lease.finish` throws. */
  publish(publish: Publish): Promise<number> {
    if (publish.size > sharedSizeMax) return finish(publish)
    const waiting: Waiting = { ...publish, answer: deferred() }
    this.#waiting.push(waiting)
    if (!this.#isSending) {
      this.#isSending = true
      process.nextTick(() => void this.#sendAll())
    }
    return waiting.answer.promise
  }

  /** Sends what waits until nothing does. Never throws. */
  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) await this.#send(this.#nextBatch())
    this.#isSending = false
  }

  #nextBatch(): readonly Waiting[] {
    let size = 0
    let count = 0
    for (const waiting of this.#waiting) {
      size += waiting.size
      if (count === leasesAtOnceMax || (count > 0 && size > transactionSizeMax)) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** Sends publishes in one transaction. One that refuses it is left out, and the others are sent again;
   *  after `refusalsMax` refusals those that are left are sent one by one. Never throws: those who asked
   *  are told. */
  async #send(batch: readonly Waiting[]): Promise<void> {
    let left = batch
    for (let refusals = 0; left.length > 1 && refusals < refusalsMax; refusals++) {
      try {
        const leases = left.map(({ lease }) => lease)
        const { seq } = await this.#leases.finishAll(leases, transactionOf(left), { resend: true })
        for (const { answer } of left) answer.resolve(seq)
        return
      } catch (error) {
        const refused = refusedBy(error, left)
        if (refused) {
          refused.answer.reject(error)
          left = left.filter((publish) => publish !== refused)
        } else if (isCode(error, 'EUNKNOWN')) {
          for (const { answer } of left) answer.reject(error)
          return
        } else break
      }
    }
    const each = left.map((publish) =>
      finish(publish).then(publish.answer.resolve, publish.answer.reject),
    )
    await Promise.all(each)
  }
}

async function finish(publish: Publish): Promise<number> {
  // It is done once, since it releases the lease that guards it.
  const { seq } = await publish.lease.finish(transactionOf([publish]), { resend: true })
  return seq
}

function transactionOf(publishes: readonly Publish[]): Transaction {
  const uses = new Map<number, Use[]>()
  for (const { hour, use } of publishes) uses.set(hour, [...(uses.get(hour) ?? []), use])
  return {
    guards: publishes.flatMap(({ guards }) => guards),
    ops: [
      ...publishes.flatMap(({ ops }) => ops),
      ...[...uses].flatMap(([hour, those]) => useOps(hour, those)),
      ...logOps('publish', ...publishes.map(({ event }) => event)),
    ],
  }
}

/** Returns the publish whose lease, guard or op refused the transaction; undefined if none of them did. */
function refusedBy(error: unknown, publishes: readonly Waiting[]): Waiting | undefined {
  if (!(error instanceof TailraceError)) return undefined
  const { guard, op } = error.failed ?? {}
  // A lease is guarded by itself, before the guards of all.
  const isOfLease = error.code === 'EFENCED' || error.code === 'ECLOSED'
  if (guard !== undefined && isOfLease) return publishes[guard]
  if (guard !== undefined) return ownerOf(publishes, guard, ({ guards }) => guards.length)
  return op === undefined ? undefined : ownerOf(publishes, op, ({ ops }) => ops.length)
}

/** Returns the publish that has a place where each has as many as `countOf` says. */
function ownerOf(
  publishes: readonly Waiting[],
  place: number,
  countOf: (publish: Waiting) => number,
): Waiting | undefined {
  let before = 0
  return publishes.find((publish) => {
    before += countOf(publish)
    return place < before
  })
}
