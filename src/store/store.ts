/** Makes the `Store` of a program from a `Kvs` and jobs, embedded and over a server alike. See
 *  rfc/2, rule 11.
 *  Invariant: the arguments of each call are checked before anything is done. */

import type { AccessTokens } from '../api/access.js'
import type { Jobs } from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import { checkedKvs, checkedTokens } from './checked.js'
import { openEventlog } from './eventlog.js'
import { leasesOf } from './lease.js'
import { type Renew, renewInLoop } from './renewal.js'
import { entryOf, update } from './update.js'

type StoreParts = {
  readonly kvs: Kvs
  readonly jobs: Jobs
  readonly tokens: AccessTokens
  /** Closes all of them. Idempotent. */
  readonly close: () => Promise<void>
  /** Renews leases; by default that happens in this event loop. */
  readonly renew?: Renew | undefined
}

/** Makes a store without its id, which a client may learn later. */
export function storeOf({ kvs, jobs, tokens, close, renew }: StoreParts): Omit<Store, 'storeId'> {
  const checked = checkedKvs(kvs)
  return {
    ...checked,
    jobs,
    leases: leasesOf(checked, renew ?? renewInLoop(checked)),
    tokens: checkedTokens(tokens),
    eventlog: (key, { namespace = primary } = {}) => openEventlog(checked, key, namespace),
    entry: (key, options) => entryOf(checked, key, options),
    update: (key, change, options) => update(checked, key, change, options),
    close,
    [Symbol.asyncDispose]: close,
  }
}
