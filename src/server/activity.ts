/** The activity of a server: it counts open requests, websockets and watchers, and holds every
 *  wait. See rfc/12, rules 10 and 12.
 *  Invariant: every wait ends with ECLOSED when the server stops. Each count goes down once for
 *  each time that it went up. */

import { quietEnd } from '../base/abort.js'
import { Wakeup } from '../base/wakeup.js'
import { TailraceError } from '../error.js'

/** The largest number of watches, streamed answers and requests that wait, of all connections
 *  together. A watch holds 3 KB, and up to 10 KB if nobody else watches its key. */
export const openWaitsMax = 8_192
/** The part of `openWaitsMax` that is kept for connections with fewer than `fewWaits` of their own: who has
 *  many keeps nobody out who asks for few. */
export const keptWaits = 2_048
export const fewWaits = 16

/** A wait, or a watch. `abort` ends it with a reason. */
export type Wait = { readonly abort: (reason: unknown) => void }

/** Mutable; shared by all routes of a server. */
export class Activity {
  readonly #waits = new Set<Wait>()
  readonly #now: () => number
  #requests = 0
  #watchers = 0
  #last: number
  #closed: TailraceError | undefined
  /** Woken whenever the last open request has ended. */
  readonly #quiet = new Wakeup()

  /** `now` returns a monotonic time in ms. */
  constructor(now: () => number) {
    this.#now = now
    this.#last = now()
  }

  /** The number of open requests and websockets. */
  get requests(): number {
    return this.#requests
  }

  /** The number of open watches. */
  get watchers(): number {
    return this.#watchers
  }

  /** The time since the last request ended, in ms; 0 while one is open. */
  get idleMs(): number {
    return this.#requests > 0 ? 0 : this.#now() - this.#last
  }

  /** Counts a request or a websocket until `end` is called. `end` is idempotent. */
  begin(): { readonly end: () => void } {
    this.#requests++
    return once(() => {
      this.#requests--
      this.#last = this.#now()
      if (this.#requests === 0) this.#quiet.wake()
    })
  }

  /** Counts a watch until `end` is called. `end` is idempotent. */
  beginWatch(): { readonly end: () => void } {
    this.#watchers++
    return once(() => {
      this.#watchers--
    })
  }

  /** Returns a controller for a wait, which `close` aborts. Give it back. `own` and what it throws
   *  are those of `checkWaits`. */
  wait(own = 0): AbortController {
    this.checkWaits(own)
    const controller = new AbortController()
    this.#begin(controller)
    return controller
  }

  /** Throws EBUSY if a connection with `own` waits and watches gets no more of them. One that has more
   *  than are free gets no more, so that some are left for other connections (dynamic thresholds:
   *  Choudhury, Hahne, INFOCOM 1996). */
  checkWaits(own: number): void {
    const free = openWaitsMax - this.#waits.size - (own < fewWaits ? 0 : keptWaits)
    if (free <= 0 || own > free) {
      const message = `${this.#waits.size} watches and waits are open at this server, ${own} of this connection: end some, or try again later`
      throw new TailraceError('EBUSY', message)
    }
  }

  /** Ends a wait, with ECANCELED if it still waits. */
  giveBack(controller: AbortController): void {
    this.#waits.delete(controller)
    controller.abort(quietEnd)
  }

  /** Counts a watch until `endWatch`; `close` aborts it. REQUIRES: `checkWaits` was called. */
  startWatch(watch: Wait): void {
    this.#watchers++
    this.#begin(watch)
  }

  /** Ends what `startWatch` began. REQUIRES: called once for each watch. */
  endWatch(watch: Wait): void {
    this.#watchers--
    this.#waits.delete(watch)
  }

  /** True once the server stops. */
  get closed(): boolean {
    return this.#closed !== undefined
  }

  /** Resolves when no request is open, or after `boundMs`. */
  async finished(boundMs: number): Promise<void> {
    const signal = AbortSignal.timeout(boundMs)
    while (this.#requests > 0 && !signal.aborted) {
      const seen = this.#quiet.count
      // The time is up: the caller cuts the requests that are still open.
      await this.#quiet.wait(seen, signal).catch(() => {})
    }
  }

  /** Ends every wait with ECLOSED, later ones too. */
  close(): void {
    this.#closed ??= new TailraceError('ECLOSED', 'the server is stopping: connect again')
    for (const wait of this.#waits) wait.abort(this.#closed)
    this.#waits.clear()
  }

  #begin(wait: Wait): void {
    if (this.#closed) wait.abort(this.#closed)
    else this.#waits.add(wait)
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
