/** The store, as a program uses it. See rfc/6, rfc/9, rfc/11 and rfc/12. */

import type { AccessTokens } from './access.js'
import type { ConnectionState } from './connect.js'
import type { Eventlog } from './event.js'
import type { Jobs } from './job.js'
import type { Entry, Kvs, ReadScope, UpdateOptions } from './kvs.js'
import type { Leases } from './lease.js'
import type { CommittedOp, Value } from './transaction.js'

/** A store: `open()` gives one in this process, `connect()` one behind a server. */
export interface Store extends Kvs, AsyncDisposable {
  /** The id of the store, 32 hex digits, which it keeps for as long as it lives. */
  readonly storeId: string
  /** Commands that the store runs. */
  readonly jobs: Jobs
  /** Leases of keys, with fencing tokens. */
  readonly leases: Leases
  /** Access tokens, with which others reach the store over its server. */
  readonly tokens: AccessTokens
  /** Returns the eventlog of a key, without a look at the key. */
  eventlog(key: string, options?: { readonly namespace?: string }): Eventlog
  /** Reads a value and its stat at one root. Undefined where the key is not there. Throws
   *  what `get` throws. */
  entry(key: string, options?: ReadScope): Promise<Entry | undefined>
  /** Puts the value that `change` makes of the present one, which is undefined where the key is not
   *  there. If somebody else changes the key meanwhile, `change` is called again with the new
   *  value, so that no change gets lost. If `change` returns undefined, nothing is written. Throws
   *  ECONFLICT (somebody else was faster 1,000 times), what `change` throws, and what `put` throws.
   *
   *      await store.update('counter', (value) => String(Number(decode(value) ?? 0) + 1))
   */
  update(
    key: string,
    change: (value: Uint8Array | undefined) => Value | undefined | Promise<Value | undefined>,
    options?: UpdateOptions,
  ): Promise<CommittedOp | undefined>
  /** Closes the store, as leaving an `await using` does. Calls that wait end with
   *  ECLOSED. Idempotent. */
  close(): Promise<void>
}

/** A store behind a server. */
export interface RemoteStore extends Store {
  /** The state of the connection to the server. */
  readonly connection: ConnectionState
}
