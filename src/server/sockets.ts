/** The websockets of a server at `/v1/ws`: it opens, pings and closes them. See rfc/12, rules 10
 *  and 12 to 14.
 *  Invariant: one timer pings all websockets. It runs only while there is a websocket. */

import { once } from 'node:events'
import { joinAbort } from '../base/abort.js'
import { invalid } from '../base/shape.js'
import { pingMs, subprotocol, subprotocolJson } from '../wire/frames.js'
import type { App, Request } from './app.js'
import { ServedConnection } from './connection.js'
import type { Front } from './front.js'
import type { FrontRequest } from './front-request.js'
import { websocketPath } from './judge.js'
import type { Principals } from './principals.js'
import type { Routes } from './routes.js'
import {
  closeGoingAway,
  closeProtocolError,
  type ServerSocket,
  serveSocketRoute,
} from './websocket.js'

/** The delay of pings, in ms, above which the server itself has been busy. */
const standstillMs = 1_000
/** The time that clients have to read their last answers when the server stops, in ms. */
export const lingerMs = 1_000

type Ports = {
  readonly principals: Principals
  readonly routes: Routes
}

/** The websockets of all addresses of a server. */
export class Sockets {
  /** The open websockets. One without a connection was refused, and has not closed yet. */
  readonly #open = new Map<ServerSocket, ServedConnection | undefined>()
  #pings: NodeJS.Timeout | undefined

  /** The number of open websockets. */
  get count(): number {
    return this.#open.size
  }

  /** The number of bytes that wait to be sent, in all websockets together. */
  get backlog(): number {
    let size = 0
    for (const connection of this.#open.values()) size += connection?.backlog ?? 0
    return size
  }

  /** The number of watches that wait for their clients. */
  get behind(): number {
    let count = 0
    for (const connection of this.#open.values()) count += connection?.requests.behind ?? 0
    return count
  }

  /** Serves websockets on an HTTP server, whose front emits their requests. */
  serve(
    { app, front }: { readonly app: App; readonly front: Front },
    principals: Principals,
    routes: Routes,
  ): Promise<void> {
    const ports = { principals, routes }
    const open = (socket: ServerSocket, request: Request) => this.#accept(ports, socket, request)
    return serveSocketRoute(app, front.websockets, websocketPath, open, () => {
      throw invalid(
        `GET ${websocketPath} takes no parameter, and asks for an upgrade (RFC 6455, 4.1)`,
      )
    })
  }

  /** Closes each websocket once its requests and watches have ended, or after `lingerMs`. REQUIRES:
   *  `activity.close` was called, so that they end. */
  async close(): Promise<void> {
    clearInterval(this.#pings)
    const signal = AbortSignal.timeout(lingerMs)
    await Promise.all(
      [...this.#open].map(([socket, connection]) => closeSocket(socket, connection, signal)),
    )
  }

  #accept({ principals, routes }: Ports, socket: ServerSocket, request: Request): void {
    const { protocol } = socket
    const context = principals.contextOf(principals.stranger)
    this.#open.set(socket, undefined)
    socket.once('close', () => this.#forget(socket))
    this.#pings ??= this.#startPings(context.environment.monotonic)
    if (protocol !== subprotocol && protocol !== subprotocolJson) {
      socket.close(closeProtocolError, `ask for the subprotocol ${subprotocol}`)
      return
    }
    // The judge has named the principal before the upgrade, unless the first frame brings the token.
    const { principal } = request.raw as FrontRequest
    const options = {
      socket,
      raw: request.raw.socket,
      protocol,
      principals,
    } as const
    const isKnown = principal !== undefined && principal !== principals.stranger
    const connection = new ServedConnection(
      context,
      routes,
      isKnown ? { ...options, principal } : options,
    )
    this.#open.set(socket, connection)
  }

  #forget(socket: ServerSocket): void {
    this.#open.delete(socket)
    if (this.#open.size > 0) return
    clearInterval(this.#pings)
    this.#pings = undefined
  }

  #startPings(now: () => number): NodeJS.Timeout {
    let pinged = now()
    const ping = () => {
      const late = now() - pinged > pingMs + standstillMs
      pinged = now()
      // This runs after the sockets were read: a pong may have come while the process was busy.
      setImmediate(() => this.#ping(late))
    }
    return setInterval(ping, pingMs).unref()
  }

  /** Ends the connections that gave no sign of life, and pings the others. If the ping is `late`,
   *  the server was busy itself, and the last pings may have left only now: no connection is
   *  ended. */
  #ping(late: boolean): void {
    for (const connection of this.#open.values()) {
      if (!late) connection?.endIfSilent()
      connection?.ping()
    }
  }
}

/** Closes a websocket after its last frames, or destroys it when the signal aborts. */
async function closeSocket(
  socket: ServerSocket,
  connection: ServedConnection | undefined,
  signal: AbortSignal,
): Promise<void> {
  try {
    await connection?.requests.settled(signal)
    if (socket.readyState === socket.CLOSED) return
    const closed = once(socket, 'close')
    const reason = 'the server is stopping'
    if (connection) connection.close(closeGoingAway, reason)
    else socket.close(closeGoingAway, reason)
    await joinAbort(closed, signal)
  } catch {
    socket.terminate()
  }
}
