/** Eventlogs: their events, and the calls that append and read them. See rfc/8. */

import { blobSizeMax } from '../blob/blob.js'
import type { CommitOptions, ReadScope } from './kvs.js'
import type { Capping, CommittedOp, Guard, Scope } from './transaction.js'

/** A JSON value that may also hold bytes (in JSON: `{"base64": "…"}`). Numbers are finite,
 *  strings well formed. */
export type EventValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly EventValue[]
  | EventContext

/** The context of an event: values by name. Any name is allowed, `__proto__` too. */
export type EventContext = { readonly [name: string]: EventValue }

/** An event. */
export type Event = {
  /** The time of the event, in seconds since 1970, with a fraction. */
  readonly timestamp: number
  /** The name, 1 to `eventNameSizeMax` bytes of UTF-8. */
  readonly name: string
  readonly context?: EventContext
}

/** The largest size of an event's name, in bytes of UTF-8. */
export const eventNameSizeMax = 255
/** The largest depth of objects and arrays in a context. */
export const eventDepthMax = 32
/** The largest size of an encoded event, in bytes; above it E2BIG. An event never spans blobs. */
export const eventSizeMax = blobSizeMax

/** The options of an append of events. */
export type AppendEventsOptions = Omit<CommitOptions, 'transfer'> &
  Capping & {
    /** True if these are the last events: the log is then sealed. */
    readonly seal?: boolean
    /** The guards of the transaction. All must hold, else ECONFLICT. */
    readonly guards?: readonly Guard[]
  }

/** The options of a follower of events. */
export type FollowEventsOptions = Scope & {
  /** True to wait until the log, and its namespace, are there. Otherwise a missing one is
   *  ENOENT or ENONS. */
  readonly waitCreate?: boolean
  /** The index of the blob to begin with; default 0. */
  readonly from?: number
}

/** The events of one key, in the order in which they were appended. */
export interface Eventlog {
  readonly key: string
  readonly namespace: string
  /** Appends events, all of them or none; they are durable when it resolves. `result.index` is the
   *  index of the first new blob, and `result.count` the number of blobs after the append. Throws
   *  EINVAL (also for no events without `seal`), E2BIG (an event above `eventSizeMax`, or all
   *  together above `transactionSizeMax`), ESEALED, and what `Kvs.commit` throws. */
  append(events: readonly Event[], options?: EventlogAppendOptions): Promise<CommittedOp>
  /** Reads all events at one root, and loads them as they are consumed. Throws ENOENT, EINVAL
   *  (not an eventlog). */
  read(options?: EventlogReadOptions): AsyncGenerator<Event, void, undefined>
  /** Reads all events, then new ones as they are appended, until the log is sealed. Throws ENOENT,
   *  EOVERWRITTEN, EINVAL. Leaving the loop ends it. */
  follow(options?: EventlogFollowOptions): AsyncGenerator<Event, void, undefined>
}

/** The options of `Eventlog.append`. */
export type EventlogAppendOptions = Omit<AppendEventsOptions, 'namespace'>
/** The options of `Eventlog.read`. */
export type EventlogReadOptions = Omit<ReadScope, 'namespace'>
/** The options of `Eventlog.follow`. */
export type EventlogFollowOptions = Omit<FollowEventsOptions, 'namespace'>
