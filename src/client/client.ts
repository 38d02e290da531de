/** A store behind a server: `Kvs` and `Jobs` over HTTP, watches over one websocket. This is the
 *  part that Node and browsers share; `node.ts` and `web.ts` bring the transport. See rfc/12.
 *  Invariant: each call answers as the embedded store would. The client caches nothing of the
 *  store. */

import { type Backoff, type ConnectOptions, timeoutMsDefault } from '../api/connect.js'
import type { Jobs } from '../api/job.js'
import type {
  AppendOptions,
  AppendProducer,
  CommitOptions,
  Kvs,
  Listing,
  ListOptions,
  ProducerOptions,
  PutOptions,
  Reading,
  ReadOptions,
  ReadScope,
  RootOptions,
  RootView,
  Stat,
  StatOptions,
  TreeobjOptions,
} from '../api/kvs.js'
import type { RemoteStore } from '../api/store.js'
import type { Committed, CommittedOp, Transaction, Value } from '../api/transaction.js'
import type { Watching, WatchOptions } from '../api/watch.js'
import { eitherSignal } from '../base/abort.js'
import { randomId } from '../base/random-id.js'
import {
  bytes,
  checkOptions,
  checkValue,
  count,
  either,
  flag,
  oneOf,
  shapeOf,
  signal,
  text,
  waitMs,
  within,
} from '../base/shape.js'
import { startTimer } from '../base/timer.js'
import { TailraceError } from '../error.js'
import { openProducer } from '../store/producer.js'
import type { Renew } from '../store/renewal.js'
import { storeOf } from '../store/store.js'
import type { TreeobjJson } from '../treeobj/treeobj.js'
import { creditDefault, creditMax } from '../wire/frames.js'
import { backoffDefault } from './backoff.js'
import { RemoteBlobs } from './blobs.js'
import { Connection } from './connection.js'
import { RemoteHistory } from './history.js'
import { Http } from './http.js'
import { RemoteJobs } from './jobs.js'
import { RemoteNamespaces } from './namespaces.js'
import { Reachability } from './reachability.js'
import { RemoteReads } from './reads.js'
import { Road } from './road.js'
import { RemoteTokens } from './tokens.js'
import type { Transport } from './transport.js'
import { RemoteUpkeep } from './upkeep.js'
import { RemoteWatch } from './watch.js'
import { RemoteWrites } from './writes.js'

const connects = shapeOf<ConnectOptions>({
  token: text,
  ca: either(text, bytes),
  storeId: text,
  reconnect: either(
    flag,
    within(shapeOf<Backoff>({ minMs: waitMs, maxMs: waitMs }, ['minMs', 'maxMs'])),
  ),
  timeoutMs: waitMs,
  requests: oneOf('socket', 'http'),
  credit: {
    is: (value) => count.is(value) && value !== 0 && Number(value) <= creditMax,
    expected: `a whole number of bytes, 1 to ${creditMax}`,
  },
  signal,
})

/** Checks the arguments of `connect`. Throws EINVAL. */
export function checkConnect(target: string, options: ConnectOptions): void {
  checkValue("a server's address", target, text)
  checkOptions(options, connects)
}

/** Opens a client. Without `storeId` it first asks the server for the id of its store. If that
 *  fails, it disposes the transport and throws what `connect` says. `keeper`: renews the client's
 *  leases, where the platform has something better than this event loop. */
export async function openClient(
  transport: Transport,
  options: ConnectOptions,
  random: () => number,
  keeper?: LeaseKeeper,
): Promise<RemoteStore> {
  const client = new Client(transport, options, random)
  try {
    await client.open(options)
    return checkedStore(client, keeper)
  } catch (error) {
    await client.close()
    throw error
  }
}

function checkedStore(client: Client, keeper: LeaseKeeper | undefined): RemoteStore {
  const close = async () => {
    keeper?.close()
    await client.close()
  }
  const renew = keeper?.renewing(client, () => client.storeId)
  return {
    ...storeOf({ kvs: client, jobs: client.jobs, tokens: client.tokens, close, renew }),
    connection: client.connection,
    get storeId() {
      return client.storeId
    },
  }
}

/** Renews the leases of a client outside of its event loop. */
export type LeaseKeeper = {
  /** Returns what renews the leases of a client. `storeId` is called with the first lease. */
  readonly renewing: (kvs: Kvs, storeId: () => string) => Renew
  /** Ends all renewals. Idempotent. */
  readonly close: () => void
}

class Client implements Kvs {
  readonly history: RemoteHistory
  readonly namespaces: RemoteNamespaces
  readonly upkeep: RemoteUpkeep
  readonly blobs: RemoteBlobs
  readonly jobs: Jobs
  readonly tokens: RemoteTokens
  readonly connection: Reachability
  readonly #transport: Transport
  readonly #http: Http
  readonly #socket: Connection
  readonly #credit: number
  readonly #road: Road
  readonly #writes: RemoteWrites
  readonly #reads: RemoteReads

  /** Takes `random`, which returns numbers in [0, 1), for jitter. REQUIRES: `open` is called
   *  first. */
  constructor(transport: Transport, options: ConnectOptions, random: () => number) {
    const backoff = typeof options.reconnect === 'object' ? options.reconnect : backoffDefault
    const reconnect = options.reconnect !== false
    const { token, storeId, timeoutMs = timeoutMsDefault } = options
    this.#transport = transport
    this.connection = new Reachability(Date.now)
    const reached = (online: boolean) => this.connection.set(online)
    const asking = { token, storeId, reconnect, backoff, random, timeoutMs, reached }
    this.#http = new Http(transport, asking)
    this.#socket = new Connection(transport, this.#http, {
      token,
      reconnect,
      backoff,
      random,
      timeoutMs,
      reached,
    })
    this.#credit = options.credit ?? creditDefault
    const { tracing } = transport
    const enabled = options.requests !== 'http'
    const road = new Road(this.#http, this.#socket, { enabled, tracing })
    this.#road = road
    this.#writes = new RemoteWrites(this.#http, road, { backoff, random, newId: randomId })
    this.#reads = new RemoteReads(this.#http, road)
    this.history = new RemoteHistory(road)
    this.namespaces = new RemoteNamespaces(road)
    this.upkeep = new RemoteUpkeep(this.#http, road)
    this.blobs = new RemoteBlobs(this.#http)
    this.jobs = new RemoteJobs(this.#http, road, this)
    this.tokens = new RemoteTokens(road)
  }

  get storeId(): string {
    return this.#http.storeId
  }

  /** Asks the server for the id of its store, unless `storeId` is given. Throws ECLOSED if no
   *  server answers, ETIMEDOUT if none does within `timeoutMs`, EMISCONFIGURED, ECANCELED. */
  async open({ storeId, signal, timeoutMs = timeoutMsDefault }: ConnectOptions): Promise<void> {
    if (storeId !== undefined) return
    const late = new AbortController()
    const stopTimer = startTimer(timeoutMs, () => late.abort(this.#late(timeoutMs)))
    const either = eitherSignal(signal, late.signal)
    try {
      await this.#http.check(either.signal)
    } finally {
      either.end()
      stopTimer()
    }
  }

  commit(transaction: Transaction, options?: CommitOptions): Promise<Committed> {
    return this.#writes.commit(transaction, options)
  }

  put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<CommittedOp> {
    return this.#writes.put(key, value, options)
  }

  append(key: string, value: Value, options?: AppendOptions): Promise<CommittedOp> {
    return this.#writes.append(key, value, options)
  }

  producer(key: string, options: ProducerOptions = {}): Promise<AppendProducer> {
    const commit = (transaction: Transaction, scope?: CommitOptions) =>
      this.#writes.commit(transaction, scope)
    return openProducer(commit, key, options, randomId)
  }

  get(key: string, options?: ReadScope): Promise<Uint8Array | undefined> {
    return this.#reads.get(key, options)
  }

  read(key: string, options?: ReadOptions): Promise<Reading | undefined> {
    return this.#reads.read(key, options)
  }

  stat(key: string, options?: StatOptions): Promise<Stat | undefined> {
    return this.#reads.stat(key, options)
  }

  treeobj(key: string, options?: TreeobjOptions): Promise<TreeobjJson | undefined> {
    return this.#reads.treeobj(key, options)
  }

  list(key: string, options?: ListOptions): Promise<Listing> {
    return this.#reads.list(key, options)
  }

  readMany(
    keys: readonly string[],
    options?: ReadScope,
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }> {
    return this.#reads.readMany(keys, options)
  }

  root(options?: RootOptions): Promise<RootView> {
    return this.#reads.root(options)
  }

  watch(key: string, options: WatchOptions): Watching {
    return new RemoteWatch(this.#socket, key, options, this.#credit)
  }

  #late(timeoutMs: number): TailraceError {
    const message = `no server answered at ${this.#transport.name} within ${timeoutMs} ms`
    return new TailraceError('ETIMEDOUT', message)
  }

  /** Ends watches and requests with ECLOSED, and writes that were sent with EUNKNOWN.
   *  Idempotent. */
  async close(): Promise<void> {
    this.connection.end()
    this.#http.dispose()
    this.#writes.dispose()
    this.#road.dispose()
    await this.#socket.dispose()
    this.#transport.dispose()
  }
}
