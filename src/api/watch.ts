/** What a watch asks for and what it delivers. See rfc/7. Types only: the watch room serves them,
 *  the client hands them on. */

import type { Blobref } from '../blob/blobref.js'
import type { Token } from './transaction.js'

/** Where a watcher of an append key stands: `prefix` is the ref of the array of the first `index`
 *  blobs of the key, in that life of its namespace. */
export type Position = {
  readonly incarnation: string
  readonly index: number
  readonly prefix: Blobref
}

/** Where an append watch starts: an index (negative: that many from the end, bounded by what is
 *  there), the blob that holds a byte offset, or a position, which also proves what came before
 *  (EOVERWRITTEN if the key's history is another one). Default: the first blob that is there. An index,
 *  offset or position below a trimmed log's base: ECOMPACTED, whose `failed.state` says where it begins
 *  (`base`, `position`). A watch that a trim overtakes ends so too. */
export type From = number | { readonly offset: number } | Position

export type WatchOptions = {
  readonly mode: 'append' | 'value'
  readonly namespace?: string
  readonly from?: From
  /** Wait until the key, and its namespace, are there. Otherwise ENOENT, ENONS. */
  readonly waitCreate?: boolean
  /** value: deliver only what differs from the value delivered before. */
  readonly uniq?: boolean
  /** value: deliver that the key's lease was taken or is gone, too. With `waitCreate` the key need not be
   *  there. */
  readonly lease?: boolean
  readonly signal?: AbortSignal
}

/** One append (or one blob of a larger one: all but its last are marked `more`). */
export type AppendEvent = {
  readonly type: 'append'
  readonly index: number
  /** Of the first byte in the whole value. */
  readonly offset: number
  /** The seq of the root that it was read at. */
  readonly seq: number
  /** After this blob. */
  readonly position: Position
  readonly data: Uint8Array
  readonly more?: true
}

/** The value at one root. `data` is left out above one blob: read it with `at: seq`. */
export type ValueEvent = {
  readonly type: 'value'
  readonly seq: number
  readonly ref: Blobref
  /** Bytes that are there: those that a trim dropped do not count. */
  readonly size: number
  readonly data?: Uint8Array
  /** Older values in between are no more retained. */
  readonly skipped?: true
}

/** The key's lease, at first and when it was taken or is gone; a renewal is no event. Of several in one
 *  group the last one counts. */
export type LeaseEvent = {
  readonly type: 'lease'
  readonly seq: number
  readonly held: boolean
  /** Where it is held, and by whom as its taker said. */
  readonly token?: Token
  readonly owner?: string
}

/** Append: all that was there when the watch began has been delivered. Once per watch. With `waitCreate`, where
 *  nothing was there yet, it comes first and has no position. */
export type LiveEvent = {
  readonly type: 'live'
  readonly position?: Position
}

/** The key is sealed and everything was delivered. The last event. */
export type EndEvent = {
  readonly type: 'end'
  readonly reason: 'sealed'
  readonly position: Position
}

export type WatchEvent = AppendEvent | ValueEvent | LeaseEvent | LiveEvent | EndEvent

/** At the consumer's pace: nothing is loaded before it is asked for. Leaving the loop cancels. */
export type Watching = AsyncIterableIterator<WatchEvent>
