/** The routes of all requests. A new group of requests is added here. See rfc/12, rule 3. */

import { serveContent } from './content.js'
import { serveEventlogs } from './eventlog.js'
import { serveHistory } from './history.js'
import { serveJobs } from './jobs.js'
import { serveKeyCalls } from './key-calls.js'
import { serveKeys } from './kv.js'
import { serveNamespaces } from './namespaces.js'
import { Routes, type RoutesPorts } from './routes.js'
import { serveStatus } from './status.js'
import { serveTokens } from './tokens.js'
import { serveTransfers } from './transfer.js'
import { serveUpkeep } from './upkeep.js'
import { serveWatches } from './watch-stream.js'

/** Returns the routes of all requests. The servers of all addresses share them. */
export function allRoutes(ports: RoutesPorts): Routes {
  const routes = new Routes(ports)
  serveKeys(routes)
  serveKeyCalls(routes)
  serveWatches(routes)
  serveEventlogs(routes)
  serveHistory(routes)
  serveNamespaces(routes)
  serveJobs(routes)
  serveContent(routes)
  serveTransfers(routes)
  serveUpkeep(routes)
  serveTokens(routes)
  serveStatus(routes)
  return routes
}
