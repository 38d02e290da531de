/** The calls of a client's websocket that wait for their answers. See rfc/12, rule 37.
 *  Invariant: each call is settled once: by its answer, its signal, its time-out, or the end of its
 *  socket. One timer serves all time-outs, and keeps no program running. */

import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { canceled, type TailraceError } from '../error.js'
import { silence } from './transport.js'

/** The error of a call whose socket ended before its answer. It never leaves the client. */
export class LostCall extends Error {
  override readonly cause: TailraceError

  constructor(cause: TailraceError) {
    super(cause.message, { cause })
    this.cause = cause
  }
}

/** A call that waits for its answer. */
type Calling = {
  readonly answer: Deferred<unknown>
  /** The time at which it was sent, by `performance.now()`. */
  readonly sent: number
  /** True if it changes nothing. */
  readonly reads: boolean
}

type CallsOptions = {
  /** The name of the server, for messages. */
  readonly name: string
  /** The time after which a call without an answer is given up, in ms. */
  readonly timeoutMs: number
  /** Called when a call is given up: the server need not answer it any more. */
  readonly cancel: (id: number) => void
  /** Called when a call was settled. */
  readonly settled: () => void
}

export class Calls {
  readonly #options: CallsOptions
  /** The calls by id, in the order in which they were sent. */
  readonly #calls = new Map<number, Calling>()
  #stopTimer: (() => void) | undefined

  constructor(options: CallsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#calls.size
  }

  /** Adds a call that is sent in this turn, and resolves to the body of its answer. Throws what the
   *  server says, LostCall, ECANCELED, and after `timeoutMs` EUNKNOWN (a call that reads:
   *  ETIMEDOUT). */
  async add(
    id: number,
    { signal, reads }: { readonly signal: AbortSignal | undefined; readonly reads: boolean },
  ): Promise<unknown> {
    const answer: Deferred<unknown> = deferred()
    this.#calls.set(id, { answer, sent: performance.now(), reads })
    this.#stopTimer ??= startTimer(this.#options.timeoutMs, () => this.#endLate())
    if (!signal) return answer.promise
    const endAbort = onAbort(signal, () => this.#giveUp(id, canceled(signal)))
    try {
      return await answer.promise
    } finally {
      endAbort()
    }
  }

  /** Settles a call with the body of its answer. Does nothing if nobody waits for it any more. */
  resolve(id: number, body: unknown): void {
    this.#take(id)?.answer.resolve(body)
  }

  /** Settles a call with the error that the server answered. Does nothing if nobody waits for it
   *  any more. */
  reject(id: number, error: TailraceError): void {
    this.#take(id)?.answer.reject(error)
  }

  /** Ends all calls: their socket has ended. */
  lose(cause: TailraceError): void {
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    for (const { answer } of calls) answer.reject(new LostCall(cause))
  }

  /** Stops the timer. REQUIRES: no call is added any more. */
  dispose(): void {
    this.#stopTimer?.()
  }

  #take(id: number): Calling | undefined {
    const call = this.#calls.get(id)
    if (!this.#calls.delete(id)) return undefined
    this.#options.settled()
    return call
  }

  #giveUp(id: number, error: TailraceError): void {
    const call = this.#take(id)
    if (!call) return
    this.#options.cancel(id)
    call.answer.reject(error)
  }

  /** Gives up the calls that were sent too long ago, and looks again when the next one is. */
  #endLate(): void {
    this.#stopTimer = undefined
    const { name, timeoutMs } = this.#options
    const now = performance.now()
    for (const [id, { sent, reads }] of this.#calls) {
      const left = sent + timeoutMs - now
      if (left > 0) {
        this.#stopTimer = startTimer(left, () => this.#endLate())
        return
      }
      this.#giveUp(id, silence({ idleMs: timeoutMs, reads }, { name, acted: true }))
    }
  }
}
