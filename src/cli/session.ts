/** From a command line to a store: which server is meant, a client of it, and the time that the command has. See
 *  rfc/13.
 *  Invariant: a token of this machine's data directory is sent to this machine only. A command with `--timeout` ends at
 *  the latest `graceMs` twice after it, whatever it waits for, and what may have been done is EUNKNOWN, not ETIMEDOUT. */

import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from '../api/store.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { isCode, TailraceError } from '../error.js'
import { readToken, type ServerRecord } from '../server/local.js'
import type { CommandContext, OptionValues } from './command.js'
import { programVersion } from './installation.js'
import { dataDirectory, ensureServer, untilEnded } from './local.js'
import type { place } from './options.js'
import { BrokenPipe } from './output.js'

/** Connects to one server that was found, at most: it may be ending just then. */
const connectsMax = 3
/** Time for a late command to end what it started, and to say what became of a write. */
const graceMs = 1_000

/** A call of a command that asks a store. */
export type PlaceCall = CommandContext & { readonly options: OptionValues<typeof place> }

export type Target = {
  /** `http://…` or `unix:/path`. */
  readonly url: string
  readonly token?: string
}

/** The server that the command line or the environment names; undefined: the data directory's. */
export async function namedTarget(call: PlaceCall): Promise<Target | undefined> {
  const { options, environment } = call
  const named = options.data ? undefined : environment.TAILRACE_URL
  const url = options.url ?? named
  if (!url) return undefined
  const token = environment.TAILRACE_TOKEN || (await tokenFor(url, call))
  return { url, ...(token ? { token } : {}) }
}

export function localTarget(record: ServerRecord): Target {
  return { url: `unix:${record.socket}` }
}

/** Opens the store, runs, closes it; all within `--timeout`, if there is one. */
export async function withStore<T>(
  call: PlaceCall,
  use: (store: Store, limit: TimeLimit) => Promise<T>,
): Promise<T> {
  const limit = new TimeLimit(call.options.timeout)
  return limit.bound(async () => {
    await using store = await openStore(call, limit)
    limit.atEnd(async () => store[Symbol.asyncDispose]())
    return await use(store, limit)
  })
}

/** Like withStore, for what follows a key: it ends as soon as the reader of stdout has gone, also while there is
 *  nothing to print. */
export async function followStore<T>(
  call: PlaceCall,
  use: (store: Store, limit: TimeLimit) => Promise<T>,
): Promise<T> {
  return withStore(call, (store, limit) => call.stdout.whileRead(use(store, limit)))
}

/** Connects to the server that is meant, and starts the data directory's where none runs. */
async function openStore(call: PlaceCall, { ms }: TimeLimit): Promise<Store> {
  const { connect } = await import('../client/node.js')
  const named = await namedTarget(call)
  const bound = ms === undefined ? {} : { timeoutMs: ms }
  if (named) return connect(named.url, { ...bound, ...(named.token && { token: named.token }) })
  const directory = dataDirectory(call.options.data, call.environment)
  for (let connects = 1; ; connects++) {
    const record = await ensureServer(directory, { existing: !call.makesStore })
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

async function tokenFor(url: string, call: PlaceCall): Promise<string | undefined> {
  if (!isLoopback(url)) return undefined
  return readToken(dataDirectory(call.options.data, call.environment))
}

function isLoopback(url: string): boolean {
  try {
    const { hostname } = new URL(url)
    return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
  } catch {
    return false
  }
}

/** The time that a command may take in all, `--timeout`. */
export class TimeLimit {
  /** Undefined: the command may last, and its requests as long as the client lets them. */
  readonly ms: number | undefined
  readonly #ends: (() => Promise<unknown>)[] = []
  #passed = false

  constructor(ms: number | undefined) {
    this.ms = ms
  }

  /** When the time is over, `end` is run, the last one first. */
  atEnd(end: () => Promise<unknown>): void {
    this.#ends.unshift(end)
  }

  /** Throws ETIMEDOUT where it takes too long, and whatever `use` throws. */
  async bound<T>(use: () => Promise<T>): Promise<T> {
    if (this.ms === undefined) return use()
    const late = deferred<never>()
    const timer = setTimeout(() => void this.#end(late), this.ms)
    try {
      return await Promise.race([use(), late.promise])
    } catch (error) {
      const said = error instanceof BrokenPipe || isCode(error, 'EUNKNOWN')
      throw this.#passed && !said ? this.#error() : error
    } finally {
      clearTimeout(timer)
    }
  }

  async #end(late: Deferred<never>): Promise<void> {
    this.#passed = true
    for (const end of this.#ends) await Promise.race([end().catch(() => {}), delay(graceMs)])
    // The ended work reports first: it knows whether a write may have been done.
    await delay(graceMs)
    late.reject(this.#error())
  }

  #error(): TailraceError {
    return new TailraceError('ETIMEDOUT', `the command took longer than ${this.ms} ms (--timeout)`)
  }
}
