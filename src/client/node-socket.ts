/** The websocket of Node: the only import of `ws`. See rfc/12, rules 13 and 23.
 *  Invariant: a server that is silent for `silenceMs` is given up. After `closed` no frame is
 *  received. */

import type { IncomingMessage } from 'node:http'
import { connect, type Socket as NetSocket } from 'node:net'
import WebSocket from 'ws'
import { onAbort } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { canceled, parseCode, TailraceError } from '../error.js'
import { frameSizeMax, pingMs, subprotocol } from '../wire/frames.js'
import { answeredBySomethingElse, isPassingStatus } from './answer.js'
import { FrameBatch } from './frame-batch.js'
import { refusedBy } from './node-request.js'
import { handshakeMs, type Socket, type SocketEvents } from './transport.js'

/** The time after which a silent server is given up, in ms: it has missed two pings by then. */
const silenceMs = 2 * pingMs + 5_000

type Opening = {
  /** The name of the server, for messages. */
  readonly name: string
  /** The URL, `ws://host:port/v1/ws`. Its host means nothing if there is a `socketPath`. */
  readonly url: string
  /** The path of a Unix socket. It is not part of the URL, which cannot hold every character. */
  readonly socketPath?: string
  readonly headers: Readonly<Record<string, string>>
  /** True if a websocket was opened at this address before. */
  readonly reached: boolean
}

/** Opens a websocket; see `Transport.openSocket`. */
export async function openNodeSocket(
  opening: Opening,
  events: SocketEvents,
  signal: AbortSignal,
): Promise<Socket> {
  if (signal.aborted) throw canceled(signal)
  const { socketPath } = opening
  const socket = new WebSocket(opening.url, subprotocol, {
    headers: opening.headers,
    ...(socketPath === undefined ? {} : { createConnection: () => connect(socketPath) }),
    handshakeTimeout: handshakeMs,
    maxPayload: frameSizeMax,
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  const endAbort = onAbort(signal, () => socket.terminate())
  try {
    const raw = await opened(socket, opening, signal)
    // Nothing stands between the ends of a Unix socket, or of TLS.
    const mask = socketPath === undefined && opening.url.startsWith('ws:')
    return serve(socket, events, { raw, mask })
  } catch (error) {
    socket.terminate()
    throw error
  } finally {
    endAbort()
  }
}

/** Resolves to the socket below the websocket once it is open. */
async function opened(
  socket: WebSocket,
  opening: Opening,
  signal: AbortSignal,
): Promise<NetSocket> {
  const open = deferred<NetSocket>()
  socket.once('upgrade', ({ socket: raw }) => socket.once('open', () => open.resolve(raw)))
  socket.once('unexpected-response', (_, response) => {
    response.destroy()
    open.reject(answeredBy(response, opening))
  })
  // This listener stays for the socket's whole life. After an error `close` follows, which ends it.
  socket.on('error', (error) => {
    open.reject(signal.aborted ? canceled(signal) : failureOf(error, opening.name))
  })
  return open.promise
}

type Below = {
  /** The socket below the websocket. */
  readonly raw: NetSocket
  readonly mask: boolean
}

function serve(socket: WebSocket, events: SocketEvents, { raw, mask }: Below): Socket {
  let heard = performance.now()
  let stopTimer = startTimer(silenceMs, checkSilence)
  function checkSilence(): void {
    const silent = performance.now() - heard
    if (silent >= silenceMs) socket.terminate()
    else stopTimer = startTimer(silenceMs - silent, checkSilence)
  }
  socket.on('ping', () => {
    heard = performance.now()
  })
  socket.on('message', (message) => {
    heard = performance.now()
    if (message instanceof Uint8Array) events.received(message)
  })
  socket.once('close', (code, reason) => {
    stopTimer()
    events.closed(code, reason.toString())
  })
  const write = (bytes: Uint8Array) => {
    if (socket.readyState === WebSocket.OPEN) raw.write(bytes)
  }
  const batch = new FrameBatch(write, { mask })
  let held = true
  return {
    send: (frame) => batch.add(frame),
    close: () => {
      batch.flush()
      socket.terminate()
    },
    hold: (runs) => {
      if (runs === held) return
      held = runs
      if (runs) raw.ref()
      else raw.unref()
    },
  }
}

/** Makes the error for an answer to the handshake that opens no websocket. The header
 *  `Tailrace-Error` tells the server's own answers from others. */
function answeredBy(
  { statusCode: status = 0, headers }: IncomingMessage,
  { name, reached }: Opening,
): TailraceError {
  const header = (of: string) => headers[of]?.toString()
  const code = parseCode(header('tailrace-error'))
  if (code === undefined) return answeredBySomethingElse({ status, header }, { name, reached })
  if (code === 'EUNAUTH') {
    return new TailraceError('EUNAUTH', `${name} wants a token, and not this one`)
  }
  if (code === 'EPERM') return new TailraceError('EPERM', `${name} does not allow this client`)
  if (isPassingStatus(status)) {
    return new TailraceError('EUNKNOWN', `${name} opens no websocket now: ${code}`)
  }
  const message = `${name} has no websocket of Tailrace (status ${status}); are both of one version?`
  return new TailraceError('EMISCONFIGURED', message)
}

/** Makes the error of a handshake that failed: EUNKNOWN if the connection was there, and was
 *  cut. */
function failureOf(error: Error, name: string): TailraceError {
  const code = 'code' in error ? String(error.code) : ''
  if (refusals.has(code)) return refusedBy(name, error)
  return new TailraceError('EUNKNOWN', `the websocket did not open: ${error.message}`, {
    cause: error,
  })
}

/** Codes of the system: nobody listens, or the address cannot be reached. */
const refusals: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'EACCES',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
])
