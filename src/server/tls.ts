/** TLS below HTTP: the server that takes it, and the TCP connections below its sockets. The only import of
 *  `https` in the server. See rfc/13, rule 33.
 *  Invariant: a handshake ends within `handshakeMs`. What fails before its end is a client's mistake: it
 *  ends the connection, and says nothing in the log. */

import type { ServerOptions as HttpOptions, Server as HttpServer } from 'node:http'
import { createServer, type Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { TailraceError } from '../error.js'
import { refuseSocket } from './refusal.js'

/** The oldest version that is spoken. */
export const tlsVersionMin = 'TLSv1.2'
/** The time that a handshake may take, in ms. */
export const handshakeMs = 10_000

/** The certificate and its key, in PEM. */
type Pair = { readonly cert: Buffer; readonly key: Buffer }

export type TlsOptions = {
  readonly pair: Pair
  /** The time that a handshake may take, in ms. Default: `handshakeMs`. */
  readonly handshakeMs?: number | undefined
}

/** Makes a server of HTTPS. It emits `connection` for each TCP connection, and `secureConnection` with the
 *  socket of HTTP once its handshake has ended. */
export function createTlsServer(http: HttpOptions, tls: TlsOptions): HttpServer {
  const server = createServer({
    ...http,
    ...secureOptions(tls.pair),
    ...{ allowHalfOpen: true }, // as the plain server has it
    handshakeTimeout: tls.handshakeMs ?? handshakeMs,
  })
  // Node's listener makes a `clientError` of it, which is answered in plain HTTP.
  server.removeAllListeners('tlsClientError')
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => refuseTls(error, socket))
  return server
}

/** Gives new connections another certificate. REQUIRES: `createTlsServer` made the server. */
export function replacePair(server: HttpServer, pair: Pair): void {
  ;(server as HttpsServer).setSecureContext(secureOptions(pair))
}

function secureOptions({ cert, key }: Pair) {
  return { cert, key, minVersion: tlsVersionMin } as const
}

function refuseTls({ code }: NodeJS.ErrnoException, socket: TLSSocket): void {
  const below = tcpSocketOf(socket)
  if (code !== 'ERR_SSL_HTTP_REQUEST' || below === socket || below.destroyed) {
    socket.destroy()
    return
  }
  below.on('error', () => {}) // a close follows
  // A client that speaks plain HTTP would else be told of a lost connection.
  const message = 'this address speaks TLS: write https:// in front of it'
  refuseSocket(below, { error: new TailraceError('EMISCONFIGURED', message), status: 400 })
}

/** Returns the TCP socket below one of TLS, and any other socket itself. Node has it in a field that it
 *  does not document. */
export function tcpSocketOf(socket: Socket): Socket {
  return (socket as Socket & { readonly _parent?: Socket | null })._parent ?? socket
}

/** Ends a connection so that what was sent does not look whole: over TCP, also below TLS, by a reset. A
 *  Unix socket has none. */
export function resetConnection(socket: Socket): void {
  if (isUnixSocket(socket)) socket.destroy()
  else tcpSocketOf(socket).resetAndDestroy()
}

export function isUnixSocket(socket: Socket): boolean {
  return socket.localPort === undefined
}
