/** Takes of claims, and last transactions of publishes: those that come together share a transaction.
 *  See rfc/22, rules 10 and 12.
 *  Invariant: each is answered as if it had been alone. One that is refused is left out, and the others
 *  are sent again without it. */

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

type Take = { readonly key: string; readonly guards: readonly Guard[] }
type WaitingTake = Take & { readonly answer: Deferred<Lease> }

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

  /** Takes the lease of a key where the guards hold, and sends that again until it is answered. Throws
   *  what `Leases.take` throws. */
  take(key: string, ttl: number, guards: readonly Guard[]): Promise<Lease> {
    const take: WaitingTake = { key, guards, answer: deferred() }
    const gathering = this.#gathering.get(ttl)
    if (gathering && gathering.length < leasesAtOnceMax) gathering.push(take)
    else this.#begin(ttl, take)
    return take.answer.promise
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
  #send(ttl: number, takes: readonly WaitingTake[]): Promise<void> {
    const options = { ...this.#common, ttl, exactlyOnce: true }
    return sendTogether<Lease, Take>(takes, {
      together: async (left) => {
        const guards = left.flatMap((take) => take.guards)
        const keys = left.map(({ key }) => key)
        return this.#leases.takeAll(keys, { ...options, guards })
      },
      alone: ({ key, guards }) => this.#leases.take(key, { ...options, guards }),
      opsOf: () => 1,
    })
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

  #send(batch: readonly Waiting[]): Promise<void> {
    return sendTogether<number, Publish>(batch, {
      together: async (left) => {
        const leases = left.map(({ lease }) => lease)
        const { seq } = await this.#leases.finishAll(leases, transactionOf(left), { resend: true })
        return left.map(() => seq)
      },
      alone: finish,
      opsOf: ({ ops }) => ops.length,
    })
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

/** A part of a transaction that several share. */
type Part = { readonly guards: readonly Guard[] }
type Asked<One extends Part, Answer> = One & { readonly answer: Deferred<Answer> }

/** Sends parts in one transaction, and answers each. Never throws. */
async function sendTogether<Answer, One extends Part>(
  parts: readonly Asked<One, Answer>[],
  how: {
    /** Commits one transaction, with the guards and the ops of the parts in their order. */
    readonly together: (left: readonly One[]) => Promise<readonly Answer[]>
    readonly alone: (part: One) => Promise<Answer>
    /** Returns the number of ops of a part. */
    readonly opsOf: (part: One) => number
  },
): Promise<void> {
  let left = parts
  for (let refusals = 0; left.length > 1 && refusals < refusalsMax; refusals++) {
    try {
      const answers = await how.together(left)
      for (const [at, { answer }] of left.entries()) answer.resolve(answers[at] as Answer)
      return
    } catch (error) {
      const refused = refusedBy(error, left, how.opsOf)
      if (refused) {
        refused.answer.reject(error)
        left = left.filter((part) => part !== refused)
      } else if (isCode(error, 'EUNKNOWN')) {
        for (const { answer } of left) answer.reject(error)
        return
      } else break
    }
  }
  const each = left.map((part) => how.alone(part).then(part.answer.resolve, part.answer.reject))
  await Promise.all(each)
}

/** Returns the part whose lease, guard or op refused the transaction; undefined if none of them did. */
function refusedBy<One extends Part>(
  error: unknown,
  parts: readonly One[],
  opsOf: (part: One) => number,
): One | undefined {
  if (!(error instanceof TailraceError)) return undefined
  const { guard, op } = error.failed ?? {}
  // A lease is guarded by itself, before the guards of all.
  const isOfLease = error.code === 'EFENCED' || error.code === 'ECLOSED'
  if (guard !== undefined && isOfLease) return parts[guard]
  if (guard !== undefined) return ownerOf(parts, guard, ({ guards }) => guards.length)
  return op === undefined ? undefined : ownerOf(parts, op, opsOf)
}

/** Returns the part that has a place where each has as many as `countOf` says. */
function ownerOf<One>(
  parts: readonly One[],
  place: number,
  countOf: (part: One) => number,
): One | undefined {
  let before = 0
  return parts.find((part) => {
    before += countOf(part)
    return place < before
  })
}
