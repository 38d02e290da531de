/** The websocket of Node: the only import of `ws`. See rfc/12, rules 13 and 23.
 *  Invariant: a server that is silent for `silenceMs` is given up. After `closed` no frame is
 *  received. */

import type { IncomingMessage } from 'node:http'
import { connect, type NetConnectOpts, type Socket as NetSocket } from 'node:net'
import WebSocket from 'ws'
import { onAbort } from '../base/abort.js'
import { BufferPool } from '../base/buffer-pool.js'
import { deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { canceled, parseCode, TailraceError } from '../error.js'
import { frameSizeMax, pingMs, subprotocol } from '../wire/frames.js'
import { answeredBySomethingElse, isPassingStatus } from './answer.js'
import { FrameBatch } from './frame-batch.js'
import { FrameReader } from './frame-reader.js'
import { refusedBy } from './node-request.js'
import { handshakeMs, type Socket, type SocketEvents } from './transport.js'

/** The time after which a silent server is given up, in ms: it has missed two pings by then. */
const silenceMs = 2 * pingMs + 5_000
/** The most bytes that one read takes. */
const readSizeMax = 256 * 1024
/** The bytes of one read. All sockets share it: what was read is copied before the next read. Without
 *  it each read would have a buffer of its own, and the garbage collector half of the work. */
const readBuffer = Buffer.allocUnsafeSlow(readSizeMax)
/** The size of a message, in bytes, from which on its memory is used again. */
const recycledSizeMin = 64 * 1024

/** The memory of large messages that were read, of all sockets.
 *  Invariant: only memory that was allocated here is used again, and each once. */
class Messages {
  readonly #pool = new BufferPool()
  readonly #given = new WeakSet<ArrayBufferLike>()

  allocate(length: number): Buffer {
    if (length < recycledSizeMin) return Buffer.allocUnsafe(length)
    const message = this.#pool.take(length)
    this.#given.add(message.buffer)
    return message
  }

  recycle(message: Uint8Array): void {
    if (this.#given.delete(message.buffer)) this.#pool.give(message)
  }
}

const messages = new Messages()

type Opening = {
  /** The name of the server, for messages. */
  readonly name: string
  /** The URL, `ws://host:port/v1/ws`. Its host means nothing if there is a `socketPath`. */
  readonly url: string
  /** The path of a Unix socket. It is not part of the URL, which cannot hold every character. */
  readonly socketPath?: string
  /** The certificates of those who may vouch for the server, in PEM. */
  readonly ca?: Buffer
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
  const isPlain = socketPath !== undefined || opening.url.startsWith('ws:')
  const incoming = new Incoming(events.received)
  const socket = new WebSocket(opening.url, subprotocol, {
    headers: opening.headers,
    ...(opening.ca && { ca: opening.ca }),
    ...(isPlain && { createConnection: incoming.connectTo(socketPath) }),
    handshakeTimeout: handshakeMs,
    maxPayload: frameSizeMax,
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  const endAbort = onAbort(signal, () => socket.terminate())
  try {
    const raw = await opened(socket, opening, { incoming, signal })
    // Nothing stands between the ends of a Unix socket, or of TLS.
    const mask = socketPath === undefined && isPlain
    return serve(socket, events, { raw, mask, incoming })
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
  { incoming, signal }: { readonly incoming: Incoming; readonly signal: AbortSignal },
): Promise<NetSocket> {
  const open = deferred<NetSocket>()
  socket.once('upgrade', ({ socket: raw }) => {
    socket.once('open', () => {
      incoming.readFrames(raw)
      open.resolve(raw)
    })
  })
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
  readonly incoming: Incoming
}

/** The messages that come in, and the socket below the websocket. `ws` reads the handshake, then a
 *  `FrameReader` has the bytes. */
class Incoming {
  /** The time of the last message or ping, by `performance.now()`. */
  heard = performance.now()
  readonly #received: (message: Uint8Array) => void
  #reader: FrameReader | undefined

  constructor(received: (message: Uint8Array) => void) {
    this.#received = received
  }

  /** Returns the function that connects the socket: to the path of a Unix socket, or to the host of
   *  the URL. */
  connectTo(socketPath: string | undefined): typeof connect {
    const connectRaw = (options: NetConnectOpts) => {
      const callback = (size: number): boolean => {
        const bytes = readBuffer.subarray(0, size)
        if (this.#reader) this.#reader.take(bytes)
        else raw.emit('data', Buffer.from(bytes))
        return true
      }
      const onread = { buffer: readBuffer, callback }
      const raw = connect({ ...options, path: socketPath, onread } as NetConnectOpts)
      return raw
    }
    return connectRaw as typeof connect
  }

  /** Reads whole messages from now on, and gives all other frames to `ws`. REQUIRES: called when the
   *  websocket opens, before anything else has looked at the bytes behind the handshake. */
  readFrames(raw: NetSocket): void {
    const [listener, ...others] = raw.listeners('data') as ((bytes: Buffer) => void)[]
    if (!listener || others.length > 0) return
    const reader = new FrameReader({
      sizeMax: frameSizeMax,
      allocate: (length) => messages.allocate(length),
      received: (message) => this.take(message),
      others: (bytes) => listener.call(raw, bytes),
    })
    this.#reader = reader
    raw.off('data', listener)
    // Only the bytes that came with the handshake, and all bytes of TLS, come by this event.
    raw.on('data', (bytes) => reader.take(bytes))
  }

  /** Takes a message. */
  take(message: Uint8Array): void {
    this.heard = performance.now()
    this.#received(message)
  }
}

function serve(socket: WebSocket, events: SocketEvents, { raw, mask, incoming }: Below): Socket {
  incoming.heard = performance.now()
  let stopTimer = startTimer(silenceMs, checkSilence)
  function checkSilence(): void {
    const silent = performance.now() - incoming.heard
    if (silent >= silenceMs) socket.terminate()
    else stopTimer = startTimer(silenceMs - silent, checkSilence)
  }
  socket.on('ping', () => {
    incoming.heard = performance.now()
  })
  // A message in several frames: something that stands between may have cut it.
  socket.on('message', (message) => {
    if (message instanceof Uint8Array) incoming.take(message)
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
    recycle: (frame) => messages.recycle(frame),
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
