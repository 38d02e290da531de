/** One session of a worker that has joined a store: passes messages on between the logs of the store and the
 *  process that calls functions. See rfc/25, rules 22 to 24.
 *  Invariant: no code of targets runs here, so that a call is taken back, and an end is seen, while a
 *  function blocks that process. Messages are passed on in their order. */

import type { Store } from '../api/store.js'
import type { Token } from '../api/transaction.js'
import { quietEnd } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { reasonOf, TailraceError } from '../error.js'
import type { PlacedPart, WorkerLink } from './link.js'
import { sessionKey, sessionKeys } from './offers.js'
import { messagesOf, Outlet, type RemoteEnvelope, withBytes } from './remote-log.js'
import { sentErrorOf } from './sent-error.js'

/** All that a session consists of. */
export type SessionParts = {
  readonly store: Store
  /** The id of the worker. */
  readonly id: string
  /** The token of the session's lease. */
  readonly token: Token
  /** The link to the process that calls functions. */
  readonly child: WorkerLink
  /** The time that calls have to end when nobody wants them any more, in ms. */
  readonly graceMs: number
}

/** The session. Mutable; owned by its worker. */
export class ServedSession {
  readonly token: Token
  readonly #parts: SessionParts
  readonly #outlet: Outlet
  readonly #ending = new AbortController()
  readonly #over: Deferred<void> = deferred()
  /** The calls that the process has and has not answered. */
  readonly #calls = new Set<number>()
  #passing = Promise.resolve()
  #answered = 0
  #isLeaving = false
  /** True once the scheduler has let the process end. */
  #isLeft = false
  #death: string | undefined
  #hasEnded = false

  constructor(parts: SessionParts) {
    const { store, id, token } = parts
    this.#parts = parts
    this.token = token
    const { answers: key, calls } = sessionKeys(id, token)
    const { signal } = this.#ending
    this.#outlet = new Outlet({
      ...{
        store,
        key,
        reads: calls,
        tellsHashes: true,
        signal,
        guards: [{ lease: sessionKey(id), token }],
      },
      failed: () => this.end(),
    })
    void this.#read(calls) // it never rejects
  }

  /** Resolves when it has ended, and the process is gone. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  /** The reason why the process has ended that nobody had ended. */
  get death(): string | undefined {
    return this.#death
  }

  /** The number of calls that were answered. */
  get answered(): number {
    return this.#answered
  }

  /** Passes messages of the process on. */
  received(batch: readonly RemoteEnvelope[]): void {
    for (const { body } of batch) {
      const { type, seq } = body as { readonly type: string; readonly seq?: number }
      const isEnd = type === 'done' || type === 'failed' || type === 'refused'
      if (!isEnd || seq === undefined || !this.#calls.delete(seq)) continue
      if (type !== 'refused') this.#answered++
    }
    this.#outlet.send({ type: 'batch', envelopes: batch })
  }

  tookBack(seqs: readonly number[]): void {
    for (const seq of seqs) this.#calls.delete(seq)
    this.#outlet.send({ type: 'took', seqs })
  }

  /** Hears that the process is gone. */
  childEnded(why: string): void {
    this.#hasEnded = true
    const isAsked = this.#isLeaving || this.#isLeft || this.#ending.signal.aborted
    if (!isAsked) this.#death = why
    this.#outlet.send({ type: 'ended', why, isLeave: this.#isLeaving })
    void this.#outlet.flushed().then(() => {
      this.#ending.abort(quietEnd)
      this.#over.resolve()
    })
  }

  /** Takes no more calls, and ends when those that have begun are answered, after the grace at the
   *  latest. */
  leave(): void {
    if (this.#isLeaving || this.#hasEnded) return
    this.#isLeaving = true
    this.#outlet.send({ type: 'batch', envelopes: [{ body: { type: 'leaving' }, parts: [] }] })
    this.#killAfterGrace()
  }

  /** Ends the session, since its scheduler is gone or wants it no more: calls are told by their signals, and
   *  the process is killed if it does not end in time. */
  end(): void {
    if (this.#ending.signal.aborted) return
    this.#ending.abort(quietEnd)
    if (this.#hasEnded) return
    const message = 'the scheduler has given the worker back, or is gone'
    const reason = sentErrorOf(new TailraceError('ECANCELED', message))
    const aborts = [...this.#calls].map((seq) => ({
      body: { type: 'abort', seq, reason },
      parts: [],
    }))
    this.#parts.child.send([...aborts, { body: { type: 'leave' }, parts: [] }])
    this.#killAfterGrace()
  }

  #killAfterGrace(): void {
    const { child, graceMs } = this.#parts
    const end = startTimer(graceMs, () => child.kill())
    void child.gone.then(end) // it never rejects
  }

  /** Reads what the scheduler sends, until the session ends. Never throws. */
  async #read(key: string): Promise<void> {
    const { store, child } = this.#parts
    try {
      const hasRead = (entries: number) => this.#outlet.hasRead(entries)
      for await (const message of messagesOf(store, key, this.#ending.signal, hasRead)) {
        if (message.type === 'take') child.takeBack(message.seqs)
        else if (message.type === 'batch') this.#pass(message.envelopes)
      }
    } catch (error) {
      if (this.#ending.signal.aborted) return
      process.stderr.write(`tailrace worker: a session ended: ${reasonOf(error)}\n`)
      this.end()
    }
  }

  /** Passes messages on once their inputs are fetched. */
  #pass(envelopes: readonly RemoteEnvelope[]): void {
    for (const { body } of envelopes) {
      const { type, seq } = body as { readonly type: string; readonly seq?: number }
      if (type === 'call' && seq !== undefined) this.#calls.add(seq)
      if (type === 'leave') this.#isLeft = true
    }
    const { store, child } = this.#parts
    const { signal } = this.#ending
    const fetched = (part: PlacedPart) => this.#fetched(part)
    const bytes = withBytes(store, envelopes, fetched, signal)
    bytes.catch(() => {}) // it is looked at in its turn
    this.#passing = this.#passing
      .then(async () => child.send(await bytes))
      .catch((error: unknown) => {
        if (signal.aborted) return
        // The scheduler counts what the process has: without an input it cannot go on.
        process.stderr.write(`tailrace worker: an input cannot be read: ${reasonOf(error)}\n`)
        child.kill()
      })
  }

  /** Removes an input that stood in the session's own directory. */
  #fetched({ key }: PlacedPart): void {
    const { id, token } = this.#parts
    if (key.startsWith(`${sessionKeys(id, token).directory}/`)) this.#outlet.remove(key)
  }
}
