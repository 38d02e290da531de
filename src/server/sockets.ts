/** `/v1/ws`: the websockets of a server, their pings and their end. See rfc/12, rules 7, 10, 12 and
 *  13.
 *  Invariant: one timer pings all of them, and runs only while there is one. */

import { once } from 'node:events'
import { invalid } from '../base/shape.js'
import { pingMs, subprotocol, subprotocolJson } from '../wire/frames.js'
import type { App, Request } from './app.js'
import { ServedConnection } from './connection.js'
import type { ServerContext } from './context.js'
import { websocketPath } from './front.js'
import { BacklogSum } from './outbox.js'
import type { Routes } from './routes.js'
import {
  closeGoingAway,
  closeProtocolError,
  type ServerSocket,
  serveSocketRoute,
} from './websocket.js'

/** Pings that are sent later than this show that the server itself stood still. */
const standstillMs = 1_000
/** What was sent has this long to arrive when the server stops. */
export const lingerMs = 1_000

type Ports = {
  readonly context: ServerContext
  readonly routes: Routes
  readonly token: string | undefined
}

export class Sockets {
  /** Undefined: refused, and not closed yet. */
  readonly #open = new Map<ServerSocket, ServedConnection | undefined>()
  readonly #sum = new BacklogSum()
  #pings: NodeJS.Timeout | undefined

  get count(): number {
    return this.#open.size
  }

  /** Bytes that wait for clients, of all of them. */
  get backlog(): number {
    let size = 0
    for (const connection of this.#open.values()) size += connection?.backlog ?? 0
    return size
  }

  /** `token`: absent where none is needed. */
  serve(
    app: App,
    context: ServerContext,
    routes: Routes,
    token: string | undefined,
  ): Promise<void> {
    const ports = { context, routes, token }
    const open = (socket: ServerSocket, request: Request) => this.#accept(ports, socket, request)
    return serveSocketRoute(app, websocketPath, open, () => {
      throw invalid(
        `GET ${websocketPath} takes no parameter, and asks for an upgrade (RFC 6455, 4.1)`,
      )
    })
  }

  /** Closes all of them, each when what it waited for has ended. REQUIRES: `activity.close` was
   *  called. */
  async close(): Promise<void> {
    clearInterval(this.#pings)
    const signal = AbortSignal.timeout(lingerMs)
    await Promise.all(
      [...this.#open].map(([socket, connection]) => closeSocket(socket, connection, signal)),
    )
  }

  #accept({ context, routes, token }: Ports, socket: ServerSocket, request: Request): void {
    const { protocol } = socket
    this.#open.set(socket, undefined)
    socket.once('close', () => this.#forget(socket))
    this.#pings ??= this.#startPings(context.environment.monotonic)
    if (protocol !== subprotocol && protocol !== subprotocolJson) {
      socket.close(closeProtocolError, `ask for the subprotocol ${subprotocol}`)
      return
    }
    // A header with a token was checked before the upgrade.
    const needed = request.headers.authorization === undefined ? token : undefined
    const options = { socket, raw: request.raw.socket, protocol, sum: this.#sum } as const
    const connection = new ServedConnection(
      context,
      routes,
      needed === undefined ? options : { ...options, token: needed },
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
      // After the sockets were read: an answer may have come while this process was busy.
      setImmediate(() => this.#ping(late))
    }
    return setInterval(ping, pingMs).unref()
  }

  /** `late`: this server stood still, so that its last pings may have left only now. */
  #ping(late: boolean): void {
    for (const connection of this.#open.values()) {
      if (!late) connection?.endIfSilent()
      connection?.ping()
    }
  }
}

async function closeSocket(
  socket: ServerSocket,
  connection: ServedConnection | undefined,
  signal: AbortSignal,
): Promise<void> {
  try {
    await connection?.requests.settled(signal)
    if (socket.readyState === socket.CLOSED) return
    const closed = once(socket, 'close', { signal })
    socket.close(closeGoingAway, 'the server is stopping')
    await closed
  } catch {
    socket.terminate()
  }
}
