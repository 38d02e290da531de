/** The server: a store over HTTP and websockets, on a Unix socket and, when asked, on TCP. See rfc/12
 *  and rfc/13.
 *  Invariant: `server.json` is there from when the server listens until its last connection has ended.
 *  A stop ends what waits with ECLOSED and lets what runs finish for `lingerMs`, then it ends every
 *  connection. The store stays the caller's to close. */

import { readFileSync } from 'node:fs'
import { chmod, type FileHandle, open, rename, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { deferred } from '../base/deferred.js'
import { type Environment, systemEnvironment } from '../base/environment.js'
import { type FileIdentity, fileIdentity, isSameFile } from '../base/file-identity.js'
import { openFilesMax } from '../base/limits.js'
import { processStart } from '../base/processes.js'
import { checkFormat } from '../engine/format-file.js'
import { TailraceError, toTailraceError } from '../error.js'
import {
  ensureToken,
  prepareDirectory,
  removeServerRecord,
  type ServerRecord,
  socketPathOf,
  writeServerRecord,
} from '../local/directory.js'
import {
  type Access,
  type Address,
  accessOf,
  formatAddress,
  isLoopback,
  parseAddress,
} from './access.js'
import { Activity } from './activity.js'
import { type App, createApp } from './app.js'
import { bodyStallMs, localBodyStallMs } from './body.js'
import { BodyBudget } from './body-budget.js'
import { serveContent } from './content.js'
import type { ServedStore, ServerContext } from './context.js'
import { serveEventlogs } from './eventlog.js'
import { acceptBacklog, connectionsWithin, type Front } from './front.js'
import { serveHistory, walksMax } from './history.js'
import { serveJobs } from './jobs.js'
import { serveKeyCalls } from './key-calls.js'
import { serveKeys } from './kv.js'
import { Log } from './log.js'
import { serveNamespaces } from './namespaces.js'
import { Pace } from './pace.js'
import { Routes } from './routes.js'
import { lingerMs, Sockets } from './sockets.js'
import { serveStatus } from './status.js'
import { serveTransfers } from './transfer.js'
import { Turns } from './turns.js'
import { serveUpkeep } from './upkeep.js'

/** A server that ends by itself when idle does so after this time. */
export const idleExitMsDefault = 5 * 60_000

export type ServerOptions = {
  /** The data directory, of which this process holds the store; made if it is not there. */
  readonly directory: string
  /** TCP addresses, `HOST:PORT`; port 0: a free one. Default: none. */
  readonly listen?: readonly string[]
  /** Also addresses that other machines reach, without TLS. */
  readonly insecureListen?: boolean
  /** Names besides `localhost` and the addresses that a Host header may have. */
  readonly allowHosts?: readonly string[]
  /** Origins, `https://example.org`, whose pages may use the server. */
  readonly allowOrigins?: readonly string[]
  /** Ends by itself after so long without a connection, a request or a job. Default: never. */
  readonly idleExitMs?: number
  /** The body of a request that stands still for so long is given up (408). Default: `bodyStallMs` over
   *  TCP, `localBodyStallMs` over the Unix socket. */
  readonly bodyStallMs?: number
  /** Connections over TCP at once, for each address. Default: `connectionsMax`, fewer where the process may open few
   *  files. */
  readonly connectionsMax?: number
  /** Takes a line (without its end and its time) for the log; never throws. Default: standard error, with the
   *  time. */
  readonly log?: (line: string) => void
  readonly environment?: Environment
}

export interface Server extends AsyncDisposable {
  /** Path of the Unix socket. */
  readonly socket: string
  /** `HOST:PORT` of each TCP address, with the port that it got. */
  readonly listen: readonly string[]
  /** What TCP clients send. */
  readonly token: string
  readonly record: ServerRecord
  /** Why the server has ended: `stop` here or over the wire, or idle. Never rejects. */
  readonly ended: Promise<'stopped' | 'idle'>
  /** Resolves when the server has ended. Idempotent. */
  stop(): Promise<void>
}

/** Listens. Throws EINVAL (an address), EMISCONFIGURED (not a loopback address without
 *  `insecureListen`; another store's directory), EBUSY (address in use), EPERM. */
export async function startServer(store: ServedStore, options: ServerOptions): Promise<Server> {
  const addresses = (options.listen ?? []).map(parseAddress)
  if (!options.insecureListen) addresses.forEach(checkLoopback)
  const directory = await prepareDirectory(options.directory)
  await checkFormat(directory, store.storeId)
  const token = await ensureToken(directory)
  // Open as long as the server is: the inode of a directory that is removed meanwhile is not used again.
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

type Local = {
  readonly directory: string
  readonly handle: FileHandle
  readonly identity: FileIdentity
  readonly token: string
}

class RunningServer implements Server {
  readonly token: string
  readonly ended: Promise<'stopped' | 'idle'>
  readonly #options: ServerOptions
  readonly #context: ServerContext
  readonly #routes: Routes
  readonly #sockets = new Sockets()
  readonly #apps: { readonly app: App; readonly front: Front }[] = []
  readonly #end = deferred<'stopped' | 'idle'>()
  #addresses: Address[] = []
  #access: Access
  readonly #handle: FileHandle
  #record: ServerRecord
  #socketFile: { readonly path: string; readonly identity: FileIdentity } | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #stopping: Promise<void> | undefined

  constructor(store: ServedStore, options: ServerOptions, local: Local) {
    const { environment = systemEnvironment, log = logToStandardError } = options
    this.#options = options
    this.token = local.token
    this.ended = this.#end.promise
    this.#access = this.#accessNow()
    this.#context = {
      store,
      activity: new Activity(environment.monotonic),
      pace: new Pace(),
      requestPace: new Pace(),
      walks: new Turns(walksMax),
      bodies: new BodyBudget(environment.monotonic),
      environment,
      version: versionOf(),
      directory: local.directory,
      started: environment.now(),
      listen: () => this.listen,
      connections: () => this.#sockets.count,
      backlog: () => this.#sockets.backlog,
      stop: () => void this.stop(),
      log: new Log(log, environment),
    }
    this.#routes = routesOf(this.#context)
    const { version, started } = this.#context
    const { pid } = process
    const { storeId } = store
    const { identity } = local
    this.#handle = local.handle
    this.#record = {
      ...{ pid, startTime: '', socket: '', listen: [], version, storeId, started },
      directory: identity,
    }
  }

  get socket(): string {
    return this.#record.socket
  }

  get listen(): readonly string[] {
    return this.#addresses.map(formatAddress)
  }

  get record(): ServerRecord {
    return this.#record
  }

  async start(addresses: readonly Address[]): Promise<void> {
    const { directory } = this.#context
    try {
      const socket = await socketPathOf(directory)
      await this.#listenOnSocket(socket)
      for (const address of addresses) await this.#listenOnTcp(address)
      // The record has the clock ticks alone, without the boot.
      const startTime = processStart(process.pid)?.split('.')[1] ?? ''
      this.#record = { ...this.#record, startTime, socket, listen: this.listen }
      await writeServerRecord(directory, this.#record)
    } catch (error) {
      await this.stop()
      throw error
    }
    this.#armIdleTimer()
  }

  stop(): Promise<void> {
    return this.#stop('stopped')
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
    activity.close()
    await this.#sockets.close()
    await activity.finished(lingerMs)
    const closing = this.#apps.map(({ app }) => app.close())
    // Who has not taken its answer by now, or never asked anything.
    for (const { front } of this.#apps) front.destroySockets()
    await Promise.all(closing)
    log.close()
    // Last: until then there is somebody to stop, and to ask why.
    await this.#removeSocket()
    await removeServerRecord(directory, this.#record)
    await this.#handle.close()
  }

  async #listenOnSocket(path: string): Promise<void> {
    // Bound to another name first: Node removes what it bound to when it ends, whoever's that is by then.
    const bound = `${path}~`
    await rm(bound, { force: true })
    const { app, front } = await this.#createApp(undefined)
    await listening(app.listen({ path: bound, backlog: acceptBacklog }), path)
    await front.accept()
    await chmod(bound, 0o600)
    this.#socketFile = { path, identity: await fileIdentity(bound) }
    // Over what a server that was killed has left. REQUIRES: the store is this process's own.
    await rename(bound, path)
  }

  /** Unless the directory was moved or replaced, and another server listens at its place. */
  async #removeSocket(): Promise<void> {
    if (!this.#socketFile) return
    const { path, identity } = this.#socketFile
    const there = await fileIdentity(path).catch(() => undefined)
    if (there && isSameFile(there, identity)) await rm(path, { force: true })
  }

  async #listenOnTcp(address: Address): Promise<void> {
    const { app, front } = await this.#createApp(this.token)
    const host = address.host === 'localhost' ? '127.0.0.1' : address.host
    await listening(
      app.listen({ host, port: address.port, backlog: acceptBacklog }),
      formatAddress(address),
    )
    await front.accept()
    const { port } = app.server.address() as AddressInfo
    this.#addresses = [...this.#addresses, { host, port }]
    this.#access = this.#accessNow()
  }

  async #createApp(token: string | undefined): Promise<Created> {
    const { activity, bodies, log } = this.#context
    const access = () => this.#access
    const files = connectionsWithin(openFilesMax())
    const { listen = [], connectionsMax: max = Math.floor(files / Math.max(1, listen.length)) } =
      this.#options
    const { bodyStallMs: stallMs = token === undefined ? localBodyStallMs : bodyStallMs } =
      this.#options
    const options = { activity, access, log, bodyStallMs: stallMs, bodies }
    const created = createApp(
      token === undefined ? options : { ...options, token, connectionsMax: max },
    )
    this.#apps.push(created)
    const { app } = created
    // First, since it decides of later routes whether they are asked as a websocket.
    await this.#sockets.serve(app, this.#context, this.#routes, token)
    this.#routes.mount(app, activity)
    return created
  }

  #accessNow(): Access {
    const { allowHosts = [], allowOrigins = [] } = this.#options
    return accessOf({ addresses: this.#addresses, allowHosts, allowOrigins })
  }

  /** One coarse timer: it looks when the server could be idle long enough at the earliest. */
  #armIdleTimer(): void {
    const { idleExitMs } = this.#options
    if (idleExitMs === undefined) return
    const { activity, store, log } = this.#context
    const rest = idleExitMs - activity.idleMs
    this.#idleTimer = setTimeout(
      () => {
        // A server that ends hears no renewals, and only its next start could say that a lease is over.
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

/** All that the server answers, whatever it listens on. */
function routesOf(context: ServerContext): Routes {
  const routes = new Routes()
  serveKeys(routes, context)
  serveKeyCalls(routes, context)
  serveEventlogs(routes, context)
  serveHistory(routes, context)
  serveNamespaces(routes, context)
  serveJobs(routes, context)
  serveContent(routes, context)
  serveTransfers(routes, context)
  serveUpkeep(routes, context)
  serveStatus(routes, context)
  return routes
}

/** Throws EMISCONFIGURED. */
function checkLoopback(address: Address): void {
  if (isLoopback(address.host)) return
  throw new TailraceError(
    'EMISCONFIGURED',
    `${formatAddress(address)} can be reached from other machines, without TLS: listen on 127.0.0.1, or say --insecure-listen`,
  )
}

type Created = ReturnType<typeof createApp>

async function listening(listen: Promise<string>, where: string): Promise<void> {
  try {
    await listen
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') throw new TailraceError('EBUSY', `${where} is in use`, { cause })
    if (code === 'EACCES') throw new TailraceError('EPERM', `${where} may not be used`, { cause })
    if (code === undefined) throw toTailraceError(cause)
    throw new TailraceError('EMISCONFIGURED', `cannot listen on ${where} (${code})`, { cause })
  }
}

function versionOf(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}

function logToStandardError(line: string): void {
  process.stderr.write(`${new Date().toISOString()} ${line}\n`)
}
