/** The websocket of Node: the only import of `ws`. See rfc/12.
 *  Invariant: a peer that is silent for longer than its pings allow is given up, and a socket that
 *  was closed says no more than that. */

import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import WebSocket from 'ws'
import { deferred } from '../base/deferred.js'
import { onAbort } from '../base/on-abort.js'
import { startTimer } from '../base/timer.js'
import { canceled, parseCode, TailraceError } from '../error.js'
import { frameSizeMax, pingMs, subprotocol } from '../wire/frames.js'
import { answeredBySomethingElse, isPassingStatus } from './answer.js'
import { refusedBy } from './node-request.js'
import { handshakeMs, type Socket, type SocketEvents } from './transport.js'

/** Two pings of the server, and some. */
export const silenceMs = 2 * pingMs + 5_000

type Opening = {
  /** Of the server, for messages. */
  readonly name: string
  /** `ws://host:port/v1/ws`; the host says nothing where there is a `socketPath`. */
  readonly url: string
  /** Of a Unix socket. Not in the URL, where it could not hold every character. */
  readonly socketPath?: string
  readonly headers: Readonly<Record<string, string>>
  /** A websocket was opened there before. */
  readonly reached: boolean
}

/** See `Transport.openSocket`. */
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
    await opened(socket, opening, signal)
  } catch (error) {
    socket.terminate()
    throw error
  } finally {
    endAbort()
  }
  return serve(socket, events)
}

async function opened(socket: WebSocket, opening: Opening, signal: AbortSignal): Promise<void> {
  const open = deferred<void>()
  socket.once('open', () => open.resolve())
  socket.once('unexpected-response', (_, response) => {
    response.destroy()
    open.reject(answeredBy(response, opening))
  })
  // Stays for the socket's whole life: an error is followed by `close`, which is what counts.
  socket.on('error', (error) => {
    open.reject(signal.aborted ? canceled(signal) : failureOf(error, opening.name))
  })
  await open.promise
}

function serve(socket: WebSocket, events: SocketEvents): Socket {
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
  return {
    send: (frame) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(frame)
    },
    close: () => socket.terminate(),
  }
}

/** An answer to the handshake that is not a websocket: the server's own names its code. */
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

/** Errors of the system have a code; a handshake that was cut or broken off has none or another. */
function failureOf(error: Error, name: string): TailraceError {
  const code = 'code' in error ? String(error.code) : ''
  if (refusals.has(code)) return refusedBy(name, error)
  return new TailraceError('EUNKNOWN', `the websocket did not open: ${error.message}`, {
    cause: error,
  })
}

/** The system says that nobody listens, or that the address leads nowhere. */
const refusals: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'EACCES',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
])
