/** What the client needs of its platform: requests and one kind of socket. Node (`node.ts`) and
 *  browsers (`web.ts`) each have one; everything else of the client is shared. See rfc/12.
 *  Invariant: a failure says whether the server may have acted on it (ECLOSED, ETIMEDOUT: it has not; EUNKNOWN:
 *  nobody can tell), since that decides what may be sent again. */

import { TailraceError } from '../error.js'

/** Bytes are sent with their length; a stream as it comes (browsers: collected first). */
export type Body = Uint8Array | AsyncIterable<Uint8Array>

export type HttpRequest = {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
  /** Percent-encoded, with the query, from `/`. */
  readonly path: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Body | undefined
  readonly signal?: AbortSignal | undefined
  /** It may stay open for long (a wait, a stream): it takes no place of the short ones. */
  readonly long?: boolean | undefined
  /** It is given up when nothing has moved for so long though the peer is to move: it was not reached, takes no
   *  more of the body, or sends no more of the answer. A slow source or consumer is no silence. */
  readonly idleMs: number
  readonly patience?: Patience | undefined
  /** It changes nothing: if it is given up, that is all there is to say (ETIMEDOUT). */
  readonly reads?: boolean | undefined
}

/** A peer that may be silent: before the answer begins, or all the time. */
export type Patience = 'answer' | 'all'

/** Take `body` or `bytes` or `discard`, once: until then the connection is held. */
export type HttpResponse = {
  readonly status: number
  /** REQUIRES: `name` is in lower case. */
  header(name: string): string | undefined
  /** At the consumer's pace; leaving the loop ends the connection. Throws EUNKNOWN (cut), ECANCELED. */
  readonly body: AsyncIterable<Uint8Array>
  /** The whole body. Throws E2BIG (above `sizeMax`), EUNKNOWN (cut), ECANCELED. */
  bytes(sizeMax: number): Promise<Uint8Array>
  discard(): void
}

/** The handshake of a websocket takes at most this long. */
export const handshakeMs = 10_000

/** The error of a request that was given up. `acted`: the server may have done what it was asked to. */
export function silence(
  { idleMs, reads }: Pick<HttpRequest, 'idleMs' | 'reads'>,
  { name, acted }: { readonly name: string; readonly acted: boolean },
): TailraceError {
  const said = `${name} was silent for ${idleMs} ms`
  return acted && !reads
    ? new TailraceError('EUNKNOWN', `${said}: look whether it was done`)
    : new TailraceError('ETIMEDOUT', `${said}: is it there, and does it run?`)
}

/** `closed` is the last call, and comes once, but not before the socket was opened. */
export type SocketEvents = {
  received(frame: Uint8Array): void
  /** The websocket's close code (1006: cut), and words. */
  closed(code: number, message: string): void
}

export type Socket = {
  /** Does nothing once the socket is closing. */
  send(frame: Uint8Array): void
  /** Ends it without waiting for the peer. */
  close(): void
}

export type Transport = {
  /** For messages: `unix:/path`, `http://host:port`. */
  readonly name: string
  /** The socket's handshake carries headers, the token too; otherwise it goes in the first frame. */
  readonly socketHeaders: boolean
  /** Resolves with the head of the answer. Throws ECLOSED, EUNKNOWN, ETIMEDOUT (not reached in the time, or it
   *  reads), ECANCELED, and whatever the body's stream throws (the request is then cut, not ended). */
  request(request: HttpRequest): Promise<HttpResponse>
  /** Opens `/v1/ws`. Throws ECLOSED (nobody listens), EUNKNOWN (cut), ECANCELED, and for good:
   *  EUNAUTH, EPERM, EMISCONFIGURED. */
  openSocket(
    headers: Readonly<Record<string, string>>,
    events: SocketEvents,
    signal: AbortSignal,
  ): Promise<Socket>
  /** Ends every request and connection. Idempotent. */
  dispose(): void
}
