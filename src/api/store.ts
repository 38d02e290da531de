/** All that a program has of Tailrace. See rfc/6, rfc/11 and rfc/12. */

import type { Jobs } from './job.js'
import type { Kvs } from './kvs.js'

/** All that a program has of Tailrace: `open()` gives it embedded, `connect()` over a server. */
export interface Store extends Kvs, AsyncDisposable {
  readonly storeId: string
  readonly jobs: Jobs
}
