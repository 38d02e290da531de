/** The namespace `jobs`: the keys of a job, and the store with which the runner writes there. See
 *  rfc/11. */

import type { Kvs } from '../api/kvs.js'
import type { Settings } from '../api/namespace.js'
import { mirrored } from './ids.js'

/** The key of a job's spec. */
export const specKey = (id: string) => `${id}/spec`
/** The key of a job's events. */
export const eventsKey = (id: string) => `${id}/events`
/** The key of a job's output. */
export const outputKey = (id: string) => `${id}/output`

/** The directory of jobs without a finish. After a crash the next open reads it, and nothing
 *  else. */
export const activeDirectory = 'active'
/** The key in `active` of a job, which is there from submit to finish. */
export const activeKey = (id: string) => `${activeDirectory}/${id}`

/** The directory of all jobs by mirrored id, so that a listing is newest first. */
export const indexDirectory = 'index'
/** The key of a finished job's view; empty before the finish. */
export const indexKey = (id: string) => `${indexDirectory}/${mirrored(id)}`

/** A store that may write to the namespace `jobs`. */
export type JobKvs = Kvs & {
  /** Returns the settings of the namespace `jobs`. */
  settings(): Promise<Settings>
  /** Removes keys of the namespace `jobs`, all below them, and the namespace's history; with
   *  `pins`, removes the keys from its pins too. A key that is not there is no error. */
  discard(keys: readonly string[], options: { readonly pins: boolean }): Promise<void>
}
