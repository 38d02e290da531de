/** The table of all requests. The server serves all of them, and OpenAPI describes all of them. A
 *  client imports single requests instead, so that a bundle holds only those it sends. See
 *  rfc/12. */

import { loadBlob, storeBlob } from './blobs.js'
import { appendEventlog, readEventlog } from './eventlogs.js'
import { diff, log, makePin, pins, roots, unpin } from './history.js'
import {
  jobStdin,
  listJobs,
  pruneJobs,
  readJobEvents,
  readJobOutput,
  removeJob,
  removeJobOutput,
  resizeJob,
  showJob,
  signalJob,
  submitJob,
} from './jobs.js'
import {
  appendKey,
  getKey,
  getTreeobj,
  headKey,
  listKeys,
  putKey,
  putTreeobj,
  root,
  statKey,
  unlinkKey,
  watchKey,
} from './keys.js'
import {
  configureNamespace,
  createNamespace,
  listNamespaces,
  removeNamespace,
  showNamespace,
} from './namespaces.js'
import type { RequestSpec } from './request.js'
import { docs, health, metrics, openapi, ready, status, stop } from './server.js'
import {
  createLink,
  createTicket,
  createToken,
  listTokens,
  renewToken,
  revokeToken,
} from './tokens.js'
import { read, txn } from './transaction.js'
import { collect, exportTree, forget, importTree, usage } from './upkeep.js'

/** All requests in groups, in the order of `/openapi.json` and `/docs`. */
export const requestGroups = {
  Keys: [getKey, headKey, watchKey, putKey, appendKey, unlinkKey, statKey, listKeys, root],
  Transactions: [txn, read],
  Eventlogs: [readEventlog, appendEventlog],
  History: [roots, diff, log, pins, makePin, unpin],
  Namespaces: [listNamespaces, showNamespace, createNamespace, configureNamespace, removeNamespace],
  Jobs: [
    ...[submitJob, listJobs, showJob, readJobEvents, readJobOutput, jobStdin],
    ...[signalJob, resizeJob, removeJob, removeJobOutput, pruneJobs],
  ],
  Trees: [getTreeobj, putTreeobj, loadBlob, storeBlob, exportTree, importTree],
  Tokens: [createToken, listTokens, renewToken, revokeToken, createLink, createTicket],
  Upkeep: [usage, collect, forget],
  Server: [health, ready, status, metrics, stop, openapi, docs],
} as const satisfies Readonly<Record<string, readonly RequestSpec[]>>

/** The name of a request of the table. */
export type RequestName = (typeof requestGroups)[keyof typeof requestGroups][number]['name']

/** All requests, by name. */
export const requests: ReadonlyMap<string, RequestSpec> = new Map(
  Object.values(requestGroups)
    .flat()
    .map((spec) => [spec.name, spec]),
)
