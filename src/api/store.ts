/** All that a program has of Tailrace. See rfc/6, rfc/9, rfc/11 and rfc/12. */

import type { ConnectionState } from './connect.js'
import type { Eventlog } from './event.js'
import type { Jobs } from './job.js'
import type { Entry, Kvs, ReadScope, UpdateOptions } from './kvs.js'
import type { Leases } from './lease.js'
import type { CommittedOp, Value } from './transaction.js'

/** `open()` gives a store in this process, `connect()` one behind a server. */
export interface Store extends Kvs, AsyncDisposable {
  /** Names the store for as long as it lives: 32 hex digits. */
  readonly storeId: string
  /** Commands that the store runs. */
  readonly jobs: Jobs
  /** Leases of keys, which fence. */
  readonly leases: Leases
  /** The events of a key. Reads nothing. */
  eventlog(key: string, options?: { readonly namespace?: string }): Eventlog
  /** A value and its ref, read together. Undefined where the key is not there. Throws as `get`. */
  entry(key: string, options?: ReadScope): Promise<Entry | undefined>
  /** Puts what `change` makes of the value (undefined: the key is not there). It is asked again where somebody else
   *  changed the key meanwhile, so no change gets lost. Nothing is written where it gives undefined. Throws ECONFLICT
   *  (somebody else was faster 1,000 times), what `change` throws, and as `put`.
   *
   *      await store.update('counter', (value) => String(Number(decode(value) ?? 0) + 1))
   */
  update(
    key: string,
    change: (value: Uint8Array | undefined) => Value | undefined | Promise<Value | undefined>,
    options?: UpdateOptions,
  ): Promise<CommittedOp | undefined>
  /** Ends what waits with ECLOSED and closes the store, as leaving an `await using` does. Idempotent. */
  close(): Promise<void>
}

/** A store behind a server. */
export interface RemoteStore extends Store {
  /** Whether the server answers. */
  readonly connection: ConnectionState
}
