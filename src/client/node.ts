/** The client for Node: `node:http` over TCP or a Unix socket, and `ws`. See rfc/12, rfc/13.
 *  Invariant: code that only a watch or TLS needs is loaded with the first watch, or the first
 *  https address. */

import http, { type ClientRequest, type RequestOptions } from 'node:http'
import { resolve } from 'node:path'
import type { ConnectOptions } from '../api/connect.js'
import type { RemoteStore } from '../api/store.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { checkConnect, openClient } from './client.js'
import { leaseThread } from './lease-thread.js'
import { UnixAgent } from './node-agent.js'
import { sendRequest } from './node-request.js'
import type {
  ClientTracing,
  HttpRequest,
  HttpResponse,
  Socket,
  SocketEvents,
  Transport,
} from './transport.js'

export * from '../api/api.js'

/** The number of connections for short requests. Further short requests wait for one. Waits and
 *  streams have connections of their own. */
export const connectionsMax = 64
/** The number of idle connections that are kept for the next request. */
const idleConnectionsMax = 64
/** The time without traffic after which the system probes the peer, in ms. */
const keepAliveMs = 15_000

/** Connects to the server at `target`: `unix:/path/to.sock`, `http://HOST:PORT` or
 *  `https://HOST:PORT`.
 *
 *  Without a target it takes the server that the command `tailrace` would use (rfc/13, rule 29):
 *  the one of TAILRACE_URL, TAILRACE_TOKEN and TAILRACE_CA, else the one of the data directory
 *  (TAILRACE_DATA).
 *  All programs of this user share that server. It is started if none runs, goes on after `close`,
 *  and ends by itself 5 minutes after its last request. Calls then get ECLOSED, and `connect`
 *  starts another one.
 *
 *  Throws EINVAL. Unless `storeId` is given, it also throws ECLOSED or ETIMEDOUT if no server
 *  answers, and EMISCONFIGURED if something else does. The token is checked with the first call,
 *  which throws EUNAUTH.
 *
 *      await using store = await connect('http://127.0.0.1:7270', { token: process.env.TAILRACE_TOKEN })
 *      await store.append('log', 'one\n', { exactlyOnce: true })
 *      for await (const event of store.watch('log', { mode: 'append' })) {
 *        if (event.type === 'append') process.stdout.write(event.data)
 *      }
 */
export async function connect(target?: string, options: ConnectOptions = {}): Promise<RemoteStore> {
  if (target === undefined) return connectLocal(options)
  checkConnect(target, options)
  const transport = await nodeTransportOf(target, options.ca, await tracingOf())
  return openClient(transport, options, Math.random, leaseThread(target, options))
}

/** Connects to the server that the environment names, or to the one of the data directory. */
async function connectLocal(options: ConnectOptions): Promise<RemoteStore> {
  const { defaultDirectory } = await import('../local/directory.js')
  const { caFor, reachServer, tokenFor } = await import('../local/local.js')
  const directory = resolve(defaultDirectory(process.env))
  const { TAILRACE_URL: url, TAILRACE_TOKEN: named, TAILRACE_CA: file } = process.env
  if (url) {
    const token = named || (await tokenFor(url, directory))
    const ca = await caFor(url, file)
    return connect(url, { ...defined({ token, ca }), ...options })
  }
  checkConnect('unix:/', options) // before a server is started
  // A local server that goes away was stopped, and nobody starts another: do not reconnect.
  return reachServer(directory, {}, (socket) => connect(socket, { reconnect: false, ...options }))
}

type Address =
  | { readonly socketPath: string }
  | { readonly url: URL; readonly ca?: Buffer | undefined }

async function nodeTransportOf(
  target: string,
  ca: ConnectOptions['ca'],
  tracing: ClientTracing | undefined,
): Promise<Transport> {
  const address = parseTarget(target)
  if (!('url' in address) || address.url.protocol === 'http:') {
    if (ca === undefined) return new NodeTransport(target, address, { module: http, tracing })
    throw new TailraceError('EINVAL', `\`ca\` means nothing for ${target}: it has no TLS`)
  }
  const pem = ca === undefined ? undefined : await parseCa(ca)
  const module = await import('node:https')
  return new NodeTransport(target, { ...address, ca: pem }, { module, tracing })
}

/** Checks certificates, since Node takes what is none for an empty list. Throws EINVAL. */
async function parseCa(ca: string | Uint8Array): Promise<Buffer> {
  const pem = Buffer.from(ca)
  const { X509Certificate } = await import('node:crypto')
  try {
    if (pem.includes('-----BEGIN ') && new X509Certificate(pem)) return pem
  } catch {
    // A certificate that cannot be parsed is refused below.
  }
  throw new TailraceError('EINVAL', '`ca` has no certificate in PEM')
}

/** Parses the address of a server. Throws EINVAL. */
function parseTarget(target: string): Address {
  if (target.startsWith('unix:')) return { socketPath: parseSocketPath(target) }
  const url = URL.canParse(target) ? new URL(target) : undefined
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:'
  if (!url || !isHttp || url.pathname !== '/' || url.search || url.hash || url.username) {
    const message = `"${target}" is not a server's address: unix:/path, http://HOST:PORT or https://HOST:PORT`
    throw new TailraceError('EINVAL', message)
  }
  return { url }
}

function parseSocketPath(target: string): string {
  const path = target.slice('unix:'.length)
  if (path.startsWith('/')) return path
  throw new TailraceError('EINVAL', `"${target}" must name an absolute path: unix:/path/to.sock`)
}

/** The name under which the API of OpenTelemetry keeps the SDK of a process, for all its copies. */
const openTelemetry = Symbol.for('opentelemetry.js.api.1')

/** Returns the traces of this program, if it has registered an SDK of OpenTelemetry. No other program loads
 *  the package. */
async function tracingOf(): Promise<ClientTracing | undefined> {
  if (!(openTelemetry in globalThis)) return undefined
  const { activeParent, eventSpan, sentSpan } = await import('../base/tracing.js')
  const received = (trace: string) => eventSpan('CONSUMER', 'receive', trace)
  return { sent: sentSpan, active: activeParent, received }
}

type HttpModule = Pick<typeof http, 'Agent' | 'request'>

type Platform = {
  readonly module: HttpModule
  readonly tracing: ClientTracing | undefined
}

class NodeTransport implements Transport {
  readonly name: string
  readonly socketHeaders = true
  readonly tracing: ClientTracing | undefined
  readonly #address: Address
  readonly #request: (options: RequestOptions) => ClientRequest
  readonly #short: http.Agent
  readonly #long: http.Agent
  readonly #options: RequestOptions
  /** The requests that `dispose` has to end. An agent does not end requests that wait for a
   *  connection. */
  readonly #requests = new Set<ClientRequest>()
  #socketOpened = false
  #heard = 0

  constructor(name: string, address: Address, { module, tracing }: Platform) {
    this.name = name
    this.tracing = tracing
    this.#address = address
    this.#options = requestOptionsOf(address)
    this.#request = module.request
    const common = { keepAlive: true, keepAliveInitialDelay: keepAliveMs, noDelay: true }
    const short = { ...common, maxSockets: connectionsMax, maxFreeSockets: idleConnectionsMax }
    const agent = (options: http.AgentOptions) =>
      'url' in address ? new module.Agent(options) : new UnixAgent(options, Math.random)
    this.#short = agent(short)
    this.#long = agent({ ...common, maxFreeSockets: 1 })
  }

  async request(request: HttpRequest): Promise<HttpResponse> {
    const agent = request.long ? this.#long : this.#short
    return sendRequest(request, {
      name: this.name,
      open: (headers) => {
        const { method, path } = request
        const timeout = request.idleMs
        const sent = this.#request({ ...this.#options, agent, method, path, headers, timeout })
        this.#requests.add(sent)
        sent.once('close', () => this.#requests.delete(sent))
        sent.once('response', () => {
          this.#heard = performance.now()
        })
        return sent
      },
      heard: () => this.#heard,
    })
  }

  async openSocket(
    headers: Readonly<Record<string, string>>,
    events: SocketEvents,
    signal: AbortSignal,
  ): Promise<Socket> {
    const { openNodeSocket } = await import('./node-socket.js')
    const reached = this.#socketOpened
    const socket = await openNodeSocket(
      { name: this.name, headers, reached, ...socketUrlOf(this.#address) },
      events,
      signal,
    )
    this.#socketOpened = true
    return socket
  }

  dispose(): void {
    for (const request of this.#requests) request.destroy()
    this.#short.destroy()
    this.#long.destroy()
  }
}

/** Makes the options that name the server. The server checks `Host` on a Unix socket too, so it is
 *  one that the server takes for its own. */
function requestOptionsOf(address: Address): RequestOptions & { readonly ca?: Buffer } {
  if ('socketPath' in address) return { socketPath: address.socketPath, host: 'localhost' }
  const { hostname, port, protocol } = address.url
  const { ca } = address
  return {
    ...defined({ ca }),
    host: hostname.startsWith('[') ? hostname.slice(1, -1) : hostname,
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
  }
}

function socketUrlOf(address: Address): {
  readonly url: string
  readonly socketPath?: string
  readonly ca?: Buffer
} {
  if ('socketPath' in address) return { url: 'ws://localhost/v1/ws', ...address }
  const { host, protocol } = address.url
  const { ca } = address
  return {
    ...defined({ ca }),
    url: `${protocol === 'https:' ? 'wss' : 'ws'}://${host}/v1/ws`,
  }
}
