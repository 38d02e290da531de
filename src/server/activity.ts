/** What a server is doing: requests on their way, connections, watchers, and everything that waits.
 *  Invariant: what waits here ends when the server stops, with ECLOSED; what is counted is counted
 *  down once. */

import { Wakeup } from '../base/wakeup.js'
import { TailraceError } from '../error.js'

/** Watches, streamed answers and requests that wait, of all connections together. Each holds up to 11 KB. */
export const openWaitsMax = 8_192

export class Activity {
  readonly #waits = new Set<AbortController>()
  readonly #now: () => number
  #requests = 0
  #watchers = 0
  #last: number
  #closed: TailraceError | undefined
  /** Woken whenever the last request has gone. */
  readonly #quiet = new Wakeup()

  /** `now`: monotonic, ms. */
  constructor(now: () => number) {
    this.#now = now
    this.#last = now()
  }

  /** Requests and websockets that are open. */
  get requests(): number {
    return this.#requests
  }

  get watchers(): number {
    return this.#watchers
  }

  /** ms since the last request ended; 0 while one is open. */
  get idleMs(): number {
    return this.#requests > 0 ? 0 : this.#now() - this.#last
  }

  /** A request or a connection, until `end` is called. */
  begin(): { readonly end: () => void } {
    this.#requests++
    return once(() => {
      this.#requests--
      this.#last = this.#now()
      if (this.#requests === 0) this.#quiet.wake()
    })
  }

  beginWatch(): { readonly end: () => void } {
    this.#watchers++
    return once(() => {
      this.#watchers--
    })
  }

  /** A controller that `close` aborts too. Give it back. `own`: how many the caller's connection has. One that has more
   *  than are free gets no more of them, so that something is left for the others (dynamic thresholds: Choudhury, Hahne,
   *  INFOCOM 1996). Throws EBUSY. */
  wait(own = 0): AbortController {
    const free = openWaitsMax - this.#waits.size
    if (free === 0 || own > free) {
      const message = `${this.#waits.size} watches and waits are open at this server, ${own} of this connection: end some, or try again later`
      throw new TailraceError('EBUSY', message)
    }
    const controller = new AbortController()
    if (this.#closed) controller.abort(this.#closed)
    else this.#waits.add(controller)
    return controller
  }

  /** Aborts the wait (ECANCELED) if it still waits, and forgets it. */
  giveBack(controller: AbortController): void {
    this.#waits.delete(controller)
    controller.abort()
  }

  get closed(): boolean {
    return this.#closed !== undefined
  }

  /** Resolves when no request is open any more, or after `boundMs`. */
  async finished(boundMs: number): Promise<void> {
    const signal = AbortSignal.timeout(boundMs)
    while (this.#requests > 0 && !signal.aborted) {
      const seen = this.#quiet.count
      // What is still open after the bound is cut.
      await this.#quiet.wait(seen, signal).catch(() => {})
    }
  }

  /** Ends everything that waits, now and from now on. */
  close(): void {
    this.#closed ??= new TailraceError('ECLOSED', 'the server is stopping: connect again')
    for (const controller of this.#waits) controller.abort(this.#closed)
    this.#waits.clear()
  }
}

function once(run: () => void): { readonly end: () => void } {
  let open = true
  return {
    end: () => {
      if (open) run()
      open = false
    },
  }
}
