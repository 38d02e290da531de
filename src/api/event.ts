/** Events of an eventlog, and what its calls take. See rfc/8. */

import { blobSizeMax } from '../blob/blob.js'
import type { CommitOptions, ReadScope } from './kvs.js'
import type { Capping, CommittedOp, Guard, Scope } from './transaction.js'

/** A JSON value that may also hold bytes (in JSON: `{"base64": "…"}`). Numbers are finite, strings
 *  well formed. */
export type EventValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly EventValue[]
  | EventContext

/** What an event says besides its name: any names, `__proto__` too. */
export type EventContext = { readonly [name: string]: EventValue }

/** One event. */
export type Event = {
  /** Seconds since 1970, with their fraction. */
  readonly timestamp: number
  /** 1 to `eventNameSizeMax` bytes of UTF-8. */
  readonly name: string
  readonly context?: EventContext
}

/** UTF-8 bytes of an event's name. */
export const eventNameSizeMax = 255
/** Levels of objects and arrays in a context. */
export const eventDepthMax = 32
/** Bytes of an encoded event: it never spans blobs. Above: E2BIG. */
export const eventSizeMax = blobSizeMax

/** How events are appended. */
export type AppendEventsOptions = Omit<CommitOptions, 'transfer'> &
  Capping & {
    /** These are the last events of the log. */
    readonly seal?: boolean
    /** All must hold, else ECONFLICT. */
    readonly guards?: readonly Guard[]
  }

/** Where a follower of events begins. */
export type FollowEventsOptions = Scope & {
  /** Wait until the log, and its namespace, are there. Otherwise ENOENT, ENONS. */
  readonly waitCreate?: boolean
  /** Index of the blob to begin with; default 0. */
  readonly from?: number
}

/** Events of one key, in the order in which they were appended. */
export interface Eventlog {
  readonly key: string
  readonly namespace: string
  /** Appends events, all of them or none, durable when it resolves. `result.index` is the first blob's, `result.count`
   *  how many blobs there are then. Throws EINVAL (also: no events and no `seal`), E2BIG (an event above `eventSizeMax`,
   *  or all of them above `transactionSizeMax`), ESEALED, and as `Kvs.commit`. */
  append(events: readonly Event[], options?: EventlogAppendOptions): Promise<CommittedOp>
  /** All events at one root, loaded as they are consumed. Throws ENOENT, EINVAL (not an eventlog). */
  read(options?: EventlogReadOptions): AsyncGenerator<Event, void, undefined>
  /** All events, then new ones as they are appended, until the log is sealed. Throws ENOENT, EOVERWRITTEN, EINVAL.
   *  Leaving the loop ends it. */
  follow(options?: EventlogFollowOptions): AsyncGenerator<Event, void, undefined>
}

/** How events are appended to an eventlog. */
export type EventlogAppendOptions = Omit<AppendEventsOptions, 'namespace'>
/** Which root an eventlog is read at. */
export type EventlogReadOptions = Omit<ReadScope, 'namespace'>
/** Where a follower of an eventlog begins. */
export type EventlogFollowOptions = Omit<FollowEventsOptions, 'namespace'>
