/** Streams bytes as an answer, at the client's pace. See rfc/12, rules 9 and 22.
 *  Invariant: an error before the first byte is answered in the envelope. A later error ends the
 *  connection, so that a cut stream never looks whole. At most one piece and one batch of small
 *  pieces are held. */

import { once } from 'node:events'
import type { Socket } from 'node:net'
import { blobSizeMax } from '../blob/blob.js'
import { isCode, TailraceError } from '../error.js'
import type { Activity } from './activity.js'
import type { Reply } from './app.js'
import { smallSize } from './backlogs.js'
import type { FrontRequest } from './front-request.js'
import { Gatherer } from './gatherer.js'
import { Beats, type Heartbeat } from './heartbeat.js'
import type { Log } from './log.js'
import type { Pace } from './pace.js'
import { isUnixSocket, resetConnection } from './tls.js'

/** The headers that keep proxies from caching, buffering or changing a stream. */
const streamHeaders = { 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' }
/** The time that bytes have to leave before their connection is reset, in ms. */
const cutMs = 1_000

/** The number of times that a piece of an event stream is in memory while it waits: its event, and its
 *  bytes. Streams with a heartbeat are event streams, or small. */
const eventCopies = 2

/** Returns a signal that is aborted when the client has gone, or when the server stops (ECLOSED).
 *  The request counts as a wait until its answer ends. Throws EBUSY. */
export function signalOf(activity: Activity, reply: Reply): AbortSignal {
  const wait = activity.wait()
  const { raw } = reply
  if (raw.destroyed) activity.giveBack(wait)
  else raw.once('close', () => activity.giveBack(wait))
  return wait.signal
}

type ByteStream = {
  /** Returns the headers. It is called once, after the first piece has come. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>
  readonly pieces: AsyncIterable<Uint8Array>
  /** Called with a piece once its bytes are not needed here any more; not with each. Default: pieces
   *  are left to the garbage collector. */
  readonly release?: (piece: Uint8Array) => void
  /** Sent where no piece comes for a while. The first one begins the answer. Default: none. */
  readonly heartbeat?: Heartbeat | undefined
  /** The signal of `signalOf`. */
  readonly signal: AbortSignal
  readonly log: Log
  readonly pace: Pace
}

/** Sends a stream. Resolves when all was sent, when the stream was cut, or when the client has
 *  gone. Throws what the first piece and `headers` throw: until then Fastify can still answer. */
export async function sendStream(reply: Reply, stream: ByteStream): Promise<void> {
  const { headers, pieces, signal, log, pace, heartbeat, release } = stream
  const { backlog } = reply.request.raw as FrontRequest
  const copies = heartbeat ? eventCopies : 1
  const pieceSize = blobSizeMax * copies
  const share = pace.share()
  const iterator = pieces[Symbol.asyncIterator]()
  const { raw } = reply
  const gatherer = new Gatherer((bytes) => {
    const done = (error: Error | null | undefined) => {
      if (!error) release?.(bytes)
    }
    raw.write(bytes, done)
    share.spend(bytes.length)
  })
  let beginning: Promise<void> | undefined
  const begin = () => {
    beginning ??= sendHead(reply, headers)
    return beginning
  }
  const beat = async () => {
    await begin()
    // A client that does not read what it has got needs no heartbeat.
    if (!heartbeat || raw.destroyed || raw.writableEnded || raw.writableNeedDrain) return
    gatherer.add(heartbeat.bytes)
  }
  using beats = heartbeat && new Beats(heartbeat.ms, () => void beat().catch(() => raw.destroy()))
  try {
    await backlog?.room(pieceSize)
    let piece = await iterator.next()
    await begin()
    while (!piece.done && !raw.destroyed) {
      gatherer.add(piece.value)
      beats?.restart()
      if (raw.writableNeedDrain) {
        backlog?.set(raw.writableLength * copies)
        await once(raw, 'drain', { signal })
      }
      backlog?.set(0)
      // Streams of small pieces go on: they have little to send.
      if (piece.value.length > smallSize) {
        // The source of an event stream would hold its last piece meanwhile. Its client comes back.
        if (heartbeat && backlog?.spent) throw comeBack()
        await backlog?.room(pieceSize)
      }
      await share.take()
      share.begin()
      piece = await iterator.next()
    }
    gatherer.flush()
    raw.end()
  } catch (error) {
    if (!reply.sent) throw error
    gatherer.flush()
    // Its client was asked to make room, and comes back.
    const isFault = !signal.aborted && !isCode(error, 'EBUSY')
    if (isFault) log.fault(reply.request.url, error, reply.request.id)
    if (raw.socket) cut(raw.socket, endsWithConnection(raw) ? 'reset' : 'close')
    else raw.destroy()
  } finally {
    await iterator.return?.()
  }
}

function comeBack(): TailraceError {
  return new TailraceError('EBUSY', 'clients that do not read have the memory: come back')
}

async function sendHead(reply: Reply, headers: ByteStream['headers']): Promise<void> {
  const { raw } = reply
  const head = { ...reply.getHeaders(), ...framingOf(reply, await headers()) }
  reply.hijack()
  // An error of the connection destroys the response, which the loop checks.
  raw.on('error', () => {})
  raw.writeHead(reply.statusCode, head as Record<string, string>)
  raw.flushHeaders()
}

/** Adds the headers of a stream, unless its length is known. */
function framingOf(
  reply: Reply,
  headers: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (headers['content-length'] !== undefined) return headers
  // HTTP/1.0 has no chunks, and a Unix socket cannot be reset, so a cut stream would look whole
  // there. It gets chunks nevertheless: the clients that speak HTTP/1.0 on a Unix socket know them.
  const bare = reply.request.raw.httpVersion === '1.0' && isUnixSocket(reply.request.raw.socket)
  return { ...streamHeaders, ...headers, ...(bare ? { 'transfer-encoding': 'chunked' } : {}) }
}

/** True if only the end of the connection marks the end of the answer, as in HTTP/1.0. */
function endsWithConnection(response: Reply['raw']): boolean {
  return !response.chunkedEncoding && !response.hasHeader('content-length')
}

/** Ends the connection of a stream that failed. With `close` the bytes that were written still
 *  leave, and the client misses the last chunk or a part of the length. With `reset`, for a client
 *  that would miss neither, the connection is reset after those bytes, at the latest after
 *  `cutMs`. */
function cut(socket: Socket, how: 'reset' | 'close'): void {
  if (how === 'close') {
    socket.destroySoon()
    return
  }
  const reset = () => {
    clearTimeout(timer)
    resetConnection(socket)
  }
  const timer = setTimeout(reset, cutMs)
  socket.write(new Uint8Array(0), reset)
}
