/** What the tests of the client run against: a real server over a real store (in memory), where it is asked for with a
 *  proxy before it and a client that comes through the proxy. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConnectOptions } from '../../src/api/connect.js'
import type { Kvs } from '../../src/api/kvs.js'
import type { Store } from '../../src/api/store.js'
import { connect } from '../../src/client/node.js'
import { type EmbeddedStore, type OpenOptions, open } from '../../src/open.js'
import { type Server, type ServerOptions, startServer } from '../../src/server/server.js'
import { refusal } from '../kvs/expect.js'
import { CuttingProxy } from './cutting-proxy.js'
import { LyingProxy } from './lying-proxy.js'

export type Serving = AsyncDisposable & {
  readonly store: EmbeddedStore
  readonly server: Server
  readonly directory: string
  /** `unix:/path/to.sock` */
  readonly target: string
}

export async function serve(
  options: Partial<ServerOptions> = {},
  storeOptions: OpenOptions = {},
): Promise<Serving> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-client-'))
  const store = await open(storeOptions)
  const server = await startServer(store, { directory, log: () => {}, ...options })
  return {
    store,
    server,
    directory,
    target: `unix:${server.socket}`,
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await store[Symbol.asyncDispose]()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A client of a server of its own, for a contract. `requests`: the way of its small requests. */
export async function makeServed(requests: 'socket' | 'http') {
  const serving = await serve()
  const kvs = await connect(serving.target, { requests })
  if (requests === 'socket') await openSocket(kvs)
  return {
    kvs,
    close: async () => {
      await kvs[Symbol.asyncDispose]()
      await serving[Symbol.asyncDispose]()
    },
  }
}

/** A backoff that no test has to wait for. */
export const fast = { minMs: 1, maxMs: 20 }

/** A server, a proxy before it, and a client that comes through the proxy. */
export type Served<Proxy> = {
  readonly serving: Serving
  readonly store: EmbeddedStore
  readonly proxy: Proxy
  readonly client: Store
  /** Ends all three. A `beforeEach` that returns it has it called after the test. */
  readonly end: () => Promise<void>
}

type ServedOptions = ConnectOptions & { readonly server?: Partial<ServerOptions> }

export function serveCutting(options: ServedOptions = {}): Promise<Served<CuttingProxy>> {
  return serveThrough(options, ({ directory, server }) =>
    CuttingProxy.start(directory, server.socket),
  )
}

export function serveLying(options: ServedOptions = {}): Promise<Served<LyingProxy>> {
  return serveThrough(options, ({ server }) => LyingProxy.start(server.socket))
}

async function serveThrough<Proxy extends AsyncDisposable & { readonly target: string }>(
  { server, ...options }: ServedOptions,
  start: (serving: Serving) => Promise<Proxy>,
): Promise<Served<Proxy>> {
  const serving = await serve(server)
  const proxy = await start(serving)
  const client = await connect(proxy.target, { reconnect: fast, ...options })
  const end = async () => {
    await client[Symbol.asyncDispose]()
    await proxy[Symbol.asyncDispose]()
    await serving[Symbol.asyncDispose]()
  }
  return { serving, store: serving.store, proxy, client, end }
}

/** Opens the websocket of a client, so that its small requests go there from now on. */
export async function openSocket(client: Kvs): Promise<void> {
  await refusal(client.watch('none', { mode: 'value' }).next())
}
