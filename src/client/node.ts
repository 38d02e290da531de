/** The client for Node: `node:http` over TCP or a Unix socket, and `ws`. See rfc/12, rfc/13.
 *  Invariant: nothing that only a watch or TLS needs is loaded before one is there. */

import http, { type ClientRequest, type RequestOptions } from 'node:http'
import { resolve } from 'node:path'
import type { ConnectOptions } from '../api/connect.js'
import type { RemoteStore } from '../api/store.js'
import { TailraceError } from '../error.js'
import { checkConnect, openClient } from './client.js'
import { UnixAgent } from './node-agent.js'
import { sendRequest } from './node-request.js'
import type { HttpRequest, HttpResponse, Socket, SocketEvents, Transport } from './transport.js'

export * from '../api/api.js'

/** Connections for short requests; more of those wait. Waits and streams have their own. */
export const connectionsMax = 64
/** Connections that are kept for the next request. */
const idleConnectionsMax = 64
/** The system asks a silent peer after this long whether it is there. */
const keepAliveMs = 15_000

/** A store behind a server. `target`: `unix:/path/to.sock`, `http://HOST:PORT`, `https://HOST:PORT`. Without it the
 *  server is meant that the command `tailrace` would use: that of TAILRACE_URL and TAILRACE_TOKEN, else the one of the
 *  data directory (TAILRACE_DATA), which is started where none runs, and shared by all programs of this user. It goes on
 *  after `close`, and ends by itself 5 minutes after its last request; calls then get ECLOSED, `connect` starts the
 *  next one. See rfc/13, rule 29. Throws EINVAL,
 *  and unless `storeId` is given ECLOSED or ETIMEDOUT where no server answers, EMISCONFIGURED where something
 *  else does. A token is looked at with the first call: EUNAUTH.
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
  return openClient(await nodeTransportOf(target), options, Math.random)
}

/** The server that the environment names, or the data directory's own. */
async function connectLocal(options: ConnectOptions): Promise<RemoteStore> {
  const { defaultDirectory } = await import('../local/directory.js')
  const { reachServer, tokenFor } = await import('../local/local.js')
  const directory = resolve(defaultDirectory(process.env))
  const { TAILRACE_URL: url, TAILRACE_TOKEN: named } = process.env
  if (url) {
    const token = named || (await tokenFor(url, directory))
    return connect(url, { ...(token ? { token } : {}), ...options })
  }
  checkConnect('unix:/', options) // before a server is started
  // A local server that goes away was stopped: watches end, nobody would start another.
  return reachServer(directory, {}, (socket) => connect(socket, { reconnect: false, ...options }))
}

type Address = { readonly socketPath: string } | { readonly url: URL }

async function nodeTransportOf(target: string): Promise<Transport> {
  const address = parseTarget(target)
  if (!('url' in address) || address.url.protocol === 'http:') {
    return new NodeTransport(target, address, http)
  }
  return new NodeTransport(target, address, await import('node:https'))
}

/** Throws EINVAL. */
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

type HttpModule = Pick<typeof http, 'Agent' | 'request'>

class NodeTransport implements Transport {
  readonly name: string
  readonly socketHeaders = true
  readonly #address: Address
  readonly #request: (options: RequestOptions) => ClientRequest
  readonly #short: http.Agent
  readonly #long: http.Agent
  readonly #options: RequestOptions
  /** What `dispose` has to end: requests that wait for a connection are in no agent's sockets. */
  readonly #requests = new Set<ClientRequest>()
  #socketOpened = false
  #heard = 0

  constructor(name: string, address: Address, module: HttpModule) {
    this.name = name
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

/** On a Unix socket the host says nothing; it must still be one that the server knows as its own. */
function requestOptionsOf(address: Address): RequestOptions {
  if ('socketPath' in address) return { socketPath: address.socketPath, host: 'localhost' }
  const { hostname, port, protocol } = address.url
  return {
    host: hostname.startsWith('[') ? hostname.slice(1, -1) : hostname,
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
  }
}

function socketUrlOf(address: Address): { readonly url: string; readonly socketPath?: string } {
  if ('socketPath' in address) return { url: 'ws://localhost/v1/ws', ...address }
  const { host, protocol } = address.url
  return { url: `${protocol === 'https:' ? 'wss' : 'ws'}://${host}/v1/ws` }
}
