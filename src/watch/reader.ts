/** The reader of a watch, for one who delivers the events of many: a server. See rfc/7, rule 6. */

import type { WatchEvent } from '../api/watch.js'
import type { TailraceError } from '../error.js'

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
