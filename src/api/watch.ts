/** What a watch asks for and what it delivers. See rfc/7. */

import type { Blobref } from '../blob/blobref.js'
import type { Token } from './transaction.js'

/** Where a watcher of an append key stands. It can be kept, and a watch begun there later, in another process. */
export type Position = {
  /** Life of the namespace. */
  readonly incarnation: string
  /** Blobs that were delivered. */
  readonly index: number
  /** Names the first `index` blobs of the key, so that a watch proves to go on with the same history. */
  readonly prefix: Blobref
}

/** Where an append watch begins: at the blob with an index (negative: so many from the end, bounded by what is there), at
 *  the blob that holds a byte offset, or at a position, which also proves what came before (EOVERWRITTEN if the key has
 *  another history). Below the base of a trimmed log: ECOMPACTED, and `failed.state` says where the log begins now (`base`,
 *  `position`). */
export type From = number | { readonly offset: number } | Position

/** What is followed, and from where. */
export type WatchOptions = {
  /** append: every blob, in order, each once. value: the newest value; values in between may be left out. */
  readonly mode: 'append' | 'value'
  /** Default: `primary`. */
  readonly namespace?: string
  /** append: default the first blob that is there. */
  readonly from?: From
  /** Wait until the key, and its namespace, are there. Otherwise ENOENT, ENONS. */
  readonly waitCreate?: boolean
  /** value: deliver only what differs from the value delivered before. */
  readonly uniq?: boolean
  /** value: deliver that the key's lease was taken or is gone, too. With `waitCreate` the key need not be there. */
  readonly lease?: boolean
  /** Ends the watch with ECANCELED. */
  readonly signal?: AbortSignal
}

/** One append, or one blob of a larger one. */
export type AppendEvent = {
  readonly type: 'append'
  /** Of the blob in the log, counted from 0. */
  readonly index: number
  /** Of the first byte in the whole value. */
  readonly offset: number
  /** The seq of the root that it was read at. */
  readonly seq: number
  /** After this blob. */
  readonly position: Position
  readonly data: Uint8Array
  /** The next blob is of the same append. */
  readonly more?: true
}

/** The value at one root. */
export type ValueEvent = {
  readonly type: 'value'
  readonly seq: number
  readonly ref: Blobref
  /** Bytes that are there: those that a trim dropped do not count. */
  readonly size: number
  /** Left out above one blob (`blobSizeMax`): read it with `at: seq`. */
  readonly data?: Uint8Array
  /** Older values in between are no more retained. */
  readonly skipped?: true
}

/** The key's lease, at first and when it was taken or is gone; a renewal is no event. Of several in one commit the last
 *  one counts. */
export type LeaseEvent = {
  readonly type: 'lease'
  readonly seq: number
  readonly held: boolean
  /** Of who holds it. */
  readonly token?: Token
  /** As its taker said. */
  readonly owner?: string
}

/** append: all that was there when the watch began has been delivered. Once per watch. With `waitCreate`, where nothing was
 *  there yet, it comes first and has no position. */
export type LiveEvent = {
  readonly type: 'live'
  readonly position?: Position
}

/** The log is sealed and everything was delivered. The last event. */
export type EndEvent = {
  readonly type: 'end'
  readonly reason: 'sealed'
  readonly position: Position
}

/** What a watch delivers. */
export type WatchEvent = AppendEvent | ValueEvent | LeaseEvent | LiveEvent | EndEvent

/** Nothing is loaded before it is asked for. Leaving the loop ends the watch. */
export type Watching = AsyncIterableIterator<WatchEvent>
