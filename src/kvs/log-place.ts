/** Places in logs. A reader of bytes keeps one, and a later check tells it whether its bytes are
 *  still the beginning of the log. Types only: `Places` implements them on the embedded store, and
 *  the server uses them. See rfc/7, rules 20 to 22, and rfc/12, rule 30. */

import type { ReadScope } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import type { Position } from '../api/watch.js'

/** The place behind the first `position.index` blobs of a log, which are its first `offset` bytes,
 *  as they were at the root `seq`. */
export type LogPlace = {
  readonly position: Position
  readonly offset: number
  readonly seq: number
}

/** The result of a check after which the reader may read on. */
export type CheckedPlace = {
  /** The place behind the whole log, at the root that was checked. */
  readonly end: LogPlace
  /** Resolves to true if a position belongs to the history that was checked; false if it
   *  is beyond `end`. */
  readonly includes: (position: Position) => Promise<boolean>
}

/** The calls that give and check places. */
export interface LogPlaces {
  /** Returns the place behind the whole log. Undefined where there is no value. Throws ENONS,
   *  ECOMPACTED, EINVAL, EISDIR. */
  end(key: string, scope?: ReadScope): Promise<LogPlace | undefined>
  /** Checks that a reader who was at `place`, and read on to the byte `from`, has the first bytes
   *  of the log that is there now. Throws EOVERWRITTEN (it has others), ENOENT, EISDIR, and
   *  ECOMPACTED (this cannot be told: the place was trimmed away, or roots since then are no
   *  longer retained). */
  check(key: string, place: LogPlace, from: number, scope?: Scope): Promise<CheckedPlace>
}
