/** The public API of `tailrace`: a store in this process, a store behind a server, and the types of
 *  their calls. Re-exports only. */

export * from './api/api.js'
export type { Environment } from './base/environment.js'
export { openCache } from './cache/cache.js'
export { connect } from './client/node.js'
export type { GarbageBounds } from './collect/collect.js'
export { type Verified, verifyExport } from './export/verify.js'
export {
  type CheckStoreOptions,
  checkStore,
  type EmbeddedStore,
  type OpenOptions,
  open,
} from './open.js'
export { newTimings, openValues } from './value/values.js'
