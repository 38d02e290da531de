/** Places in logs: where a reader stands, so that it can be told later whether what it has is still the beginning of
 *  the log. Types only: `Places` implements them on the embedded store, the server asks for them. See rfc/12, rule 30. */

import type { ReadScope } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import type { Position } from '../api/watch.js'

/** Behind the first `position.index` blobs, which are the first `offset` bytes, as they were at the root
 *  `seq`. */
export type LogPlace = {
  readonly position: Position
  readonly offset: number
  readonly seq: number
}

/** A check of a place found that a reader may go on there. */
export type CheckedPlace = {
  /** Behind all that is there. */
  readonly end: LogPlace
  /** Whether a position of that index or less is one of the history that was checked. */
  readonly includes: (position: Position) => Promise<boolean>
}

export interface LogPlaces {
  /** Behind all that is there. Undefined where there is no value. Throws ENONS, ECOMPACTED, EINVAL. */
  end(key: string, scope?: ReadScope): Promise<LogPlace | undefined>
  /** Checks that the bytes before `from` are those that a reader has who was at the place, and read on
   *  from there. Throws EOVERWRITTEN (they are not), ENOENT, ECOMPACTED (it cannot be told: what the place
   *  says was dropped, or the roots between it and now). */
  check(key: string, place: LogPlace, from: number, scope?: Scope): Promise<CheckedPlace>
}
