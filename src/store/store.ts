/** A store as programs have it, made of a Kvs, jobs and what closes them: the same embedded and over a server. See
 *  rfc/2, rule 11.
 *  Invariant: what a program hands over is checked before anything is done. */

import type { Jobs } from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import { checkedKvs } from './checked.js'
import { openEventlog } from './eventlog.js'
import { leasesOf } from './lease.js'
import { entryOf, update } from './update.js'

export type StoreParts = {
  readonly kvs: Kvs
  readonly jobs: Jobs
  /** Idempotent. */
  readonly close: () => Promise<void>
}

/** All of a store but its id, which a client learns late. */
export function storeOf({ kvs, jobs, close }: StoreParts): Omit<Store, 'storeId'> {
  const checked = checkedKvs(kvs)
  return {
    ...checked,
    jobs,
    leases: leasesOf(checked),
    eventlog: (key, { namespace = primary } = {}) => openEventlog(checked, key, namespace),
    entry: (key, options) => entryOf(checked, key, options),
    update: (key, change, options) => update(checked, key, change, options),
    close,
    [Symbol.asyncDispose]: close,
  }
}
