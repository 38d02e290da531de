/** Websockets under Fastify. The only import of @fastify/websocket. See rfc/12, rule 10. */

import { fastifyWebsocket, type WebSocket } from '@fastify/websocket'
import { invalid } from '../base/shape.js'
import { frameSizeMax, subprotocol, subprotocolJson } from '../wire/frames.js'
import type { App, Request } from './app.js'
import { refuseSocket } from './refusal.js'

export type ServerSocket = WebSocket

/** Close codes of RFC 6455, as far as they are used here. */
export const closeGoingAway = 1001
export const closeProtocolError = 1002
export const closePolicy = 1008
export const closeTryAgain = 1013

/** Serves the route. `open` is called for each websocket and attaches its listeners before it
 *  returns: frames that come earlier would be lost. */
export async function serveSocketRoute(
  app: App,
  url: string,
  open: (socket: ServerSocket, request: Request) => void,
  refuse: () => never,
): Promise<void> {
  await app.register(fastifyWebsocket, {
    errorHandler: (_error, socket) => socket.terminate(),
    // The server ends its websockets itself, with a reason for each watch (sockets.ts).
    preClose: (done) => done(),
    options: {
      maxPayload: frameSizeMax,
      perMessageDeflate: false,
      handleProtocols: chooseProtocol,
    },
  })
  app.websocketServer.on('wsClientError', (error, socket) =>
    refuseSocket(socket, invalid(error.message)),
  )
  app.route({ method: 'GET', url, handler: refuse, wsHandler: open })
}

/** The first that is known here, in the client's order. */
function chooseProtocol(offered: ReadonlySet<string>): string | false {
  for (const name of offered) {
    if (name === subprotocol || name === subprotocolJson) return name
  }
  return false
}
