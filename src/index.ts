/** The public surface of `tailrace`: a store in this process, and what its calls take and give.
 *  Re-exports only. */

export type { Environment } from './base/environment.js'
export type { Limits } from './base/limits.js'
export type { TerminalSize } from './base/posix.js'
export type { Blobref } from './blob/blobref.js'
export type { GarbageBounds } from './collect/collect.js'
export { type Code, codes, type Failed, isCode, TailraceError } from './error.js'
export { type Verified, verifyExport } from './export/verify.js'
export type * from './fsck/report.js'
export type * from './job/job.js'
export type * from './kvs/history.js'
export type * from './kvs/kvs.js'
export type * from './kvs/upkeep.js'
export type * from './kvs/watching.js'
export {
  type CheckStoreOptions,
  checkStore,
  type EmbeddedStore,
  type OpenOptions,
  open,
} from './open.js'
export type * from './transaction/operation.js'
export type { Settings, SettingsChange } from './transaction/settings.js'
export type { Stat } from './transaction/stat.js'
export type { TreeobjJson } from './tree/json.js'
