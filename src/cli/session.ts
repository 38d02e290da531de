/** From a command line to a store: which server is meant, and a client of it. See rfc/13.
 *  Invariant: a token of this machine's data directory is sent to this machine only. */

import type { Store } from '../api/store.js'
import { isCode, TailraceError } from '../error.js'
import { readToken, type ServerRecord } from '../server/local.js'
import type { Invocation } from './invocation.js'
import { dataDirectory, ensureServer, untilEnded } from './local.js'
import { TimeLimit } from './time-limit.js'
import { programVersion } from './version.js'

/** Connects to one server that was found, at most: it may be ending just then. */
const connectsMax = 3

export type Target = {
  /** `http://…` or `unix:/path`. */
  readonly url: string
  readonly token?: string
}

/** The server that the command line or the environment names; undefined: the data directory's. */
export async function namedTarget(invocation: Invocation): Promise<Target | undefined> {
  const { options, environment } = invocation
  const named = options.text('data') ? undefined : environment.TAILRACE_URL
  const url = options.text('url') ?? named
  if (!url) return undefined
  const token = environment.TAILRACE_TOKEN || (await tokenFor(url, invocation))
  return { url, ...(token ? { token } : {}) }
}

export function localTarget(record: ServerRecord): Target {
  return { url: `unix:${record.socket}` }
}

/** Opens the store, runs, closes it; all within `--timeout`, if there is one. */
export async function withStore<T>(
  invocation: Invocation,
  use: (store: Store, limit: TimeLimit) => Promise<T>,
): Promise<T> {
  const limit = new TimeLimit(invocation)
  return limit.bound(async () => {
    await using store = await openStore(invocation, limit)
    limit.atEnd(async () => store[Symbol.asyncDispose]())
    return await use(store, limit)
  })
}

/** Like withStore, for what follows a key: it ends as soon as the reader of stdout has gone, also while there is
 *  nothing to print. */
export async function followStore<T>(
  invocation: Invocation,
  use: (store: Store, limit: TimeLimit) => Promise<T>,
): Promise<T> {
  return withStore(invocation, (store, limit) => invocation.stdout.whileRead(use(store, limit)))
}

async function openStore(invocation: Invocation, { ms }: TimeLimit): Promise<Store> {
  const { connect } = await import('../client/node.js')
  const named = await namedTarget(invocation)
  const bound = ms === undefined ? {} : { timeoutMs: ms }
  if (named) return connect(named.url, { ...bound, ...(named.token && { token: named.token }) })
  const directory = dataDirectory(invocation.options.text('data'), invocation.environment)
  for (let connects = 1; ; connects++) {
    const record = await ensureServer(directory, { existing: !invocation.makesStore })
    checkVersion(record, directory)
    try {
      // A local server that goes away was stopped: nothing is gained by waiting for another.
      const store = await connect(localTarget(record).url, { ...bound, reconnect: false })
      await checkStore(store, record)
      return store
    } catch (error) {
      if (!isCode(error, 'ECLOSED') || connects === connectsMax) throw error
      await untilEnded(directory, record)
    }
  }
}

/** Throws EMISCONFIGURED: one that was started before an upgrade still runs. */
function checkVersion(record: ServerRecord, directory: string): void {
  const version = programVersion()
  if (record.version === version) return
  throw new TailraceError(
    'EMISCONFIGURED',
    `the server on ${directory} is version ${record.version}, this program ${version}: run "tailrace stop", the next command starts one of its own`,
  )
}

/** Throws EMISCONFIGURED: another server listens on that socket. */
async function checkStore(store: Store, record: ServerRecord): Promise<void> {
  if (store.storeId === record.storeId) return
  await store[Symbol.asyncDispose]()
  throw new TailraceError(
    'EMISCONFIGURED',
    `${record.socket} is the socket of another store (${store.storeId}): run "tailrace stop"`,
  )
}

async function tokenFor(url: string, invocation: Invocation): Promise<string | undefined> {
  if (!isLoopback(url)) return undefined
  return readToken(dataDirectory(invocation.options.text('data'), invocation.environment))
}

function isLoopback(url: string): boolean {
  try {
    const { hostname } = new URL(url)
    return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
  } catch {
    return false
  }
}
