/** The reader of a watch, for one who delivers the events of many: a server. See rfc/7, rule 6. */

import type { WatchEvent } from '../api/watch.js'
import { LightSignal } from '../base/abort.js'
import { canceled, type TailraceError } from '../error.js'

/** The events of one watch. Those that are in memory come without a promise each. */
export type WatchReader = {
  /** Returns the next event if it is in memory; undefined if `next` must be asked for it. REQUIRES:
   *  no `next` is under way. Throws ECORRUPT. */
  readonly take: () => WatchEvent | undefined
  /** Resolves with the next event; undefined once the last one was given. REQUIRES: no other `next`
   *  is under way. Throws what ends a watch (rfc/7). */
  readonly next: () => Promise<WatchEvent | undefined>
  /** Calls `wake` once, when `take` or `next` may have an event again, or when the watch was ended from
   *  here; a call while one is awaited changes nothing. Returns false where `next` must be asked now. A
   *  watch that waits so takes no promise. REQUIRES: `take` gave nothing in this turn, and no `next` is
   *  under way. */
  readonly rest: (wake: () => void) => boolean
  /** Says that nobody needs the bytes of an event any more, which the caller was given: a later event
   *  may use their buffer. It need not be called. */
  readonly release: (event: WatchEvent) => void
  /** Ends the watch: a `next` that waits throws `reason`, by default ECANCELED. */
  readonly end: (reason?: TailraceError) => void
}

/** The source of a reader's events; disposed of at its end. */
export type WatchSource = Pick<WatchReader, 'take' | 'next' | 'release'> &
  Disposable & {
    /** See `AppendWatch.rest`. */
    readonly rest: (wake: () => void) => (() => void) | undefined
  }

/** Begins a watch: finds what its events come from. Throws what ends a watch. */
type Open = (own: LightSignal) => WatchSource | Promise<WatchSource>

/** One watch. Mutable; owned by the one who asks for its events. */
export class SourceReader implements WatchReader {
  readonly #own = new LightSignal()
  readonly #watching: Set<SourceReader>
  /** Undefined once it was called. */
  #open: Open | undefined
  #source: WatchSource | undefined
  /** True while `next` is under way. It then lets go of the source in the end. */
  #asked = false
  /** True once the caller was told that the watch has ended. */
  #told = false
  /** The caller's function, while the watch rests, and what takes the rest back. */
  #resting: { readonly wake: () => void; readonly end: () => void } | undefined

  constructor(watching: Set<SourceReader>, open: Open) {
    this.#watching = watching
    this.#open = open
  }

  take(): WatchEvent | undefined {
    return this.#own.aborted ? undefined : this.#source?.take()
  }

  async next(): Promise<WatchEvent | undefined> {
    if (this.#told) return undefined
    this.#asked = true
    try {
      if (!this.#source && !this.#own.aborted) {
        const opened = this.#begin()
        // No await may come between a source that is there at once and its first `next`.
        this.#source = opened instanceof Promise ? await opened : opened
      }
      const event = this.#own.aborted ? undefined : await this.#source?.next()
      // An event that was on its way when the end came is still given.
      if (!event && this.#own.aborted) throw canceled(this.#own)
      this.#told = event === undefined
      return event
    } catch (error) {
      this.#told = true
      throw error
    } finally {
      this.#asked = false
      if (this.#told || this.#own.aborted) this.#leave()
    }
  }

  rest(wake: () => void): boolean {
    if (this.#resting) return true
    if (this.#own.aborted) return false
    const end = this.#source?.rest(this.#wake)
    if (end) this.#resting = { wake, end }
    return end !== undefined
  }

  release(event: WatchEvent): void {
    this.#source?.release(event)
  }

  end(reason?: TailraceError): void {
    this.#own.abort(reason)
    this.#resting?.end()
    if (!this.#asked) this.#leave()
    this.#wake()
  }

  readonly #wake = () => {
    const resting = this.#resting
    this.#resting = undefined
    resting?.wake()
  }

  #begin(): WatchSource | Promise<WatchSource> | undefined {
    const open = this.#open
    this.#open = undefined
    this.#watching.add(this)
    return open?.(this.#own)
  }

  #leave(): void {
    this.#own.abort()
    this.#watching.delete(this)
    this.#source?.[Symbol.dispose]()
    this.#source = undefined
  }
}
