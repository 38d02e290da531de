/** A system that benchmarks compare: how its server starts, and how a client of it writes, follows
 *  and reads. Each file beside this one has one of them. */

import type { Store } from '../../src/api/store.js'
import type { PackedValues } from '../../src/api/value.js'

export type SystemId =
  | 'tailrace'
  | 'file'
  | 'redis'
  | 'nats'
  | 'postgres'
  | 'etcd'
  | 'durable-streams'

/** A server that runs. Its end ends its processes. */
export type Started = {
  readonly address: string
  /** The process of a server that has only one. */
  readonly pid?: number
} & AsyncDisposable

/** A client, in whatever process. Every write is durable when it resolves, as the system says it
 *  of itself. */
export type Client = {
  append(key: string, value: Buffer): Promise<unknown>
  /** Gives every byte of the log from its first one, and goes on, until `onData` returns false.
   *  Waits for a log that is not there. */
  follow(key: string, onData: (data: Uint8Array) => boolean): Promise<void>
  /** Reads a log again where the system has a better way than to follow it. */
  replay?(key: string, onData: (data: Uint8Array) => boolean): Promise<void>
  /** Reads the last records of a log that one writer wrote, in one request where the system has
   *  such a request; absent where it has no way. */
  last?(key: string, count: number): Promise<readonly Uint8Array[]>
  put(key: string, value: Buffer): Promise<unknown>
  get(key: string): Promise<Uint8Array | undefined>
  /** Returns the result of an action, which `compute` makes once for all who ask at the same time;
   *  absent where nothing is made for that. */
  cached?(action: string, compute: () => Promise<Buffer>): Promise<Uint8Array>
  /** Our packed values, and the store of this client. */
  readonly packed?: { readonly store: Store; readonly values: PackedValues }
} & AsyncDisposable

/** A system as the table shows it. */
export type Compared<Id extends string> = {
  readonly id: Id
  /** The name in the table. */
  readonly title: string
  /** The state of a write that is acknowledged, or of a result, and what is measured. */
  readonly durability: string
  /** Its version, or why it is not there. */
  found(): { readonly version: string } | { readonly missing: string }
}

export type System = Compared<SystemId> & {
  /** True if it has values that are put and got by key. */
  readonly keyed: boolean
  /** The largest append that lands in the order of the calls, however many one client has in
   *  flight, in bytes; 0 where none does. */
  readonly orderedSizeMax: number
  /** The most watchers that it is asked to have, each on a connection of its own. */
  readonly watchersMax: number
  /** True if many watchers can share one connection. */
  readonly sharedWatches: boolean
  /** Starts a server that keeps all it has in the directory, on what is there. */
  start(directory: string): Promise<Started>
  connect(address: string): Promise<Client>
}
