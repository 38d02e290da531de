/** The context of all routes: the store, and the shared state of the server. */

import type { Jobs } from '../api/job.js'
import type { Store } from '../api/store.js'
import type { WatchOptions } from '../api/watch.js'
import type { Environment } from '../base/environment.js'
import type { LogPlaces } from '../kvs/log-place.js'
import type { WatchReader } from '../watch/reader.js'
import type { Activity } from './activity.js'
import type { BodyBudget } from './body-budget.js'
import type { EventFrames } from './event-frames.js'
import type { Log } from './log.js'
import type { Pace } from './pace.js'
import type { Turns } from './turns.js'

/** A store in this process. Besides the calls of `Store` it has what only the server asks for. */
export type ServedStore = Store & {
  /** True while a collection runs. */
  readonly collecting: boolean
  /** The number of leases that are held now. */
  readonly leasesHeld: number
  readonly places: LogPlaces
  /** Reads small values that are in memory; undefined if `readMany` must be called. */
  readonly readNow: (
    keys: readonly string[],
    namespace?: string,
  ) => { readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] } | undefined
  /** Says that nobody needs a piece of a large value any more. */
  readonly release: (piece: Uint8Array) => void
  /** Begins a watch whose events are asked for one by one. */
  readonly watchReader: (key: string, options: WatchOptions) => WatchReader
  readonly jobs: Jobs & { readonly running: number; readonly waiting: number }
}

/** The context of all routes of a server. */
export type ServerContext = {
  readonly store: ServedStore
  readonly activity: Activity
  /** The pace of the deliveries to all clients together. */
  readonly pace: Pace
  /** The pace of the requests of all clients together. */
  readonly requestPace: Pace
  readonly bodies: BodyBudget
  /** The encoded events of all watches. */
  readonly events: EventFrames
  /** The turns of requests for pages of the history, of all clients together. */
  readonly walks: Turns
  readonly environment: Environment
  readonly version: string
  /** The real path of the data directory. */
  readonly directory: string
  /** The start of the server, in ms since 1970. */
  readonly started: number
  /** Returns `HOST:PORT` of each TCP address. */
  readonly listen: () => readonly string[]
  /** Returns the number of open websockets. */
  readonly connections: () => number
  /** Returns the number of bytes that wait to be sent to websockets. */
  readonly backlog: () => number
  /** Begins to stop the server. Call it after the answer to the request was sent. */
  readonly stop: () => void
  readonly log: Log
}
