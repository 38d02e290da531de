/** The interface of the store that the runner of jobs uses. See rfc/11. */

import type { Kvs } from '../api/kvs.js'
import type { Settings } from '../api/namespace.js'

/** A store that may write to the namespace `jobs`. */
export type JobKvs = Kvs & {
  /** Returns the settings of the namespace `jobs`. */
  settings(): Promise<Settings>
  /** Removes keys of the namespace `jobs`, all below them, and the namespace's history; with
   *  `pins`, removes the keys from its pins too. A key that is not there is no error. */
  discard(keys: readonly string[], options: { readonly pins: boolean }): Promise<void>
}
