/** A worker that has joined a store: it offers itself, serves one scheduler after the other, and leaves. See
 *  rfc/25, rules 20 and 24 to 26.
 *  Invariant: it runs no code of targets: a process that it starts for each session does. It holds the lease
 *  of its offer while it lives, and waits for events, with bounds, and never polls. */

import { hostname } from 'node:os'
import type { ServedWorker, ServedWorkerEvent } from '../api/flow.js'
import type { Lease } from '../api/lease.js'
import type { Store } from '../api/store.js'
import type { Op, Token } from '../api/transaction.js'
import { onAbort, quietEnd } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { pause, startTimer, waitMsMax } from '../base/timer.js'
import { Wakeup } from '../base/wakeup.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import type { LinkPorts, WorkerLink } from './link.js'
import {
  joinedKey,
  joinedMax,
  lifeTtlDefault,
  linksKey,
  linkVersion,
  makeNamespace,
  newWorkerId,
  type Offer,
  offerKey,
  packOffer,
  sessionKey,
  sessionKeys,
  workersNamespace,
} from './offers.js'
import { processLink } from './process-link.js'
import { parseFromWorker } from './protocol.js'
import { thrownOf } from './sent-error.js'
import { ServedSession } from './served-session.js'

/** The number of processes that may end one after the other before they are ready. */
const startsMax = 3
/** The number of times that an offer is made whose lease is lost meanwhile. */
const offersMax = 10
/** The time for which a store is asked that does not answer, in ms. */
const unreachedMsMax = 10 * 60_000
/** The wait before a store is asked again that did not answer, in ms. */
const retryMs = 1_000

/** The options of a station. */
export type StationOptions = {
  readonly modules: readonly string[]
  readonly slots: number
  readonly labels: readonly string[]
  readonly callsMax: number | undefined
  readonly lifetimeMs: number | undefined
  readonly graceMs: number
  readonly ttlMs: number | undefined
  readonly onEvent: ((event: ServedWorkerEvent) => void) | undefined
}

/** A process that calls functions, and what it has said so far. */
type Child = {
  readonly link: WorkerLink
  /** Resolves to a hash of its code once it is ready; rejects if it cannot work, or ends before. */
  readonly ready: Deferred<string>
  session: ServedSession | undefined
}

/** The holder of a session, and its token. */
type Taken = { readonly token: Token; readonly by: string }

/** The worker. Mutable; owned by who made it. */
export class Station implements ServedWorker {
  readonly id = newWorkerId()
  readonly ended: Promise<void>
  readonly #store: Store
  readonly #options: StationOptions
  readonly #since = Date.now()
  readonly #over = new AbortController()
  readonly #moved = new Wakeup()
  #life: Lease | undefined
  #taken: Taken | undefined
  /** The token of the last session that was served. */
  #served: Token | undefined
  #child: Child | undefined
  #answered = 0
  #isLeaving = false
  /** True once the offer is being removed. */
  #isWithdrawn = false
  /** The number of processes that have ended one after the other without a session. */
  #idleEnds = 0
  /** The reason why it cannot go on. */
  #failure: { readonly error: unknown } | undefined

  constructor(store: Store, options: StationOptions) {
    this.#store = store
    this.#options = options
    // Nothing else keeps a process alive whose store is embedded.
    pause(waitMsMax, this.#over.signal).catch(() => {})
    this.ended = this.#serve()
    this.ended.catch(() => {}) // whoever has the worker looks at it
  }

  leave(): void {
    if (this.#isLeaving) return
    this.#isLeaving = true
    this.#tell({ type: 'leaving' })
    const { session, link } = this.#child ?? {}
    if (session) session.leave()
    else link?.kill()
    this.#moved.wake()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leave()
    await this.ended.catch(() => {})
  }

  async #serve(): Promise<void> {
    const { lifetimeMs } = this.#options
    const endLifetime =
      lifetimeMs === undefined ? () => {} : startTimer(lifetimeMs, () => this.leave())
    let watching: Promise<void> | undefined
    try {
      await this.#reached(() => makeNamespace(this.#store))
      let child = await this.#startChild()
      watching = this.#watchSessions()
      while (child) {
        const { link, ready } = child
        await this.#offer(await ready.promise)
        const taken = await this.#nextTaken(child)
        if (taken) await this.#serveOne(child, taken)
        else this.#endIdle(child)
        await link.gone
        child = this.#mustLeave ? undefined : await this.#startChild()
      }
      if (this.#failure) throw this.#failure.error
    } finally {
      endLifetime()
      this.#isLeaving = true
      this.#child?.link.kill()
      await this.#withdraw()
      this.#over.abort(quietEnd)
      await watching
    }
  }

  /** Ends a process that nobody has taken. Throws EIO if three have ended by themselves. */
  #endIdle({ link }: Child): void {
    if (!this.#isLeaving && !this.#life?.signal.aborted && ++this.#idleEnds === startsMax) {
      throw new TailraceError(
        'EIO',
        `${startsMax} processes ended while nobody had taken the worker`,
      )
    }
    link.kill()
  }

  get #mustLeave(): boolean {
    const { callsMax = Number.POSITIVE_INFINITY } = this.#options
    return this.#isLeaving || this.#answered >= callsMax
  }

  /** Starts a process, and waits until it is ready; undefined if the worker leaves meanwhile. Throws EINVAL
   *  (it cannot work), EIO (three have ended before they were ready). */
  async #startChild(): Promise<Child | undefined> {
    for (let starts = 1; !this.#isLeaving; starts++) {
      const child = this.#newChild()
      this.#child = child
      try {
        await child.ready.promise
        return child
      } catch (error) {
        child.link.kill()
        await child.link.gone
        if (this.#isLeaving) return undefined
        if (!isCode(error, 'ECLOSED')) throw error
        if (starts === startsMax) throw new TailraceError('EIO', reasonOf(error), { cause: error })
      }
    }
    return undefined
  }

  #newChild(): Child {
    const { modules, slots, graceMs } = this.#options
    const ready = deferred<string>()
    ready.promise.catch(() => {}) // it is awaited later
    const into: { child: Child | undefined } = { child: undefined }
    const ports: LinkPorts = {
      received: (batch) => {
        if (into.child?.session) into.child.session.received(batch)
        else for (const envelope of batch) hearFirst(envelope, ready)
      },
      tookBack: (seqs) => into.child?.session?.tookBack(seqs),
      ended: (why) => {
        const message = `a process of the worker ended before it was ready: ${why}. Look at stderr`
        ready.reject(new TailraceError('ECLOSED', message))
        into.child?.session?.childEnded(why)
        this.#moved.wake()
      },
    }
    const data = { modules, slots, graceMs, argv: process.argv.slice(1), tellsCode: true }
    const child: Child = { link: processLink(data, ports), ready, session: undefined }
    into.child = child
    return child
  }

  /** Serves a scheduler, until the session ends. */
  async #serveOne(child: Child, { token, by }: Taken): Promise<void> {
    const { graceMs } = this.#options
    this.#served = token
    this.#idleEnds = 0
    const parts = { store: this.#store, id: this.id, token, child: child.link, graceMs }
    const session = new ServedSession(parts)
    child.session = session
    this.#tell({ type: 'taken', by })
    if (this.#isLeaving) session.leave()
    const isHeld = () => this.#taken?.token.seq === token.seq
    const watching = this.#until(() => !isHeld()).then(() => session.end())
    await session.over
    const { death } = session
    if (death !== undefined) this.#tell({ type: 'died', why: death })
    this.#answered += session.answered
    // The scheduler hears of the end, and gives the session back.
    await watching
    this.#tell({ type: 'idle', answered: this.#answered })
  }

  /** Offers the worker, again if its lease is lost meanwhile. */
  async #offer(code: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      const life = await this.#hold()
      try {
        await this.#offerUnder(life, code)
        return
      } catch (error) {
        if (!life.signal.aborted || this.#isLeaving || tries === offersMax) throw error
      }
    }
  }

  async #offerUnder(life: Lease, code: string): Promise<void> {
    const { slots, labels, modules, callsMax } = this.#options
    const offer: Offer = {
      ...{ version: linkVersion, id: this.id, token: life.token, slots, labels, modules, code },
      ...{ host: hostname(), pid: process.pid, since: this.#since, answered: this.#answered },
      ...(callsMax !== undefined && { callsLeft: callsMax - this.#answered }),
    }
    // The next scheduler may have taken the worker already: only the last session goes.
    const last = this.#served && sessionKeys(this.id, this.#served).directory
    const ops: Op[] = [
      ...(last === undefined ? [] : [{ op: 'unlink', key: last, recursive: true } as const]),
      { op: 'put', key: offerKey(this.id), value: packOffer(offer) },
      { op: 'append', key: joinedKey, value: this.id, cap: { keep: joinedMax } },
    ]
    const scope = { namespace: workersNamespace, exactlyOnce: true, signal: life.signal }
    await this.#reached(() => this.#store.commit({ guards: [life.guard], ops }, scope))
    this.#tell({ type: 'free' })
  }

  async #hold(): Promise<Lease> {
    if (this.#life && !this.#life.signal.aborted) return this.#life
    const life = await this.#reached(() =>
      this.#store.leases.take(offerKey(this.id), {
        ...{ namespace: workersNamespace, ttl: this.#options.ttlMs ?? lifeTtlDefault },
        ...{ wait: true, exactlyOnce: true, signal: this.#over.signal },
        owner: `${hostname()} pid ${process.pid}`.slice(0, 200),
      }),
    )
    this.#life = life
    onAbort(life.signal, () => {
      if (this.#over.signal.aborted || this.#isWithdrawn) return
      this.#tell({ type: 'away', why: reasonOf(life.signal.reason) })
      this.#child?.session?.end()
      this.#moved.wake()
    })
    return life
  }

  /** Removes the offer. Never throws: what stays is removed by whoever finds it. */
  async #withdraw(): Promise<void> {
    this.#isWithdrawn = true
    const life = this.#life
    if (!life || life.signal.aborted) return
    const ops: Op[] = [
      { op: 'unlink', key: offerKey(this.id) },
      { op: 'unlink', key: linksKey(this.id), recursive: true },
    ]
    await life.finish({ ops }).catch(() => {})
    await life.release()
  }

  /** Returns the next scheduler that has taken the worker; undefined if it leaves, its process is gone or
   *  its lease is lost. */
  async #nextTaken(child: Child): Promise<Taken | undefined> {
    let isGone = false
    void child.link.gone.then(() => {
      isGone = true
      this.#moved.wake()
    })
    const next = () => (this.#taken?.token.seq === this.#served?.seq ? undefined : this.#taken)
    await this.#until(
      () =>
        next() !== undefined || isGone || this.#isLeaving || this.#life?.signal.aborted === true,
    )
    return isGone || this.#life?.signal.aborted ? undefined : next()
  }

  async #until(holds: () => boolean): Promise<void> {
    for (;;) {
      const seen = this.#moved.count
      if (holds() || this.#over.signal.aborted) return
      await this.#moved.wait(seen)
    }
  }

  /** Follows who has taken the worker. Never throws: a failure lets the worker leave. */
  async #watchSessions(): Promise<void> {
    const scope = { namespace: workersNamespace, signal: this.#over.signal }
    try {
      const events = this.#store.watch(sessionKey(this.id), {
        ...{ mode: 'value', lease: true, waitCreate: true, ...scope },
      })
      for await (const event of events) {
        if (event.type !== 'lease') continue
        const { held, token, owner = '' } = event
        this.#taken = held && token ? { token, by: owner } : undefined
        this.#moved.wake()
      }
    } catch (error) {
      if (this.#over.signal.aborted) return
      this.#failure = { error }
      this.#taken = undefined
      this.leave()
    }
  }

  /** Asks the store again as long as nobody can tell whether it has answered. Throws what it throws else,
   *  and the last error after `unreachedMsMax`. */
  async #reached<T>(ask: () => Promise<T>): Promise<T> {
    const until = performance.now() + unreachedMsMax
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        const isPassing = isCode(error, 'EUNKNOWN') || isCode(error, 'ETIMEDOUT')
        if (!isPassing || this.#isLeaving || performance.now() > until) throw error
      }
      await pause(retryMs)
    }
  }

  #tell(event: ServedWorkerEvent): void {
    this.#options.onEvent?.(event)
  }
}

/** Takes what a process says before it has a session. */
function hearFirst(envelope: Parameters<typeof parseFromWorker>[0], ready: Deferred<string>): void {
  try {
    const message = parseFromWorker(envelope)
    if (message.type === 'ready') ready.resolve(message.code ?? '')
    if (message.type === 'unfit') ready.reject(thrownOf(message.error))
  } catch (error) {
    ready.reject(error)
  }
}
