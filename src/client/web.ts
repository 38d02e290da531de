/** The client for browsers: `fetch` and `WebSocket`, web globals only. See rfc/12.
 *  Invariant: nothing here or below it needs Node, the hash or a package, but the codec of frames.
 *
 *  It differs from the client for Node in three points. A stream that is put is collected first, in
 *  a Blob that the browser may keep on disk, since not all browsers stream requests. `fetch` does
 *  not say whether a request that failed had been sent, so a failed write is EUNKNOWN. A page
 *  cannot send headers with a websocket, so the token is in its first frame. */

import type { ConnectOptions } from '../api/connect.js'
import type { RemoteStore } from '../api/store.js'
import { onAbort } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { join } from '../blob/blob.js'
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

/** Connects to the server at `target`: `http://HOST:PORT` or `https://HOST:PORT`. Dispose the store
 *  at the end. Throws EINVAL. Unless `storeId` is given, it also throws ECLOSED or ETIMEDOUT if no
 *  server answers, and EMISCONFIGURED if something else does. */
export async function connect(target: string, options: ConnectOptions = {}): Promise<RemoteStore> {
  checkConnect(target, options)
  if (options.ca !== undefined) {
    throw new TailraceError('EINVAL', 'a browser has its own authorities: give it the `ca` there')
  }
  return openClient(new WebTransport(parseTarget(target)), options, Math.random)
}

/** Parses the address of a server. Throws EINVAL. */
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
  /** The requests that are not answered yet, or whose answer is still read. */
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
    // fetch() shows no progress of an upload, so the body gets its time in advance.
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

/** The slowest upload that is not given up, in bytes per second. */
const uploadRateMin = 16 * 1024

/** Makes the body of a request. A stream becomes a Blob, which copies each chunk and need not stay
 *  in memory. */
async function partOf(body: Body): Promise<Uint8Array | Blob> {
  if (body instanceof Uint8Array) return body
  const parts: Blob[] = []
  for await (const chunk of body) parts.push(new Blob([chunk]))
  return new Blob(parts)
}

function sizeOf(body: Uint8Array | Blob | undefined): number {
  return body instanceof Uint8Array ? body.length : (body?.size ?? 0)
}

/** A time-out that ends a request whose server is silent. */
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
  return join(chunks)
}

/** The part of a browser's `WebSocket` that this file uses. */
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
/** The value of `WebSocket.OPEN`. */
const openState = 1
/** The close code of a socket that was cut. */
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
  // A browser does not tell a page why a socket did not open. `error` comes before `close`; outside
  // of browsers it sometimes comes alone.
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

/** Wraps an open socket. `close` does not wait for the closing handshake: if the peer is gone, it
 *  takes a browser minutes. */
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
    hold: () => {},
  }
}
