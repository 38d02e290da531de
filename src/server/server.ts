/** The server: it serves a store over HTTP and websockets, on a Unix socket and, if asked, on TCP.
 *  See rfc/12 and rfc/13.
 *  Invariant: `server.json` exists from the moment that the server listens until its last
 *  connection has ended. A stop ends every wait with ECLOSED, lets other requests run on for
 *  `lingerMs`, and then ends every connection. The caller closes the store. */

import { readFileSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { deferred } from '../base/deferred.js'
import { type Environment, systemEnvironment } from '../base/environment.js'
import { type FileIdentity, fileIdentity } from '../base/file-identity.js'
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
  originOf,
  parseAddress,
  type Scheme,
} from './access.js'
import { Activity } from './activity.js'
import { allRoutes } from './all-routes.js'
import { type App, createApp } from './app.js'
import { Backlogs } from './backlogs.js'
import { bodyStallMs, localBodyStallMs } from './body.js'
import { BodyBudget } from './body-budget.js'
import { Certificate, type CertificateFiles } from './certificate.js'
import type { OwnedStore, ServerContext } from './context.js'
import { EventFrames } from './event-frames.js'
import { acceptBacklog, connectionsWithin, type Front } from './front.js'
import { walksMax } from './history.js'
import { longReadsMax } from './key-calls.js'
import { Log } from './log.js'
import { Pace } from './pace.js'
import { Principals } from './principals.js'
import type { Routes } from './routes.js'
import { lingerMs, Sockets } from './sockets.js'
import type { TlsOptions } from './tls.js'
import { Turns } from './turns.js'
import { checkSocketPlace, SocketFile, type SocketPlace, withPrivatePath } from './unix-socket.js'

/** The idle time after which a server with `--idle-exit` stops if none is given, in ms. */
export const idleExitMsDefault = 5 * 60_000

/** The options of a server. */
export type ServerOptions = {
  /** The data directory. It is made if it does not exist. REQUIRES: this process has its store
   *  open. */
  readonly directory: string
  /** The TCP addresses, `HOST:PORT`. The port 0 stands for a free one. Default: none. */
  readonly listen?: readonly string[]
  /** Allows addresses that other machines can reach, without TLS. Default: false. */
  readonly insecureListen?: boolean
  /** The files of a certificate and its key, in PEM. The TCP addresses then speak HTTPS only, and other
   *  machines may reach them. The files are read again when they change. */
  readonly tls?: CertificateFiles & {
    /** The time that a handshake may take, in ms. Default: 10 s. */
    readonly handshakeMs?: number
  }
  /** A Unix socket besides that of the data directory. Who can open it needs no token. Default:
   *  none. */
  readonly socket?: SocketPlace
  /** Host names that a Host header may have, besides `localhost` and the hosts of the addresses. */
  readonly allowHosts?: readonly string[]
  /** Origins, `https://example.org`, whose pages may use the server. */
  readonly allowOrigins?: readonly string[]
  /** The time without a request or a websocket after which the server stops by itself, in ms. It
   *  does not stop while a job waits or runs, a lease is held or a collection runs. Default:
   *  never. */
  readonly idleExitMs?: number
  /** The time without a new byte after which the body of a request is given up (408), in ms.
   *  Default: `bodyStallMs` over TCP, `localBodyStallMs` over the Unix socket. */
  readonly bodyStallMs?: number
  /** The largest number of connections of each TCP address. Default: an equal part of
   *  `connectionsMax`, or of fewer if the process may open few files. */
  readonly connectionsMax?: number
  /** Writes a line, given without line end and time, to the log. It never throws. Default: to
   *  standard error, with the time. */
  readonly log?: (line: string) => void
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
  /** Stops the server, and resolves when it has ended. Idempotent. */
  stop(): Promise<void>
}

/** Starts a server, and resolves once it listens on all addresses. Throws EINVAL (an address cannot
 *  be parsed), EMISCONFIGURED (an address is not a loopback address and `insecureListen` is not
 *  set, the directory belongs to another store, or the certificate cannot be used), EBUSY (an address
 *  is in use), EPERM. */
export async function startServer(store: OwnedStore, options: ServerOptions): Promise<Server> {
  const addresses = (options.listen ?? []).map(parseAddress)
  if (!options.insecureListen && !options.tls) addresses.forEach(checkLoopback)
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
  readonly #options: ServerOptions
  readonly #context: ServerContext
  readonly #principals: Principals
  readonly #routes: Routes
  readonly #sockets = new Sockets()
  readonly #apps: { readonly app: App; readonly front: Front }[] = []
  /** The fronts of the TCP addresses. */
  readonly #tcpFronts: Front[] = []
  #certificate: Certificate | undefined
  readonly #end = deferred<'stopped' | 'idle'>()
  #addresses: Address[] = []
  #access: Access
  readonly #handle: FileHandle
  #record: ServerRecord
  readonly #socketFiles: SocketFile[] = []
  #idleTimer: NodeJS.Timeout | undefined
  #stopping: Promise<void> | undefined

  constructor(store: OwnedStore, options: ServerOptions, local: Local) {
    const { environment = systemEnvironment, log = logToStandardError } = options
    this.#options = options
    this.token = local.token
    this.ended = this.#end.promise
    this.#access = this.#accessNow()
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
      stop: () => void this.stop(),
      log: new Log(log, environment),
    }
    this.#principals = new Principals({
      ...{ context, store, token: local.token, tokens: store.tokenBook },
      limitedTo: (grants) => store.limitedTo(grants),
    })
    this.#context = this.#principals.contextOf(this.#principals.owner)
    this.#routes = allRoutes()
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

  get socket(): string {
    return this.#record.socket
  }

  get listen(): readonly string[] {
    return this.#addresses.map(formatAddress)
  }

  get urls(): readonly string[] {
    const { socket } = this.#options
    const urls = this.#addresses.map((address) => originOf(this.#scheme, address))
    return socket ? [...urls, `unix:${socket.path}`] : urls
  }

  get record(): ServerRecord {
    return this.#record
  }

  async start(addresses: readonly Address[]): Promise<void> {
    const { directory } = this.#context
    try {
      if (this.#options.tls) this.#certificate = await this.#openCertificate(this.#options.tls)
      const socket = await socketPathOf(directory)
      await this.#listenLocally(socket)
      if (this.#options.socket) await this.#listenElsewhere(this.#options.socket)
      for (const address of addresses) await this.#listenOnTcp(address)
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
    this.#certificate?.[Symbol.dispose]()
    activity.close()
    await this.#sockets.close()
    await activity.finished(lingerMs)
    const closing = this.#apps.map(({ app }) => app.close())
    // The connections that are left have not read their answers, or never had a request.
    for (const { front } of this.#apps) front.destroySockets()
    await Promise.all(closing)
    this.#principals[Symbol.dispose]()
    log.close()
    // The socket and the record go last: until then a command finds this server and can ask it.
    for (const file of this.#socketFiles) await file.remove()
    await removeServerRecord(directory, this.#record)
    await this.#handle.close()
  }

  /** Listens at a path; `bound`: one that only this user can reach, with room for the socket until it
   *  has its mode. */
  async #listenOnSocket(place: SocketPlace, bound: string): Promise<void> {
    const { app, front } = await this.#createApp({ needsToken: false })
    const listen = async () => {
      await listening(app.listen({ path: bound, backlog: acceptBacklog }), place.path)
      await front.accept()
    }
    this.#socketFiles.push(await SocketFile.make(place, { bound, listen }))
  }

  /** Listens in the data directory. REQUIRES: this process holds the store. */
  async #listenLocally(path: string): Promise<void> {
    const bound = `${path}~`
    await rm(bound, { force: true })
    await this.#listenOnSocket({ path }, bound)
  }

  /** Listens at the path that the options name. */
  async #listenElsewhere(place: SocketPlace): Promise<void> {
    await checkSocketPlace(place)
    await withPrivatePath(place, (bound) => this.#listenOnSocket(place, bound))
  }

  async #listenOnTcp(address: Address): Promise<void> {
    const { app, front } = await this.#createApp({ needsToken: true })
    this.#tcpFronts.push(front)
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

  async #createApp({ needsToken }: { readonly needsToken: boolean }): Promise<Created> {
    const { activity, backlogs, bodies, log, requestPace } = this.#context
    const access = () => this.#access
    const files = connectionsWithin(openFilesMax())
    const { listen = [], connectionsMax: max = Math.floor(files / Math.max(1, listen.length)) } =
      this.#options
    const { bodyStallMs: stallMs = needsToken ? bodyStallMs : localBodyStallMs } = this.#options
    const principals = this.#principals
    const options = {
      activity,
      access,
      principals,
      log,
      bodyStallMs: stallMs,
      backlogs,
      bodies,
      requestPace,
    }
    const tls = this.#tls
    const created = createApp({
      ...options,
      needsToken,
      ...(needsToken && { connectionsMax: max, tls }),
    })
    this.#apps.push(created)
    const { app } = created
    // The websocket's plugin comes first: it must see each later route that is added.
    await this.#sockets.serve(created, principals, this.#routes)
    this.#routes.mount(app, principals)
    return created
  }

  #accessNow(): Access {
    const { allowHosts = [], allowOrigins = [] } = this.#options
    const scheme = this.#scheme
    return accessOf({ addresses: this.#addresses, scheme, allowHosts, allowOrigins })
  }

  get #scheme(): Scheme {
    return this.#options.tls ? 'https' : 'http'
  }

  /** The options of TLS for a server that is made now. */
  get #tls(): TlsOptions | undefined {
    return this.#certificate && { ...this.#options.tls, pair: this.#certificate.pair }
  }

  #openCertificate(files: CertificateFiles): Promise<Certificate> {
    const { environment, log } = this.#context
    return Certificate.open(files, {
      environment,
      log: (line) => log.line(line),
      replaced: (pair) => {
        for (const front of this.#tcpFronts) {
          front.replacePair(pair)
        }
      },
    })
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

/** Throws EMISCONFIGURED if other machines can reach the address. */
function checkLoopback(address: Address): void {
  if (isLoopback(address.host)) return
  throw new TailraceError(
    'EMISCONFIGURED',
    `${formatAddress(address)} can be reached from other machines, without TLS: give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure-listen`,
  )
}

type Created = ReturnType<typeof createApp>

/** Waits for a server to listen. Throws EBUSY (in use), EPERM, EMISCONFIGURED. */
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
