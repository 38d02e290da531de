/** What every route has at hand. */

import type { Jobs } from '../api/job.js'
import type { Store } from '../api/store.js'
import type { Environment } from '../base/environment.js'
import type { LogPlaces } from '../kvs/log-place.js'
import type { Activity } from './activity.js'
import type { BodyBudget } from './body-budget.js'
import type { Log } from './log.js'
import type { Pace } from './pace.js'
import type { Turns } from './turns.js'

/** A store in this process, which knows how many of its jobs run and wait, and whether it collects. */
export type ServedStore = Store & {
  readonly collecting: boolean
  readonly leasesHeld: number
  readonly places: LogPlaces
  readonly jobs: Jobs & { readonly running: number; readonly waiting: number }
}

export type ServerContext = {
  readonly store: ServedStore
  readonly activity: Activity
  readonly pace: Pace
  /** The pace of the requests of all websockets. */
  readonly requestPace: Pace
  readonly bodies: BodyBudget
  /** Walks through the history, of all clients. */
  readonly walks: Turns
  readonly environment: Environment
  readonly version: string
  /** The data directory's real path. */
  readonly directory: string
  /** ms since 1970. */
  readonly started: number
  /** `HOST:PORT` of each TCP address. */
  readonly listen: () => readonly string[]
  /** Websockets that are open. */
  readonly connections: () => number
  /** Bytes that wait for clients of websockets. */
  readonly backlog: () => number
  /** Ends the server, after the answer that asked for it. */
  readonly stop: () => void
  readonly log: Log
}
