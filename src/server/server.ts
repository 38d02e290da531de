/** The server: it serves a store over HTTP and websockets, on a Unix socket and, if asked, on TCP.
 *  See rfc/12 and rfc/13.
 *  Invariant: `server.json` exists from the moment that the server listens until its last
 *  connection has ended. A stop waits for jobs as the options say, ends every wait with ECLOSED, lets
 *  other requests run on for `lingerMs`, and then ends every connection. The caller closes the
 *  store. */

import { readFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { eitherSignal } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { type Environment, systemEnvironment } from '../base/environment.js'
import { type FileIdentity, fileIdentity } from '../base/file-identity.js'
import { processStart } from '../base/processes.js'
import { checkFormat } from '../engine/format-file.js'
import {
  ensureToken,
  prepareDirectory,
  removeServerRecord,
  type ServerRecord,
  socketPathOf,
  writeServerRecord,
} from '../local/directory.js'
import type { Address } from './access.js'
import { Activity } from './activity.js'
import { allRoutes } from './all-routes.js'
import { Backlogs } from './backlogs.js'
import { BodyBudget } from './body-budget.js'
import type { OwnedStore, ServerContext, StopOptions } from './context.js'
import { EventFrames } from './event-frames.js'
import { walksMax } from './history.js'
import { longReadsMax } from './key-calls.js'
import { checkListen, Listeners, type ListenOptions } from './listeners.js'
import { Log, type LogLines } from './log.js'
import { Meters } from './meters.js'
import type { Metrics } from './metrics.js'
import { Pace } from './pace.js'
import { Principals } from './principals.js'
import { RequestIds } from './request-ids.js'
import { lingerMs, Sockets } from './sockets.js'
import { Traces } from './traces.js'
import { Turns } from './turns.js'

export { checkListen, checkSocket } from './listeners.js'

/** The idle time after which a server with `--idle-exit` stops if none is given, in ms. */
export const idleExitMsDefault = 5 * 60_000

/** The options of a server. */
export type ServerOptions = ListenOptions & {
  /** The data directory. It is made if it does not exist. REQUIRES: this process has its store
   *  open. */
  readonly directory: string
  /** The time without a request or a websocket after which the server stops by itself, in ms. It
   *  does not stop while a job waits or runs, a lease is held or a collection runs. Default:
   *  never. */
  readonly idleExitMs?: number
  /** The time for which a stop waits for the jobs that run, or wait for a place, in ms; the server goes on
   *  meanwhile, but takes no more jobs. Default 0: it ends them. */
  readonly stopJobsMs?: number
  /** Writes a line, given without line end, to the log. It never throws. Default: to standard
   *  error. */
  readonly log?: (line: string) => void
  /** The lines of the log, and their form. */
  readonly logging?: LogLines
  readonly environment?: Environment
}

/** A server that runs. */
export interface Server extends AsyncDisposable {
  /** The path of the Unix socket. */
  readonly socket: string
  /** Each TCP address as `HOST:PORT`, with its actual port. */
  readonly listen: readonly string[]
  /** The addresses besides `socket`, as `connect` takes them: `http://HOST:PORT`, `https://HOST:PORT`,
   *  `unix:/path`. */
  readonly urls: readonly string[]
  /** The token that clients over TCP send. */
  readonly token: string
  /** The contents of `server.json`. */
  readonly record: ServerRecord
  /** Resolves when the server has ended, with the reason: `stopped` (`stop`, here or as a request)
   *  or `idle`. Never rejects. */
  readonly ended: Promise<'stopped' | 'idle'>
  readonly log: Log
  /** Stops the server, and resolves when it has ended. Idempotent. A later call with `now` ends the wait
   *  for jobs. */
  stop(options?: StopOptions): Promise<void>
  /** Takes other names and origins for the requests from now on, and reads the files of the
   *  certificate again: a pair that does not fit changes nothing, and is logged. Never rejects. */
  reload(changes: Required<Pick<ServerOptions, 'allowHosts' | 'allowOrigins'>>): Promise<void>
}

/** Starts a server, and resolves once it listens on all addresses. Throws EINVAL (an address cannot
 *  be parsed), EMISCONFIGURED (an address is not a loopback address and `insecureListen` is not
 *  set, the directory belongs to another store, or the certificate cannot be used), EBUSY (an address
 *  is in use), EPERM. */
export async function startServer(store: OwnedStore, options: ServerOptions): Promise<Server> {
  const addresses = checkListen(options)
  const directory = await prepareDirectory(options.directory)
  await checkFormat(directory, store.storeId)
  const token = await ensureToken(directory)
  await store.tokenBook.load()
  // The directory stays open while the server runs. So if it is removed, no other directory gets
  // its inode, and its identity stays true.
  const handle = await open(directory)
  try {
    const identity = await fileIdentity(directory)
    const server = new RunningServer(store, options, { directory, handle, identity, token })
    await server.start(addresses)
    return server
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** The data directory of a server. */
type Local = {
  readonly directory: string
  readonly handle: FileHandle
  readonly identity: FileIdentity
  readonly token: string
}

class RunningServer implements Server {
  readonly token: string
  readonly ended: Promise<'stopped' | 'idle'>
  readonly #store: OwnedStore
  readonly #options: ServerOptions
  readonly #context: ServerContext
  readonly #principals: Principals
  readonly #sockets = new Sockets()
  readonly #end = deferred<'stopped' | 'idle'>()
  readonly #listeners: Listeners
  readonly #handle: FileHandle
  #record: ServerRecord
  /** Ends the notes of places in traces. */
  readonly #noting: Disposable
  /** Made at the first look. */
  #metrics: Promise<Metrics> | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #stopping: Promise<void> | undefined
  /** Aborted when a stop waits for nothing any more. */
  readonly #hurry = new AbortController()

  constructor(store: OwnedStore, options: ServerOptions, local: Local) {
    const { environment = systemEnvironment, log = logToStandardError, logging } = options
    this.#store = store
    this.#options = options
    this.token = local.token
    this.ended = this.#end.promise
    const context = {
      activity: new Activity(environment.monotonic),
      pace: new Pace(),
      requestPace: new Pace('requests'),
      walks: new Turns(walksMax),
      bodies: new BodyBudget(environment.monotonic),
      backlogs: new Backlogs(environment.monotonic),
      longReads: new Turns(longReadsMax),
      events: new EventFrames(),
      environment,
      version: versionOf(),
      directory: local.directory,
      started: environment.now(),
      listen: () => this.listen,
      urls: () => this.urls,
      connections: () => this.#sockets.count,
      backlog: () => this.#sockets.backlog,
      unready: () => this.#unready(),
      metrics: () => this.#metricsText(),
      stop: (how: StopOptions) => void this.stop(how),
      log: new Log(log, environment, logging),
      requestIds: new RequestIds(environment.now()),
      meters: new Meters(environment.monotonic),
      traces: new Traces(),
    }
    this.#principals = new Principals({
      ...{ context, store, token: local.token, tokens: store.tokenBook },
      limitedTo: (grants) => store.limitedTo(grants),
    })
    this.#context = this.#principals.contextOf(this.#principals.owner)
    const { traces } = context
    this.#noting = store.figures.onCommitted(({ traced }) => {
      for (const transaction of traced) traces.note(transaction)
    })
    const routes = allRoutes(context)
    this.#listeners = new Listeners({
      ...{ options, context: this.#context, principals: this.#principals },
      routes,
      serveSockets: (created) => this.#sockets.serve(created, this.#principals, routes),
    })
    const { version, started } = context
    const { pid } = process
    const { storeId } = store
    const { identity } = local
    this.#handle = local.handle
    this.#record = {
      ...{ pid, startTime: '', socket: '', listen: [], urls: [], version, storeId, started },
      directory: identity,
    }
  }

  get log(): Log {
    return this.#context.log
  }

  get socket(): string {
    return this.#record.socket
  }

  get listen(): readonly string[] {
    return this.#listeners.listen
  }

  get urls(): readonly string[] {
    return this.#listeners.urls
  }

  get record(): ServerRecord {
    return this.#record
  }

  async start(addresses: readonly Address[]): Promise<void> {
    const { directory } = this.#context
    try {
      const socket = await socketPathOf(directory)
      await this.#listeners.open(socket, addresses)
      // The record has only the clock ticks of the start, not the id of the boot.
      const startTime = processStart(process.pid)?.split('.')[1] ?? ''
      this.#record = { ...this.#record, startTime, socket, listen: this.listen, urls: this.urls }
      await writeServerRecord(directory, this.#record)
    } catch (error) {
      await this.stop()
      throw error
    }
    this.#armIdleTimer()
  }

  stop({ now = false }: StopOptions = {}): Promise<void> {
    if (now) this.#hurry.abort()
    return this.#stop('stopped')
  }

  reload(changes: Pick<ServerOptions, 'allowHosts' | 'allowOrigins'>): Promise<void> {
    return this.#listeners.reload(changes)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #stop(reason: 'stopped' | 'idle'): Promise<void> {
    this.#stopping ??= this.#close().finally(() => this.#end.resolve(reason))
    return this.#stopping
  }

  async #close(): Promise<void> {
    const { activity, directory, log } = this.#context
    clearTimeout(this.#idleTimer)
    await this.#drainJobs()
    this.#listeners.rest()
    activity.close()
    await this.#sockets.close()
    await activity.finished(lingerMs)
    await this.#listeners.close()
    this.#principals[Symbol.dispose]()
    this.#noting[Symbol.dispose]()
    ;(await this.#metrics)?.[Symbol.dispose]()
    log.close()
    // The socket and the record go last: until then a command finds this server and can ask it.
    await this.#listeners.removeFiles()
    await removeServerRecord(directory, this.#record)
    await this.#handle.close()
  }

  /** Waits for jobs as the options say. Never throws. */
  async #drainJobs(): Promise<void> {
    const { stopJobsMs = 0 } = this.#options
    const { activity, store, log } = this.#context
    if (stopJobsMs === 0 || this.#hurry.signal.aborted) return
    const { running, waiting } = store.jobs
    const either = eitherSignal(this.#hurry.signal, AbortSignal.timeout(stopJobsMs))
    const drained = this.#store.drainJobs(either.signal).finally(either.end)
    if (running + waiting === 0) return drained
    log.line(`waits up to ${stopJobsMs} ms for ${running} jobs that run, ${waiting} that wait`)
    await drained
    // Clients that follow the last job still have its end to read.
    if (!this.#hurry.signal.aborted) await activity.finished(lingerMs)
  }

  #unready(): string | undefined {
    if (this.#stopping) return 'the server is stopping'
    if (this.#store.figures.broken)
      return 'a write has failed, and the store is read-only: see the log'
    return undefined
  }

  async #metricsText(): Promise<string> {
    const { figures, upkeep } = this.#store
    const { meters, activity, backlogs, version, directory, started, environment } = this.#context
    this.#metrics ??= import('./metrics.js').then(
      ({ Metrics }) =>
        new Metrics({
          ...{ figures, meters, version, directory, started },
          timer: environment.timer,
          usage: () => upkeep.usage(),
          now: {
            requests: () => activity.requests,
            watchers: () => activity.watchers,
            behind: () => this.#sockets.behind,
            websockets: () => this.#sockets.count,
            backlog: () => this.#sockets.backlog,
            unread: () => backlogs.size,
          },
        }),
    )
    return (await this.#metrics).text()
  }

  /** Starts the idle timer. It fires at the earliest moment at which the server can have been idle
   *  for long enough. */
  #armIdleTimer(): void {
    const { idleExitMs } = this.#options
    if (idleExitMs === undefined) return
    const { activity, store, log } = this.#context
    const rest = idleExitMs - activity.idleMs
    this.#idleTimer = setTimeout(
      () => {
        // A server that has stopped takes no renewals of leases, and nobody learns that one has
        // ended before the next start.
        const holds = store.collecting || store.leasesHeld > 0
        const busy = holds || store.jobs.running + store.jobs.waiting > 0
        if (busy || activity.idleMs < idleExitMs) {
          this.#armIdleTimer()
          return
        }
        log.line(`idle for ${idleExitMs} ms: the server ends`)
        void this.#stop('idle')
      },
      rest > 0 ? rest : idleExitMs,
    ).unref()
  }
}

function versionOf(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}

function logToStandardError(line: string): void {
  process.stderr.write(`${line}\n`)
}
