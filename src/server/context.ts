/** The context of all routes: the store, and the shared state of the server. */

import type { Environment } from '../base/environment.js'
import type { Grants } from '../rights/grants.js'
import type { LimitedStore, StoreFigures } from '../rights/served-store.js'
import type { TokenBook } from '../rights/tokens.js'
import type { Activity } from './activity.js'
import type { Backlogs } from './backlogs.js'
import type { BodyBudget } from './body-budget.js'
import type { EventFrames } from './event-frames.js'
import type { Log } from './log.js'
import type { Meters } from './meters.js'
import type { Pace } from './pace.js'
import type { RequestIds } from './request-ids.js'
import type { Traces } from './traces.js'
import type { Turns } from './turns.js'

/** A store in this process, as the caller of a request sees it. */
export type ServedStore = LimitedStore

/** A store in this process, as its owner sees it. */
export type OwnedStore = ServedStore & {
  readonly tokenBook: TokenBook
  readonly figures: StoreFigures
  /** Takes no more jobs, and resolves when none runs or waits for a place, or the signal aborts. */
  readonly drainJobs: (signal: AbortSignal) => Promise<void>
  /** Returns the store as the holder of some grants sees it. */
  readonly limitedTo: (grants: Grants) => LimitedStore
}

/** A text that stands for the token of its caller once, until it expires (ms since 1970). */
export type Ticket = { readonly ticket: string; readonly expires: number }

/** The options of a stop. */
export type StopOptions = {
  /** True to end jobs at once, whatever the server was started with. */
  readonly now?: boolean
}

/** The context of a caller's requests. */
export type ServerContext = {
  /** The id of the caller's access token; `owner`. */
  readonly principalId: string
  /** Throws EPERM unless the caller is the owner of the store. */
  readonly checkOwner: (act: string) => void
  /** Throws EPERM unless the caller may see the metrics of the server. */
  readonly checkMetrics: () => void
  /** Counts a request of the caller. Throws EBUSY with the time after which to try again. */
  readonly checkRate: () => void
  /** Makes a ticket of the caller. Throws EBUSY. */
  readonly newTicket: () => Ticket
  readonly store: ServedStore
  readonly activity: Activity
  /** The pace of the deliveries to all clients together. */
  readonly pace: Pace
  /** The pace of the requests of all clients together. */
  readonly requestPace: Pace
  readonly bodies: BodyBudget
  /** The memory of all that clients have not read yet. */
  readonly backlogs: Backlogs
  /** The turns of reads of many keys, of all clients together. */
  readonly longReads: Turns
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
  /** Returns the addresses besides the data directory's socket, as `connect` takes them. */
  readonly urls: () => readonly string[]
  /** Returns the number of open websockets. */
  readonly connections: () => number
  /** Returns the number of bytes that wait to be sent to websockets. */
  readonly backlog: () => number
  /** Returns why the server takes no reads and writes; undefined while it does. It names nothing of the
   *  store. */
  readonly unready: () => string | undefined
  /** Returns the metrics of the server, as text. */
  readonly metrics: () => Promise<string>
  /** Begins to stop the server. Call it after the answer to the request was sent. `now`: jobs are not
   *  waited for. */
  readonly stop: (options: StopOptions) => void
  readonly log: Log
  readonly meters: Meters
  readonly requestIds: RequestIds
  /** The places in traces of the newest writes. */
  readonly traces: Traces
}
