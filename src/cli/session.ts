/** The store of a command line: the server that it names, a client of it, and the time that the
 *  command has. See rfc/13.
 *  Invariant: a token of this machine's data directory is sent to this machine only. A command with
 *  `--timeout` ends at most twice `graceMs` after that time, whatever it waits for, and a write
 *  that may have been done is EUNKNOWN, not ETIMEDOUT. */

import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from '../api/store.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { defined } from '../base/shape.js'
import { isCode, TailraceError } from '../error.js'
import { defaultDirectory } from '../local/directory.js'
import { caFor, reachServer, tokenFor } from '../local/local.js'
import type { CommandContext, OptionValues, Variables } from './command.js'
import { MigrationProgress } from './migration-progress.js'
import type { place } from './options.js'
import { BrokenPipe } from './output.js'
import { absolutePath } from './utf8.js'

/** The time in which a late command ends what it started, and says what became of a write, in
 *  ms. */
const graceMs = 1_000

/** A call of a command that asks a store. */
export type PlaceCall = CommandContext & { readonly options: OptionValues<typeof place> }

/** The address of a server, and the token that it asks for. */
export type ServerAddress = {
  /** `http://…`, `https://…` or `unix:/path`. */
  readonly url: string
  readonly token?: string
  /** The certificates of those who may vouch for it, in PEM. */
  readonly ca?: Buffer
}

/** Returns the absolute path of the data directory (rfc/13, rule 2). */
export function dataDirectory(option: string | undefined, variables: Variables): string {
  return absolutePath(option ?? defaultDirectory(variables))
}

/** Returns the server that the command line or the environment names; undefined means that of the
 *  data directory. */
export async function namedServer({
  options,
  environment,
}: {
  readonly options: Pick<PlaceCall['options'], 'data' | 'url'>
  readonly environment: Variables
}): Promise<ServerAddress | undefined> {
  const named = options.data ? undefined : environment.TAILRACE_URL
  const url = options.url ?? named
  if (!url) return undefined
  const token =
    environment.TAILRACE_TOKEN || (await tokenFor(url, dataDirectory(options.data, environment)))
  const ca = await caFor(url, environment.TAILRACE_CA)
  return { url, ...(token ? { token } : {}), ...defined({ ca }) }
}

/** Opens the store, uses it and closes it, all within `--timeout` if there is one. */
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

/** Opens the store for a command that follows a key. Other than withStore it ends as soon as the
 *  reader of stdout has gone, even while there is nothing to print. */
export async function followStore<T>(
  call: PlaceCall,
  use: (store: Store, limit: TimeLimit) => Promise<T>,
): Promise<T> {
  return withStore(call, (store, limit) => call.stdout.whileRead(use(store, limit)))
}

/** Connects to the server of the command line, and starts that of the data directory where none
 *  runs. */
async function openStore(call: PlaceCall, { ms }: TimeLimit): Promise<Store> {
  const { connect } = await import('../client/node.js')
  const named = await namedServer(call)
  const bound = ms === undefined ? {} : { timeoutMs: ms }
  if (named) {
    const { url, ...credentials } = named
    return connect(url, { ...bound, ...credentials })
  }
  const directory = dataDirectory(call.options.data, call.environment)
  // A local server that goes away was stopped, so no other one is waited for.
  await using migration = new MigrationProgress(call.stderr)
  const onMigration = (done: number, total: number) => migration.show(done, total)
  const store = await reachServer(directory, { existing: !call.makesStore, onMigration }, (url) =>
    connect(url, { ...bound, reconnect: false }),
  )
  await migration.end()
  return store
}

/** The time that a command may take in all (`--timeout`). */
export class TimeLimit {
  /** The bound in ms. Undefined means that the command has none, and its requests have that of the
   *  client. */
  readonly ms: number | undefined
  readonly #ends: (() => Promise<unknown>)[] = []
  #passed = false

  constructor(ms: number | undefined) {
    this.ms = ms
  }

  /** Registers work to do when the time is over; what was registered last is done first. */
  atEnd(end: () => Promise<unknown>): void {
    this.#ends.unshift(end)
  }

  /** Runs `use` within the bound. Throws ETIMEDOUT where it takes too long, and what `use`
   *  throws. */
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
    // The work that was ended reports first, since it knows whether a write may have been done.
    await delay(graceMs)
    late.reject(this.#error())
  }

  #error(): TailraceError {
    return new TailraceError('ETIMEDOUT', `the command took longer than ${this.ms} ms (--timeout)`)
  }
}
