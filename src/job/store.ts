/** The store as the runner of its jobs has it. See rfc/11. */

import type { Kvs } from '../api/kvs.js'
import type { Settings } from '../api/namespace.js'

/** A store as the runner of its jobs has it. It may write to the namespace `jobs`. */
export type JobKvs = Kvs & {
  /** Settings of the namespace `jobs`. */
  settings(): Promise<Settings>
  /** Takes keys of the namespace `jobs`, and all below them, away with the namespace's history; with `pins`
   *  out of its pins too. A key that is not there is no error. */
  discard(keys: readonly string[], options: { readonly pins: boolean }): Promise<void>
}
