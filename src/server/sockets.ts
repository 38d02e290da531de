/** `/v1/ws`: the websockets of a server, their pings and their end. See rfc/12, rules 7, 10, 12 and
 *  13.
 *  Invariant: one timer pings all of them, and runs only while there is one. */

import { once } from 'node:events'
import { pingMs, subprotocol, subprotocolJson } from '../wire/frames.js'
import { invalid } from '../wire/parse.js'
import type { App, Request } from './app.js'
import { Connection } from './connection.js'
import type { Context } from './context.js'
import { closeGoingAway, closeProtocolError, type Socket, serveSocketRoute } from './websocket.js'

/** What was sent has this long to arrive when the server stops. */
export const lingerMs = 1_000

export class Sockets {
  readonly #open = new Map<Socket, Connection>()
  #pings: NodeJS.Timeout | undefined

  get count(): number {
    return this.#open.size
  }

  /** `token`: absent where none is needed. */
  serve(app: App, context: Context, token: string | undefined): Promise<void> {
    const open = (socket: Socket, request: Request) => this.#accept(context, token, socket, request)
    return serveSocketRoute(app, '/v1/ws', open, () => {
      throw invalid('GET /v1/ws must ask for an upgrade to a websocket')
    })
  }

  /** Closes all of them. REQUIRES: their watches were ended. */
  async close(): Promise<void> {
    clearInterval(this.#pings)
    const signal = AbortSignal.timeout(lingerMs)
    await Promise.all([...this.#open.keys()].map((socket) => closeSocket(socket, signal)))
  }

  #accept(context: Context, token: string | undefined, socket: Socket, request: Request): void {
    const { protocol } = socket
    if (protocol !== subprotocol && protocol !== subprotocolJson) {
      socket.close(closeProtocolError, `ask for the subprotocol ${subprotocol}`)
      return
    }
    // A header with a token was checked before the upgrade.
    const needed = request.headers.authorization === undefined ? token : undefined
    const options = { socket, raw: request.raw.socket, protocol } as const
    const connection = new Connection(
      context,
      needed === undefined ? options : { ...options, token: needed },
    )
    this.#open.set(socket, connection)
    socket.once('close', () => this.#forget(socket))
    this.#pings ??= setInterval(() => this.#ping(), pingMs).unref()
  }

  #forget(socket: Socket): void {
    this.#open.delete(socket)
    if (this.#open.size > 0) return
    clearInterval(this.#pings)
    this.#pings = undefined
  }

  #ping(): void {
    for (const connection of this.#open.values()) connection.checkAlive()
  }
}

async function closeSocket(socket: Socket, signal: AbortSignal): Promise<void> {
  if (socket.readyState === socket.CLOSED) return
  const closed = once(socket, 'close', { signal })
  socket.close(closeGoingAway, 'the server is stopping')
  try {
    await closed
  } catch {
    socket.terminate()
  }
}
