/** Websockets under Fastify. The only import of @fastify/websocket. See rfc/12, rule 10.
 *  The websocket reads and checks what comes in, and sends control frames. Messages go out past it
 *  (outbox.ts), with heads of message-head.ts. */

import type { Server as HttpServer } from 'node:http'
import { fastifyWebsocket, type WebSocket } from '@fastify/websocket'
import { invalid } from '../base/shape.js'
import { frameSizeMax, subprotocol, subprotocolJson } from '../wire/frames.js'
import type { App, Request } from './app.js'
import { refuseSocket } from './refusal.js'

/** The server's end of a websocket. */
export type ServerSocket = WebSocket

/** The close code (RFC 6455) when the server stops. */
export const closeGoingAway = 1001
/** The close code for a client without a known subprotocol. */
export const closeProtocolError = 1002
/** The close code for a client that was not admitted. */
export const closePolicy = 1008
/** The close code for a client whose message has no memory left. */
export const closeTryAgain = 1013

/** Serves the route of websockets, whose requests `upgrades` emits. `open` is called for each websocket,
 *  and `refuse` for a request that is none. REQUIRES: `open` attaches its listeners before it returns,
 *  or frames are lost. */
export async function serveSocketRoute(
  app: App,
  upgrades: HttpServer,
  url: string,
  open: (socket: ServerSocket, request: Request) => void,
  refuse: () => never,
): Promise<void> {
  await app.register(fastifyWebsocket, {
    errorHandler: (_error, socket) => socket.terminate(),
    // The server ends its websockets itself, with a reason for each watch (sockets.ts).
    preClose: (done) => done(),
    options: {
      server: upgrades,
      maxPayload: frameSizeMax,
      perMessageDeflate: false,
      handleProtocols: chooseProtocol,
    },
  })
  app.websocketServer.on('wsClientError', (error, socket) =>
    refuseSocket(socket, { error: invalid(error.message) }),
  )
  app.route({ method: 'GET', url, handler: refuse, wsHandler: open })
}

/** Returns the first subprotocol of the client that the server knows; false if it knows none. */
function chooseProtocol(offered: ReadonlySet<string>): string | false {
  for (const name of offered) {
    if (name === subprotocol || name === subprotocolJson) return name
  }
  return false
}
