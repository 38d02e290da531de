/** The addresses of a server: the sockets that it listens on, each an HTTP server of its own with the same
 *  routes, the rules of who may call, and the certificate. See rfc/13, rules 4, 6, 33 and 36, and rfc/29, rule
 *  12.
 *  Invariant: an address that other machines can reach speaks TLS, or was allowed without it. The socket
 *  files are removed last: until then a command finds the server, and can ask it. */

import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { openFilesMax } from '../base/limits.js'
import { listeningSocket } from '../base/posix.js'
import { TailraceError, toTailraceError } from '../error.js'
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
import { type App, createApp } from './app.js'
import { bodyStallMs, localBodyStallMs } from './body.js'
import { Certificate, type CertificateFiles } from './certificate.js'
import type { ServerContext } from './context.js'
import { acceptBacklog, connectionsWithin, type Front } from './front.js'
import type { Principals } from './principals.js'
import type { Routes } from './routes.js'
import type { TlsOptions } from './tls.js'
import { checkSocketPlace, SocketFile, type SocketPlace, withPrivatePath } from './unix-socket.js'

/** The options of the addresses of a server. */
export type ListenOptions = {
  /** The TCP addresses, `HOST:PORT`. The port 0 stands for a free one. Default: none. */
  readonly listen?: readonly string[]
  /** Descriptors of sockets that listen already, as systemd passes them: TCP, where the rules of `listen`
   *  hold, or Unix, whose clients need no token. Default: none. */
  readonly inherited?: readonly number[]
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
  /** The time without a new byte after which the body of a request is given up (408), in ms.
   *  Default: `bodyStallMs` over TCP, `localBodyStallMs` over the Unix socket. */
  readonly bodyStallMs?: number
  /** The largest number of connections of each TCP address. Default: an equal part of
   *  `connectionsMax`, or of fewer if the process may open few files. */
  readonly connectionsMax?: number
}

type ListenersPorts = {
  readonly options: ListenOptions
  readonly context: ServerContext
  readonly principals: Principals
  readonly routes: Routes
  /** Serves the websockets of an HTTP server. */
  readonly serveSockets: (created: Created) => Promise<void>
}

/** The addresses of one server. Mutable; owned by it. */
export class Listeners {
  readonly #ports: ListenersPorts
  #options: ListenOptions
  readonly #apps: { readonly app: App; readonly front: Front }[] = []
  /** The fronts of the TCP addresses. */
  readonly #tcpFronts: Front[] = []
  readonly #socketFiles: SocketFile[] = []
  #certificate: Certificate | undefined
  #addresses: readonly Address[] = []
  #access: Access

  constructor(ports: ListenersPorts) {
    this.#ports = ports
    this.#options = ports.options
    this.#access = this.#accessNow()
  }

  /** Each TCP address as `HOST:PORT`, with its actual port. */
  get listen(): readonly string[] {
    return this.#addresses.map(formatAddress)
  }

  /** The addresses besides the data directory's socket, as `connect` takes them. */
  get urls(): readonly string[] {
    const { socket } = this.#options
    const urls = this.#addresses.map((address) => originOf(this.#scheme, address))
    return socket ? [...urls, `unix:${socket.path}`] : urls
  }

  /** Listens on all addresses; `socket` is the path in the data directory. Throws EMISCONFIGURED, EBUSY,
   *  EPERM: call `close` then. */
  async open(socket: string, addresses: readonly Address[]): Promise<void> {
    const { tls, socket: place, inherited = [] } = this.#options
    if (tls) this.#certificate = await this.#openCertificate(tls)
    await this.#listenLocally(socket)
    if (place) await this.#listenElsewhere(place)
    for (const address of addresses) await this.#listenOnTcp(address)
    for (const descriptor of inherited) await this.#inherit(descriptor)
  }

  /** Takes other names and origins, and reads the certificate again. Never rejects. */
  async reload(changes: Pick<ListenOptions, 'allowHosts' | 'allowOrigins'>): Promise<void> {
    this.#options = { ...this.#options, ...changes }
    this.#access = this.#accessNow()
    await this.#certificate?.readAgain()
  }

  /** Reads the certificate no more. */
  rest(): void {
    this.#certificate?.[Symbol.dispose]()
  }

  /** Ends every connection, and listens no more. The socket files stay. */
  async close(): Promise<void> {
    const closing = this.#apps.map(({ app }) => app.close())
    for (const { app } of this.#apps) app.server.close() // Fastify closes no socket that was inherited
    // The connections that are left have not read their answers, or never had a request.
    for (const { front } of this.#apps) front.destroySockets()
    await Promise.all(closing)
  }

  async removeFiles(): Promise<void> {
    for (const file of this.#socketFiles) await file.remove()
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
    this.#addAddress({ host, port })
  }

  /** Takes a socket that listens already. Throws EMISCONFIGURED. */
  async #inherit(descriptor: number): Promise<void> {
    const kind = listeningSocket(descriptor)
    if (!kind) {
      const message = `descriptor ${descriptor} is no socket that listens on TCP or a path`
      throw new TailraceError('EMISCONFIGURED', message)
    }
    const { app, front } = await this.#createApp({ needsToken: kind === 'tcp' })
    // Fastify knows no descriptors: it would look for the address that a Unix socket does not tell.
    await app.ready()
    app.server.listen({ fd: descriptor, backlog: acceptBacklog })
    await once(app.server, 'listening')
    if (kind === 'tcp') {
      this.#tcpFronts.push(front)
      const { address: host, port } = app.server.address() as AddressInfo
      if (!this.#options.insecureListen && !this.#options.tls) checkLoopback({ host, port })
      this.#addAddress({ host, port })
    }
    await front.accept()
  }

  #addAddress(address: Address): void {
    this.#addresses = [...this.#addresses, address]
    this.#access = this.#accessNow()
  }

  async #createApp({ needsToken }: { readonly needsToken: boolean }): Promise<Created> {
    const { activity, backlogs, bodies, log, meters, requestIds, requestPace } = this.#ports.context
    const access = () => this.#access
    const files = connectionsWithin(openFilesMax())
    const { listen = [], inherited = [] } = this.#options
    const addresses = Math.max(1, listen.length + inherited.length)
    const { connectionsMax: max = Math.floor(files / addresses) } = this.#options
    const { bodyStallMs: stallMs = needsToken ? bodyStallMs : localBodyStallMs } = this.#options
    const { principals, serveSockets, routes } = this.#ports
    const options = {
      ...{ activity, access, principals, log, meters, requestIds, requestPace },
      ...{ backlogs, bodies },
      bodyStallMs: stallMs,
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
    await serveSockets(created)
    routes.mount(app, principals)
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
    const { environment, log } = this.#ports.context
    return Certificate.open(files, {
      environment,
      log: (line, level) => log.line(line, level),
      replaced: (pair) => {
        for (const front of this.#tcpFronts) {
          front.replacePair(pair)
        }
      },
    })
  }
}

/** Parses the TCP addresses of some options. Throws EINVAL (an address cannot be parsed),
 *  EMISCONFIGURED (one is not a loopback address, and neither TLS nor `insecureListen` is set). */
export function checkListen(
  options: Pick<ListenOptions, 'listen' | 'insecureListen' | 'tls'>,
): readonly Address[] {
  const addresses = (options.listen ?? []).map(parseAddress)
  if (!options.insecureListen && !options.tls) addresses.forEach(checkLoopback)
  return addresses
}

/** Checks the place of a socket before a server listens there. Throws EMISCONFIGURED, EPERM, EBUSY (a
 *  server listens there). */
export function checkSocket(place: SocketPlace): Promise<void> {
  return checkSocketPlace(place)
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
