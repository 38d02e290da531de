/** One request of `node:http`, from its body to the end of its answer. See rfc/12, rules 16 and 24.
 *  Invariant: a streamed body is ended only when its source ended without an error, so that a
 *  server never takes a part for the whole. A failure says whether the server may have acted
 *  (transport.ts). */

import type { ClientRequest, IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { onAbort } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { canceled, isCode, TailraceError } from '../error.js'
import { type Body, type HttpRequest, type HttpResponse, silence } from './transport.js'

type Opening = {
  /** The name of the server, for messages. */
  readonly name: string
  readonly open: (headers: Record<string, string | number>) => ClientRequest
  /** Returns the time of the server's last answer to any request, by `performance.now()`. A request
   *  that waits for a connection is not given up while others are answered. */
  readonly heard: () => number
}

/** Sends a request; see `Transport.request`. */
export async function sendRequest(request: HttpRequest, opening: Opening): Promise<HttpResponse> {
  const { signal } = request
  if (signal?.aborted) throw canceled(signal)
  const sent = opening.open(headersOf(request))
  const sending = new Sending(sent, request, opening)
  sending.send(request.body)
  return sending.response
}

function headersOf({ method, headers, body }: HttpRequest): Record<string, string | number> {
  if (body instanceof Uint8Array) return { ...headers, 'content-length': body.length }
  if (body) return { ...headers, 'transfer-encoding': 'chunked' }
  return method === 'GET' ? { ...headers } : { ...headers, 'content-length': 0 }
}

class Sending {
  readonly #request: ClientRequest
  readonly #asked: HttpRequest
  readonly #opening: Opening
  readonly #response = deferred<HttpResponse>()
  /** True once there is a connection to the server: bytes may have arrived. */
  #connected = false
  /** True once all of the body was handed over: the server may have acted. */
  #whole = false
  #source: Readable | undefined
  /** The error that the body's source threw. The caller gets it back unchanged. */
  #sourceFailure: { readonly error: unknown } | undefined
  #answer: IncomingMessage | undefined
  /** True once the request was given up because the server was silent. */
  #silent = false
  readonly #endAbort: () => void
  #stopQueueTimer: () => void

  constructor(request: ClientRequest, asked: HttpRequest, opening: Opening) {
    this.#request = request
    this.#asked = asked
    this.#opening = opening
    this.#endAbort = onAbort(asked.signal, () => {
      this.#source?.destroy()
      this.#request.destroy()
    })
    this.#stopQueueTimer = startTimer(asked.idleMs, () => this.#checkQueue())
    request.on('timeout', () => this.#onTimeout())
    request.once('socket', (socket) => {
      this.#stopQueueTimer()
      const connected = 'encrypted' in socket ? 'secureConnect' : 'connect'
      if (socket.connecting) socket.once(connected, () => this.#onConnect())
      else this.#onConnect()
    })
    request.once('response', (response) => this.#onResponse(response))
    // Only the first error counts, and none after the answer: the promise is settled by then.
    request.on('error', (error) => this.#response.reject(this.#failureOf(error)))
    request.once('close', () => this.#onClose())
  }

  get response(): Promise<HttpResponse> {
    return this.#response.promise
  }

  send(body: Body | undefined): void {
    if (body === undefined || body instanceof Uint8Array) {
      this.#whole = true
      this.#request.end(body)
      return
    }
    // Each chunk is copied: it is sent later, when the source may have reused its buffer.
    const source = Readable.from(copies(body), { objectMode: true, highWaterMark: 1 })
    this.#source = source
    source.once('error', (error) => {
      this.#sourceFailure = { error }
      this.#request.destroy(error)
    })
    source.once('end', () => {
      this.#whole = true
      this.#request.end()
    })
    source.pipe(this.#request, { end: false })
  }

  #onConnect(): void {
    this.#connected = true
  }

  #onResponse(response: IncomingMessage): void {
    // The server answered before the end of the body: it refused, or needs no more. Send no more.
    if (!this.#whole) this.#stopSource()
    this.#answer = response
    this.#response.resolve(responseOf(response, this.#request, this.#asked.signal))
  }

  /** Gives up a request that waits for a connection, if the server has answered no request for
   *  `idleMs`. */
  #checkQueue(): void {
    const { idleMs } = this.#asked
    const silentMs = performance.now() - this.#opening.heard()
    if (silentMs >= idleMs) this.#giveUp()
    else this.#stopQueueTimer = startTimer(idleMs - silentMs, () => this.#checkQueue())
  }

  /** Gives up, if nothing moved on the connection though it is the server's turn. */
  #onTimeout(): void {
    if (this.#isPeersTurn()) this.#giveUp()
    else this.#request.socket?.setTimeout(this.#asked.idleMs)
  }

  #isPeersTurn(): boolean {
    const { patience } = this.#asked
    if (!this.#connected) return true
    if (patience === 'all') return false
    if (this.#answer) return this.#answer.readableLength === 0
    if (this.#whole) return patience !== 'answer'
    return this.#request.writableNeedDrain
  }

  #giveUp(): void {
    this.#silent = true
    if (this.#answer) this.#answer.destroy(this.#silence())
    else this.#request.destroy()
  }

  #silence(): TailraceError {
    return silence(this.#asked, { name: this.#opening.name, acted: this.#whole })
  }

  #stopSource(): void {
    this.#source?.unpipe(this.#request)
    this.#source?.destroy()
  }

  #onClose(): void {
    this.#endAbort()
    this.#stopQueueTimer()
    this.#stopSource()
    this.#response.reject(this.#failureOf(undefined))
  }

  #failureOf(cause: Error | undefined): unknown {
    if (this.#sourceFailure) return this.#sourceFailure.error
    const { signal } = this.#asked
    if (signal?.aborted) return canceled(signal)
    if (this.#silent) return this.#silence()
    if (!this.#connected) return refusedBy(this.#opening.name, cause)
    if (!this.#whole) {
      const message = 'the connection was lost in the middle of the body; nothing was stored'
      return new TailraceError('ECLOSED', message, { cause })
    }
    const message = 'the connection was lost before the answer; look whether it was done'
    return new TailraceError('EUNKNOWN', message, { cause })
  }
}

/** The codes of TLS errors: the peer has no TLS, or its certificate is not valid. */
const ofTls = /^(EPROTO$|ERR_(TLS|SSL)_)|CERT|SIGNATURE|ISSUER/

/** Makes the error of a connection that was not made: ECLOSED, or EMISCONFIGURED for an error of
 *  TLS. */
export function refusedBy(name: string, cause: Error | undefined): TailraceError {
  if (cause && 'code' in cause && ofTls.test(String(cause.code))) {
    const message = `${name} has no good TLS (${cause.message.trim()}): ${adviceFor(String(cause.code))}`
    return new TailraceError('EMISCONFIGURED', message, { cause })
  }
  const code = cause && 'code' in cause ? ` (${String(cause.code)})` : ''
  const message = `no server answers at ${name}${code}; start one with "tailrace serve", or correct the address`
  return new TailraceError('ECLOSED', message, { cause })
}

/** Says what to do about an error of TLS. */
function adviceFor(code: string): string {
  if (/^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(code)) return 'renew the certificate of the server'
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return 'call it by a name that its certificate has'
  if (/CERT|SIGNATURE|ISSUER/.test(code)) {
    return 'name who vouches for its certificate: `ca` of connect(), TAILRACE_CA of the command'
  }
  return 'does it speak plain http:// there?'
}

async function* copies(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    if (chunk.length > 0) yield Uint8Array.from(chunk)
  }
}

function responseOf(
  response: IncomingMessage,
  request: ClientRequest,
  signal: AbortSignal | undefined,
): HttpResponse {
  // The connection of a request whose body was not ended cannot be used again.
  response.once('close', () => {
    if (!request.writableEnded) request.destroy()
  })
  // A reader of the body gets its errors. Without a reader they must not end the process.
  response.on('error', () => {})
  return {
    status: response.statusCode ?? 0,
    header: (name) => {
      const value = response.headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    },
    body: bodyOf(response, signal),
    bytes: (sizeMax) => bytesOf(response, sizeMax, signal),
    discard: () => response.destroy(),
  }
}

async function* bodyOf(
  response: IncomingMessage,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response) yield chunk as Uint8Array
  } catch (cause) {
    throw cut(cause, signal)
  }
}

/** Reads a whole body by events, which is several times faster than iterating if the body is
 *  small. */
async function bytesOf(
  response: IncomingMessage,
  sizeMax: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  if (Number(response.headers['content-length'] ?? 0) > sizeMax) {
    response.destroy()
    throw tooBig(sizeMax)
  }
  const whole = deferred<Uint8Array>()
  const chunks: Uint8Array[] = []
  let size = 0
  response.on('data', (chunk: Uint8Array) => {
    size += chunk.length
    chunks.push(chunk)
    if (size <= sizeMax) return
    whole.reject(tooBig(sizeMax))
    response.destroy()
  })
  response.once('end', () => whole.resolve(Buffer.concat(chunks, size)))
  response.once('error', (cause) => whole.reject(cut(cause, signal)))
  response.once('close', () => whole.reject(cut(undefined, signal)))
  return whole.promise
}

function cut(cause: unknown, signal: AbortSignal | undefined): TailraceError {
  if (signal?.aborted) return canceled(signal)
  if (isCode(cause, 'ETIMEDOUT') || isCode(cause, 'EUNKNOWN')) return cause
  return new TailraceError('EUNKNOWN', 'the connection was lost in the middle of an answer', {
    cause,
  })
}

function tooBig(sizeMax: number): TailraceError {
  return new TailraceError('E2BIG', `above ${sizeMax} bytes; read it as a stream`)
}
