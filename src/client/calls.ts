/** The calls of a client's websocket that wait for their answers. See rfc/12, rule 37.
 *  Invariant: each call ends once: by its answer, its signal, its time-out, or the end of its
 *  socket. One timer serves all time-outs, and keeps no program running. */

import { onAbort } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { canceled, type TailraceError } from '../error.js'
import { silence } from './transport.js'

/** A call, and what becomes of it: one of its three methods is called, once. They do not throw. */
export type SocketCall = {
  readonly signal: AbortSignal | undefined
  /** True if it changes nothing. */
  readonly reads: boolean
  /** True if it is answered only once something has happened: it has no time-out. */
  readonly waits: boolean
  /** Takes the body of the answer. */
  answered(body: unknown): void
  /** Takes the error that the server answered; or ECANCELED, and after the time-out EUNKNOWN (a
   *  call that reads: ETIMEDOUT). */
  failed(error: TailraceError): void
  /** Takes the reason why the socket ended before the answer. */
  lost(cause: TailraceError): void
}

/** A call that waits for its answer. */
type Calling = {
  readonly call: SocketCall
  /** The time at which it was sent, by `performance.now()`. */
  readonly sent: number
  readonly endAbort: (() => void) | undefined
}

type CallsOptions = {
  /** The name of the server, for messages. */
  readonly name: string
  /** The time after which a call without an answer is given up, in ms. */
  readonly timeoutMs: number
  /** Called when a call is given up: the server need not answer it any more. */
  readonly cancel: (id: number) => void
  /** Called when a call has ended. */
  readonly ended: () => void
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

  /** Adds a call that is sent in this turn. REQUIRES: its signal has not aborted. */
  add(id: number, call: SocketCall): void {
    const { signal, waits } = call
    const endAbort = signal && onAbort(signal, () => this.#giveUp(id, canceled(signal)))
    this.#calls.set(id, { call, sent: performance.now(), endAbort })
    if (!waits) this.#stopTimer ??= startTimer(this.#options.timeoutMs, () => this.#endLate())
  }

  /** Ends a call with the body of its answer. Does nothing if nobody waits for it any more. */
  answer(id: number, body: unknown): void {
    const call = this.#take(id)
    if (!call) return
    call.answered(body)
    this.#options.ended()
  }

  /** Ends a call with the error that the server answered. Does nothing if nobody waits for it any
   *  more. */
  fail(id: number, error: TailraceError): void {
    const call = this.#take(id)
    if (!call) return
    call.failed(error)
    this.#options.ended()
  }

  /** Ends all calls: their socket has ended. */
  lose(cause: TailraceError): void {
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    for (const { call, endAbort } of calls) {
      endAbort?.()
      call.lost(cause)
    }
  }

  /** Stops the timer. REQUIRES: no call is added any more. */
  dispose(): void {
    this.#stopTimer?.()
  }

  #take(id: number): SocketCall | undefined {
    const calling = this.#calls.get(id)
    if (!calling) return undefined
    this.#calls.delete(id)
    calling.endAbort?.()
    return calling.call
  }

  #giveUp(id: number, error: TailraceError): void {
    if (!this.#calls.has(id)) return
    this.#options.cancel(id)
    this.fail(id, error)
  }

  /** Gives up the calls that were sent too long ago, and looks again when the next one is. */
  #endLate(): void {
    this.#stopTimer = undefined
    const { name, timeoutMs } = this.#options
    const now = performance.now()
    for (const [id, { call, sent }] of this.#calls) {
      if (call.waits) continue
      const left = sent + timeoutMs - now
      if (left > 0) {
        this.#stopTimer = startTimer(left, () => this.#endLate())
        return
      }
      this.#giveUp(id, silence({ idleMs: timeoutMs, reads: call.reads }, { name, acted: true }))
    }
  }
}
