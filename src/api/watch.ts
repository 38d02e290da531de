/** Watches: their options and events. See rfc/7. */

import type { Blobref } from '../blob/blobref.js'
import type { DiffEntry } from './history.js'
import type { Token } from './transaction.js'

/** The position of a watcher of an append key. Keep it to begin a watch there later, also in
 *  another process. */
export type Position = {
  /** The life of the namespace. */
  readonly incarnation: string
  /** The number of blobs before it. */
  readonly index: number
  /** The ref of the first `index` blobs of the key, which proves that a watch goes on with
   *  the same history. */
  readonly prefix: Blobref
}

/** The start of an append watch: the index of a blob (a negative one counts from the end,
 *  bounded by what is there), a byte offset (the blob that holds that byte), or a position. A
 *  position also proves what came before: EOVERWRITTEN if the key has another history. A start
 *  below the base of a trimmed log is ECOMPACTED, and `failed.state` says where the log begins
 *  now (`base`, `position`). */
export type From = number | { readonly offset: number } | Position

/** The position of a watcher of changes. Keep it to go on from there later, also in another
 *  process. */
export type ChangesPosition = {
  /** The life of the namespace. */
  readonly incarnation: string
  /** The seq of the root whose state is known. Absent: nothing is known yet. */
  readonly seq?: number
  /** The seq of the root whose differences are being told, in the middle of several events. */
  readonly to?: number
  /** The last key of them that was told. */
  readonly after?: string
  /** The ref of what was at the key then: as long as nothing has changed, the position is good,
   *  however old it is. Absent if nothing was there. */
  readonly ref?: Blobref
}

/** The options of `watch`. */
export type WatchOptions = {
  /** The mode. append: delivers every blob once, in order. value: delivers the newest value, and
   *  may leave out values in between. changes: delivers the keys at and below the key that have
   *  changed, net: what came and went in between is left out. Links are not followed. */
  readonly mode: 'append' | 'value' | 'changes'
  /** The namespace. Default: `primary`. */
  readonly namespace?: string
  /** append: the start. Default: the first blob that is there. */
  readonly from?: From
  /** True to wait until the key, and its namespace, are there. Otherwise a missing one is
   *  ENOENT or ENONS. */
  readonly waitCreate?: boolean
  /** value: true to deliver a value only if it differs from the one that was delivered before. */
  readonly uniq?: boolean
  /** value: true to deliver also when the key's lease is taken or ends. With `waitCreate` the key
   *  need not exist. */
  readonly lease?: boolean
  /** changes: the start, as the seq of a retained root or as a position. Default: the newest root. */
  readonly since?: number | ChangesPosition
  /** changes: true to begin with all that is there, as added. Not with `since`. */
  readonly initial?: boolean
  /** append: true to be lent the bytes of an event until the next one is asked for; they may be
   *  overwritten then. So a large log is read with less work for the garbage collector. Default: the
   *  bytes of each event are the consumer's own. */
  readonly lend?: boolean
  /** Ends the watch with ECANCELED. */
  readonly signal?: AbortSignal
}

/** An append, or one blob of an append that has several. */
export type AppendEvent = {
  readonly type: 'append'
  /** The index of the blob in the log, counted from 0. */
  readonly index: number
  /** The offset of its first byte in the whole value. */
  readonly offset: number
  /** The seq of the root that it was read at. */
  readonly seq: number
  /** The position after this blob. */
  readonly position: Position
  readonly data: Uint8Array
  /** True if the next blob belongs to the same append. */
  readonly more?: true
  /** The place of the append in a trace (W3C `traceparent`), if its writer has one, and the server was up
   *  when it was written. */
  readonly trace?: string
}

/** The value at one root. */
export type ValueEvent = {
  readonly type: 'value'
  readonly seq: number
  readonly ref: Blobref
  /** The bytes of the value, without those that a trim dropped. */
  readonly size: number
  /** The value; left out above `blobSizeMax` bytes: read it with `at: seq`. */
  readonly data?: Uint8Array
  /** True if older values in between are no longer retained. */
  readonly skipped?: true
  /** The place of the write in a trace; see `AppendEvent`. */
  readonly trace?: string
}

/** The state of the key's lease: at the beginning of the watch, and each time it is taken or ends.
 *  A renewal is no event. Of several states in one commit only the last is delivered. */
export type LeaseEvent = {
  readonly type: 'lease'
  readonly seq: number
  readonly held: boolean
  /** The token of the holder. */
  readonly token?: Token
  /** The text of its holder. */
  readonly owner?: string
}

/** Keys that have changed between two roots. The first event of a watch comes at once, without entries
 *  if there are none. */
export type ChangesEvent = {
  readonly type: 'changes'
  /** The seq of the older root; absent if the watch begins with all that is there. */
  readonly from?: number
  /** The seq of the newer root. */
  readonly seq: number
  /** The keys that differ, in their order. A directory is named only if it is there on one side
   *  alone. */
  readonly entries: readonly DiffEntry[]
  /** True if the next event goes on with the same two roots. */
  readonly more?: true
  /** The position after this event. */
  readonly position: ChangesPosition
}

/** The event of an append watch that comes once, after all blobs that were there when the watch
 *  began. With `waitCreate`, where nothing was there yet, it comes first and has no position. */
export type LiveEvent = {
  readonly type: 'live'
  readonly position?: Position
}

/** The last event of an append watch: the log is sealed, and everything was delivered. */
export type EndEvent = {
  readonly type: 'end'
  readonly reason: 'sealed'
  readonly position: Position
}

/** An event of a watch. */
export type WatchEvent = AppendEvent | ValueEvent | LeaseEvent | ChangesEvent | LiveEvent | EndEvent

/** The events of a watch. None is loaded before it is asked for. Leaving the loop ends the
 *  watch. */
export type Watching = AsyncIterableIterator<WatchEvent>
