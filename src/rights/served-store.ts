/** The store that a server serves, and what it asks of it besides the calls of `Store`. Types only: the
 *  embedded store and `limitedStore` implement them. See rfc/28. */

import type { Jobs } from '../api/job.js'
import type { Store } from '../api/store.js'
import type { WatchOptions } from '../api/watch.js'
import type { TailraceError } from '../error.js'
import type { LogPlaces } from '../kvs/log-place.js'
import type { CommittedGroup } from '../past/namespace.js'
import type { WatchReader } from '../watch/reader.js'

/** The parts of a store in this process that a server asks for, besides the calls of `Store`. */
export type ServerParts = {
  /** The positions of readers of bytes. */
  readonly places: LogPlaces
  /** Reads small values that are in memory; see `KeyStore.readNow`. */
  readonly readNow: (
    keys: readonly string[],
    namespace?: string,
  ) =>
    | {
        readonly seq: number
        readonly values: readonly (Uint8Array | undefined)[]
      }
    | undefined
  /** Begins a watch whose events are asked for one by one; see `WatchService.read`. */
  readonly watchReader: (key: string, options: WatchOptions) => WatchReader
  /** Says that nobody needs a piece any more that a read of a large value gave: a later piece may use
   *  its buffer. It need not be called, and does nothing for other bytes. */
  readonly release: (piece: Uint8Array) => void
  /** True while a collection runs. */
  readonly collecting: boolean
  /** The number of leases that are held, in all namespaces. */
  readonly leasesHeld: number
}

/** Jobs, and the numbers of those that run and wait. */
export type CountedJobs = Jobs & { readonly running: number; readonly waiting: number }

/** A store as one access token sees it. */
export type LimitedStore = Store & ServerParts & { readonly jobs: CountedJobs }

/** Figures of a store in this process since it was opened, for its owner. Reading one costs no I/O. See
 *  rfc/29, rule 2. */
export type StoreFigures = {
  /** Calls the listener with each commit group that became durable, until it is disposed of. The listener
   *  returns at once, and never throws. */
  readonly onCommitted: (listener: (group: CommittedGroup) => void) => Disposable
  /** The transactions that wait for a group, in all namespaces, and their bytes. */
  readonly waiting: { readonly count: number; readonly size: number }
  readonly namespaces: number
  readonly leases: number
  /** The blobs and nodes that were read from the engine, and their bytes. */
  readonly loads: { readonly count: number; readonly size: number }
  /** The bytes in the cache of blobs and nodes. */
  readonly cached: number
  /** The bytes of all blobs and nodes that are stored, garbage included. */
  readonly stored: number
  readonly collecting: boolean
  /** The collections that have ended, and the bytes that they freed. */
  readonly freed: { readonly collections: number; readonly size: number }
  readonly jobs: {
    readonly running: number
    readonly waiting: number
    /** The jobs that have ended: with the exit code 0, and otherwise. */
    readonly ended: { readonly succeeded: number; readonly failed: number }
  }
  /** The error for which nothing can be written until the store is opened again; undefined while writes
   *  work. */
  readonly broken: TailraceError | undefined
}
