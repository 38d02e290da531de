/** Errors as answers: the envelope of rfc/2 on a response, or on a socket that has no response. See
 *  rfc/12, rules 3, 6, 26 and 28.
 *  Invariant: what is left of a refused body is dropped within the bounds of a `Rest`, in bytes and in
 *  time; a stranger is answered before that. Beyond the bounds the connection ends. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { TailraceError } from '../error.js'
import { errorBodyOf, statusOf } from '../wire/status.js'

/** Bounds for reading and dropping a refused body. `answer`: whether the answer goes out before that, or after
 *  it. A client of Node that has its answer is not told any more that it may write on, and would wait. */
export type Rest = {
  readonly answer: 'first' | 'last'
  readonly size: number
  readonly ms: number
}

/** For a client that was admitted: its connection stays usable where the body ends within the bounds. */
export const admittedRest: Rest = { answer: 'last', size: 64 * 1024 * 1024, ms: 5_000 }
/** For anybody else. The connection ends. */
export const strangerRest: Rest = { answer: 'first', size: 1024 * 1024, ms: 2_000 }
/** For refusals that wait for nothing more. The connection ends. */
export const noRest: Rest = { answer: 'first', size: 0, ms: 0 }

/** Sent with every answer but those that say otherwise. */
export const commonHeaders = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // A page that somebody stored is no script on the server's origin.
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  vary: 'Origin',
} as const

export type Refusal = {
  readonly error: TailraceError
  /** HTTP status, where it is not that of the code. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly rest: Rest
}

/** Answers, and drops what is left of the body. Does nothing where an answer has begun already. */
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

/** For what went wrong before there was a request: the answer is written by hand, and the connection
 *  ends. `request`: whether anybody may read a body. */
export function refuseSocket(
  socket: Duplex,
  error: TailraceError,
  status = statusOf(error.code),
): void {
  const body = JSON.stringify({ error: errorBodyOf(error) })
  const headers = {
    ...commonHeaders,
    'tailrace-error': error.code,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${error.code}\r\n${head.join('')}\r\n${body}`)
  // A peer that does not close its side has read the answer by then, or never will.
  const timer = setTimeout(() => socket.destroy(), strangerRest.ms)
  socket.once('close', () => clearTimeout(timer))
}

/** Whether the request says that it has a body. */
export function hasBody(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  return coding !== undefined || (length !== undefined && Number(length) > 0)
}

/** Bytes that the body will have; 0 where nobody said. */
function declaredSize(request: IncomingMessage): number {
  return Number(request.headers['content-length'] ?? 0)
}

/** `end` is called once: with true when the whole body has gone, with false when a bound was met or the
 *  client has gone. */
function dropRest(request: IncomingMessage, rest: Rest, end: (dropped: boolean) => void): void {
  let left = rest.size
  const timer = setTimeout(() => finish(false), rest.ms)
  const finish = (dropped: boolean) => {
    clearTimeout(timer)
    request.off('data', drop).off('end', ended).off('close', closed).off('error', closed)
    request.on('error', () => {})
    end(dropped)
  }
  const drop = (chunk: Uint8Array) => {
    left -= chunk.length
    if (left < 0) finish(false)
  }
  const ended = () => finish(true)
  const closed = () => finish(false)
  request.on('data', drop).once('end', ended).once('close', closed).once('error', closed)
  request.resume()
}
