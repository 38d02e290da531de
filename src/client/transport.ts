/** The interface between the client and its platform: requests, and one kind of socket. Node
 *  (`node.ts`) and browsers (`web.ts`) each implement it; the rest of the client is shared. See
 *  rfc/12.
 *  Invariant: a failure says whether the server may have acted (ECLOSED, ETIMEDOUT: it has not;
 *  EUNKNOWN: nobody can tell), since that decides what may be sent again. */

import { TailraceError } from '../error.js'

/** A body. Bytes are sent with their length, a stream in chunks as they come (in browsers: as one
 *  Blob). */
export type Body = Uint8Array | AsyncIterable<Uint8Array>

/** One HTTP request. */
export type HttpRequest = {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
  /** The path with its query, percent-encoded. It begins with `/`. */
  readonly path: string
  /** The headers; their names are in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Body | undefined
  readonly signal?: AbortSignal | undefined
  /** True for a request that may stay open for long (a wait, a stream). It does not use the
   *  connections of short requests. */
  readonly long?: boolean | undefined
  /** The time after which the request is given up, in ms, if nothing has moved though it is the
   *  server's turn: to be reached, to take more of the body, to answer, or to send more of the
   *  answer. A slow source or consumer is no silence. */
  readonly idleMs: number
  readonly patience?: Patience | undefined
  /** True if the request changes nothing. If it is given up, it is always ETIMEDOUT, never
   *  EUNKNOWN. */
  readonly reads?: boolean | undefined
}

/** The part of a request in which the server may be silent without bound: until the answer begins
 *  (`answer`), or all the time (`all`). */
export type Patience = 'answer' | 'all'

/** The head of an answer. It holds its connection until `body`, `bytes` or `discard` is used, one
 *  of them once. */
export type HttpResponse = {
  readonly status: number
  /** Returns a header. REQUIRES: `name` is in lower case. */
  header(name: string): string | undefined
  /** The body, at the consumer's pace. Leaving the loop ends the connection. Throws EUNKNOWN or
   *  ETIMEDOUT (silence), EUNKNOWN (cut), ECANCELED. */
  readonly body: AsyncIterable<Uint8Array>
  /** Reads the whole body. Throws E2BIG (above `sizeMax`), EUNKNOWN or ETIMEDOUT (silence),
   *  EUNKNOWN (cut), ECANCELED. */
  bytes(sizeMax: number): Promise<Uint8Array>
  /** Drops the body, and ends the connection. */
  discard(): void
}

/** A span of a request, until its work has ended. */
type SentSpan = {
  /** Its place in the trace (W3C `traceparent`). */
  readonly parent: string
  readonly during: <T>(work: () => Promise<T>) => Promise<T>
}

/** The traces of a program that go on through its requests. Node has them (`node.ts`), browsers
 *  have none. See rfc/29, rule 14. */
export type ClientTracing = {
  /** Begins the span of a request, below the active span. Undefined if there is none. */
  readonly sent: (name: string) => SentSpan | undefined
  /** Returns the place of the active span. Undefined if there is none. */
  readonly active: () => string | undefined
  /** Records that an event has come, and returns the place of that in the trace. */
  readonly received: (trace: string) => string
}

/** The time that the handshake of a websocket may take, in ms. */
export const handshakeMs = 10_000

/** Makes the error of a request that was given up. `acted`: the server may have acted on it. */
export function silence(
  { idleMs, reads }: Pick<HttpRequest, 'idleMs' | 'reads'>,
  { name, acted }: { readonly name: string; readonly acted: boolean },
): TailraceError {
  const said = `${name} was silent for ${idleMs} ms`
  return acted && !reads
    ? new TailraceError('EUNKNOWN', `${said}: look whether it was done`)
    : new TailraceError('ETIMEDOUT', `${said}: is it there, and does it run?`)
}

/** The events of an open websocket. `closed` is the last one, and comes once. */
export type SocketEvents = {
  received(frame: Uint8Array): void
  /** Tells the close code of the websocket (1006: cut), and its reason. */
  closed(code: number, message: string): void
}

/** An open websocket. */
export type Socket = {
  /** Sends a frame. Does nothing once the socket is closing. */
  send(frame: Uint8Array): void
  /** Closes the socket without waiting for the peer. */
  close(): void
  /** Takes the memory of a frame back that `received` was given. REQUIRES: nobody reads it any more.
   *  Default: the garbage collector takes it. */
  recycle?(frame: Uint8Array): void
  /** True: the open socket keeps the program running, as it does at first. A browser has no such
   *  thing. */
  hold(runs: boolean): void
}

/** The platform's way to one server. */
export type Transport = {
  /** The name of the server, for messages: `unix:/path`, `http://host:port`. */
  readonly name: string
  /** True if the handshake of a websocket can carry headers, and so the token. Otherwise the token
   *  goes into the first frame. */
  readonly socketHeaders: boolean
  /** The traces of the program. Absent: it has none. */
  readonly tracing?: ClientTracing | undefined
  /** Resolves with the head of the answer. Throws ECLOSED (it was not done), EUNKNOWN, ETIMEDOUT
   *  (silence, and it was not done), ECANCELED, and whatever the body's stream throws: the request
   *  is then cut, not ended. */
  request(request: HttpRequest): Promise<HttpResponse>
  /** Opens `/v1/ws`. Throws ECLOSED (nobody listens), EUNKNOWN (cut), ECANCELED. EUNAUTH, EPERM and
   *  EMISCONFIGURED are final: another try gets the same. */
  openSocket(
    headers: Readonly<Record<string, string>>,
    events: SocketEvents,
    signal: AbortSignal,
  ): Promise<Socket>
  /** Ends every request and connection. Idempotent. */
  dispose(): void
}
