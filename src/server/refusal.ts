/** Answers with an error, in the envelope of rfc/2, rule 9: on a response, or on a socket that has
 *  no response. See rfc/12, rules 3, 6, 7, 26 and 28.
 *  Invariant: the rest of a refused body is read and dropped within the bounds of a `Rest`, in
 *  bytes and in time. A client that is not admitted is answered before that. Beyond the bounds the
 *  connection ends. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { TailraceError } from '../error.js'
import { errorBodyOf, statusOf } from '../wire/status.js'
import { commonHeaders } from './page-safety.js'

/** The bounds for reading and dropping the rest of a refused body. `answer: 'last'` sends the
 *  answer after it: an HTTP client of Node that has its answer gets no 'drain' any more, and would
 *  wait for ever to write the rest of its body. */
export type Rest = {
  readonly answer: 'first' | 'last'
  /** The largest rest that is dropped, in bytes of the connection, to which each piece of the body adds
   *  `pieceCost`. */
  readonly size: number
  /** The longest time for that, in ms. */
  readonly ms: number
}

/** The cost of a piece of a body besides its bytes, in bytes: a chunk of one byte takes the server as long
 *  as some hundred bytes do. */
const pieceCost = 1024

/** The bounds for a client that was admitted. Its connection stays usable if the body ends within
 *  them. */
export const admittedRest: Rest = { answer: 'last', size: 64 * 1024 * 1024, ms: 5_000 }
/** The bounds for a client that was not admitted. Its connection ends. */
export const strangerRest: Rest = { answer: 'first', size: 1024 * 1024, ms: 2_000 }
/** The bounds for a body that has stalled: none of its rest is read. The connection ends. */
export const noRest: Rest = { answer: 'first', size: 0, ms: 0 }

type Refusal = {
  readonly error: TailraceError
  /** The HTTP status. Default: the status of the error's code. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly rest: Rest
}

/** Answers with an error, and drops the rest of the body. If an answer has begun already, no second
 *  one is sent. */
export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  const { rest } = refusal
  if (!hasBody(request) || request.complete) {
    answer(response, refusal, 'kept')
    response.end()
    return
  }
  if (rest.answer === 'first' || declaredSize(request) > rest.size) {
    answer(response, refusal, 'closed')
    dropRest(request, rest.answer === 'first' ? rest : strangerRest, () => {
      response.end()
      response.socket?.destroySoon()
    })
    return
  }
  dropRest(request, rest, (dropped) => {
    answer(response, refusal, dropped ? 'kept' : 'closed')
    response.end()
  })
}

function answer(
  response: ServerResponse,
  { error, status, headers }: Refusal,
  connection: 'kept' | 'closed',
): void {
  if (response.headersSent || response.destroyed) return
  const body = JSON.stringify({ error: errorBodyOf(error) })
  response.writeHead(status ?? statusOf(error.code), {
    ...headers,
    'tailrace-error': error.code,
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    ...(connection === 'closed' ? { connection: 'close' } : {}),
  })
  response.write(body)
}

type SocketRefusal = Omit<Refusal, 'rest'> & {
  /** True if the answer has no body, since the request was HEAD. */
  readonly bodiless?: boolean
}

/** Answers with an error on a socket without a response, and ends the connection. What comes meanwhile
 *  is dropped within `strangerRest`, unread. */
export function refuseSocket(socket: Duplex, refusal: SocketRefusal): void {
  const { error, status = statusOf(error.code), bodiless = false } = refusal
  const body = JSON.stringify({ error: errorBodyOf(error) })
  const headers = {
    ...commonHeaders,
    ...refusal.headers,
    'tailrace-error': error.code,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const answer = bodiless ? '' : body
  socket.end(`HTTP/1.1 ${status} ${error.code}\r\n${head.join('')}\r\n${answer}`)
  // After this time the peer has read the answer, or never will.
  const timer = setTimeout(() => socket.destroy(), strangerRest.ms)
  socket.once('close', () => clearTimeout(timer))
  let dropped = 0
  socket.on('data', (piece: Uint8Array) => {
    dropped += piece.length
    if (dropped > strangerRest.size) socket.destroy()
  })
}

/** True if the headers of the request announce a body. */
export function hasBody(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  return coding !== undefined || (length !== undefined && Number(length) > 0)
}

/** Returns the size of the body in bytes; 0 if the client has not sent it. */
function declaredSize(request: IncomingMessage): number {
  return Number(request.headers['content-length'] ?? 0)
}

/** Reads and drops the rest of a body. Calls `end` once: with true after the whole body, with false
 *  if a bound was reached or the client has gone. */
function dropRest(request: IncomingMessage, rest: Rest, end: (dropped: boolean) => void): void {
  const { socket } = request
  const start = socket.bytesRead
  let body = 0
  let pieces = 0
  const timer = setTimeout(() => finish(false), rest.ms)
  const finish = (dropped: boolean) => {
    clearTimeout(timer)
    request.off('data', drop).off('end', ended).off('close', closed).off('error', closed)
    request.on('error', () => {})
    end(dropped)
  }
  const drop = (piece: Uint8Array) => {
    body += piece.length
    pieces++
    // A chunk may have a long extension, which is no part of the body. The first pieces may have been
    // read with the head.
    const read = Math.max(body, socket.bytesRead - start)
    if (read + pieces * pieceCost > rest.size) finish(false)
  }
  const ended = () => finish(true)
  const closed = () => finish(false)
  request.on('data', drop).once('end', ended).once('close', closed).once('error', closed)
  request.resume()
}
