/** The store that a server serves, and what it asks of it besides the calls of `Store`. Types only: the
 *  embedded store and `limitedStore` implement them. See rfc/28. */

import type { Jobs } from '../api/job.js'
import type { Store } from '../api/store.js'
import type { WatchOptions } from '../api/watch.js'
import type { LogPlaces } from '../kvs/log-place.js'
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
