/** The client for browsers: `fetch` and `WebSocket`, web globals only. See rfc/12.
 *  Invariant: nothing here or below it needs Node, the hash or a package but the frames' codec.
 *
 *  Where it differs from Node: a stream that is put is collected first (a Blob, which the browser may
 *  keep on disk), since request streams are not available everywhere; `fetch` does not say whether
 *  a request that failed had been sent, so a failed write is EUNKNOWN; a page can send no header with
 *  a websocket, so the token is its first frame. */

import type { ConnectOptions } from '../api/connect.js'
import type { RemoteStore } from '../api/store.js'
import { deferred } from '../base/deferred.js'
import { onAbort } from '../base/on-abort.js'
import { startTimer } from '../base/timer.js'
import { canceled, TailraceError } from '../error.js'
import { subprotocol } from '../wire/frames.js'
import { checkConnect, openClient } from './client.js'
import {
  type Body,
  type HttpRequest,
  type HttpResponse,
  handshakeMs,
  type Socket,
  type SocketEvents,
  silence,
  type Transport,
} from './transport.js'

export * from '../api/api.js'

/** `target`: `http://HOST:PORT` or `https://HOST:PORT`. Dispose what it gives. Throws EINVAL, and
 *  without `storeId` ECLOSED where no server answers, EMISCONFIGURED. */
export async function connect(target: string, options: ConnectOptions = {}): Promise<RemoteStore> {
  checkConnect(target, options)
  return openClient(new WebTransport(parseTarget(target)), options, Math.random)
}

/** Throws EINVAL. */
function parseTarget(target: string): URL {
  let url: URL | undefined
  try {
    url = new URL(target)
  } catch {
    // Not a URL: refused below.
  }
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:'
  if (url && isHttp && url.pathname === '/' && !url.search && !url.hash && !url.username) return url
  const message = `"${target}" is not a server's address: http://HOST:PORT or https://HOST:PORT`
  throw new TailraceError('EINVAL', message)
}

class WebTransport implements Transport {
  readonly name: string
  readonly socketHeaders = false
  readonly #url: URL
  /** Requests that are not answered, or whose body is still read. */
  readonly #running = new Set<AbortController>()

  constructor(url: URL) {
    this.name = url.origin
    this.#url = url
  }

  async request(request: HttpRequest): Promise<HttpResponse> {
    const { method, path, headers, signal } = request
    if (signal?.aborted) throw canceled(signal)
    const body = request.body === undefined ? undefined : await partOf(request.body)
    const running = new AbortController()
    const endAbort = onAbort(signal, () => running.abort())
    this.#running.add(running)
    const done = () => {
      endAbort()
      this.#running.delete(running)
    }
    const silent = new Silence(request, this.name, () => running.abort())
    // fetch() tells no progress of an upload.
    const uploadMs = (sizeOf(body) * 1_000) / uploadRateMin
    try {
      const init = { method, headers, signal: running.signal, ...(body ? { body } : {}) }
      const sent = fetch(this.#url.origin + path, init)
      const response = await (request.patience ? sent : silent.within(sent, uploadMs))
      return responseOf(response, { running, signal, silent, done })
    } catch (cause) {
      done()
      if (signal?.aborted) throw canceled(signal)
      if (silent.error) throw silent.error
      const message = `${this.name} gave no answer; look whether it was done, and whether the server runs`
      throw new TailraceError('EUNKNOWN', message, { cause })
    }
  }

  async openSocket(
    _headers: Readonly<Record<string, string>>,
    events: SocketEvents,
    signal: AbortSignal,
  ): Promise<Socket> {
    if (signal.aborted) throw canceled(signal)
    const url = new URL('/v1/ws', this.#url)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    return openWebSocket(url.href, events, signal)
  }

  dispose(): void {
    for (const running of this.#running) running.abort()
  }
}

/** Bytes a second that a body goes out with at least. */
const uploadRateMin = 16 * 1024

/** In a Blob the chunks of a stream need not stay in memory, and each was copied into it. */
async function partOf(body: Body): Promise<Uint8Array | Blob> {
  if (body instanceof Uint8Array) return body
  const parts: Blob[] = []
  for await (const chunk of body) parts.push(new Blob([chunk]))
  return new Blob(parts)
}

function sizeOf(body: Uint8Array | Blob | undefined): number {
  return body instanceof Uint8Array ? body.length : (body?.size ?? 0)
}

/** Ends a request whose peer is silent. */
class Silence {
  readonly #request: HttpRequest
  readonly #name: string
  readonly #end: () => void
  error: TailraceError | undefined

  constructor(request: HttpRequest, name: string, end: () => void) {
    this.#request = request
    this.#name = name
    this.#end = end
  }

  async within<T>(promise: Promise<T>, moreMs = 0): Promise<T> {
    if (this.#request.patience === 'all') return promise
    const stopTimer = startTimer(this.#request.idleMs + moreMs, () => {
      this.error = silence(this.#request, { name: this.#name, acted: true })
      this.#end()
    })
    try {
      return await promise
    } finally {
      stopTimer()
    }
  }
}

type Answering = {
  readonly running: AbortController
  readonly signal: AbortSignal | undefined
  readonly silent: Silence
  readonly done: () => void
}

function responseOf(response: Response, answering: Answering): HttpResponse {
  const discard = () => {
    answering.done()
    answering.running.abort()
  }
  const body = bodyOf(response, answering, discard)
  return {
    status: response.status,
    header: (name) => response.headers.get(name) ?? undefined,
    body,
    bytes: (sizeMax) => bytesOf(body, sizeMax),
    discard,
  }
}

async function* bodyOf(
  response: Response,
  { signal, silent }: Answering,
  end: () => void,
): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  try {
    for (;;) {
      const chunk = reader && (await silent.within(reader.read()))
      if (!chunk || chunk.done) return
      yield chunk.value as Uint8Array
    }
  } catch (cause) {
    if (signal?.aborted) throw canceled(signal)
    if (silent.error) throw silent.error
    const message = 'the connection was lost in the middle of an answer'
    throw new TailraceError('EUNKNOWN', message, { cause })
  } finally {
    // Ends the request if the reader left early; after the last byte it changes nothing.
    end()
  }
}

async function bytesOf(body: AsyncIterable<Uint8Array>, sizeMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > sizeMax) {
      throw new TailraceError('E2BIG', `above ${sizeMax} bytes; read it as a stream`)
    }
    chunks.push(chunk)
  }
  const [only] = chunks
  if (only && chunks.length === 1) return only
  const whole = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}

/** The part of the web's `WebSocket` that is used here. */
type BrowserSocket = {
  binaryType: string
  onopen: (() => void) | null
  onmessage: ((event: { readonly data: unknown }) => void) | null
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null
  onerror: (() => void) | null
  readonly readyState: number
  send(data: Uint8Array): void
  close(): void
}
type BrowserGlobal = {
  readonly WebSocket: new (url: string, protocol: string) => BrowserSocket
}
/** `WebSocket.OPEN` */
const openState = 1
/** `CloseEvent.code` of a socket that was cut. */
const cutCode = 1006

async function openWebSocket(
  url: string,
  events: SocketEvents,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = new (globalThis as unknown as BrowserGlobal).WebSocket(url, subprotocol)
  socket.binaryType = 'arraybuffer'
  const open = deferred<void>()
  const endAbort = onAbort(signal, () => open.reject(canceled(signal)))
  socket.onopen = () => open.resolve()
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) events.received(new Uint8Array(data))
  }
  // A browser tells a page nothing about why a socket did not open. An error comes before a close,
  // and outside of browsers sometimes without one.
  const fail = () => open.reject(new TailraceError('EUNKNOWN', 'the websocket did not open'))
  socket.onclose = fail
  socket.onerror = fail
  const stopTimer = startTimer(handshakeMs, fail)
  try {
    await open.promise
  } catch (error) {
    socket.close()
    throw error
  } finally {
    stopTimer()
    endAbort()
  }
  return serve(socket, events)
}

/** A close is waited for by nobody: the peer may be gone, and then it takes the browser minutes. */
function serve(socket: BrowserSocket, events: SocketEvents): Socket {
  const closed = (code: number, reason: string) => {
    socket.onclose = null
    socket.onerror = null
    socket.onmessage = null
    events.closed(code, reason)
  }
  socket.onclose = ({ code, reason }) => closed(code, reason)
  socket.onerror = () => closed(cutCode, 'the connection was lost')
  return {
    send: (frame) => {
      if (socket.readyState === openState) socket.send(frame)
    },
    close: () => {
      if (socket.onclose === null) return
      socket.close()
      closed(cutCode, 'closed by this client')
    },
  }
}
