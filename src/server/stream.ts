/** Bytes out, at the client's pace. See rfc/12, rule 9.
 *  Invariant: what fails before the first byte is an error envelope; what fails later ends the
 *  connection so that a cut stream never looks whole. At most a piece and a batch of small ones are held. */

import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Activity } from './activity.js'
import type { Reply } from './app.js'
import { Gatherer } from './gatherer.js'
import type { Log } from './log.js'
import type { Pace } from './pace.js'

/** Headers that keep a proxy from caching, buffering or changing an answer that goes on. */
const streamHeaders = { 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' }
/** Time for the bytes written before a cut to leave. */
const cutMs = 1_000

/** Aborted when the client has gone, or the server stops (ECLOSED). Throws EBUSY. */
export function signalOf(activity: Activity, reply: Reply): AbortSignal {
  const wait = activity.wait()
  const { raw } = reply
  if (raw.destroyed) activity.giveBack(wait)
  else raw.once('close', () => activity.giveBack(wait))
  return wait.signal
}

export type ByteStream = {
  /** Asked when the first piece is there. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>
  readonly pieces: AsyncIterable<Uint8Array>
  /** See `signalOf`. */
  readonly signal: AbortSignal
  readonly log: Log
  readonly pace: Pace
}

/** Takes the first piece, then the response over from Fastify. Resolves when all was sent, or the
 *  client has gone. Throws what the first piece throws. */
export async function sendStream(reply: Reply, stream: ByteStream): Promise<void> {
  const { headers, pieces, signal, log, pace } = stream
  const share = pace.share()
  const iterator = pieces[Symbol.asyncIterator]()
  const { raw } = reply
  const gatherer = new Gatherer((bytes) => {
    raw.write(bytes)
    share.spend(bytes.length)
  })
  try {
    let piece = await iterator.next()
    const head = { ...reply.getHeaders(), ...framingOf(reply, await headers()) }
    reply.hijack()
    // An error of the connection is its close, which is looked at below.
    raw.on('error', () => {})
    raw.writeHead(reply.statusCode, head as Record<string, string>)
    raw.flushHeaders()
    while (!piece.done && !raw.destroyed) {
      gatherer.add(piece.value)
      if (raw.writableNeedDrain) await once(raw, 'drain', { signal })
      await share.take()
      share.begin()
      piece = await iterator.next()
    }
    gatherer.flush()
    raw.end()
  } catch (error) {
    if (!reply.sent) throw error
    gatherer.flush()
    if (!signal.aborted) log.fault(reply.request.url, error)
    if (raw.socket) cut(raw.socket, endsWithConnection(raw) ? 'reset' : 'close')
    else raw.destroy()
  } finally {
    await iterator.return?.()
  }
}

/** With what says where the answer ends, and that it goes on until then. */
function framingOf(
  reply: Reply,
  headers: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (headers['content-length'] !== undefined) return headers
  // HTTP/1.0 has no chunks, and a Unix socket cannot be reset: without chunks the end of the connection
  // would be the end of the stream, whatever happened. Those who speak HTTP/1.0 there know chunks.
  const bare = reply.request.raw.httpVersion === '1.0' && isUnixSocket(reply.request.raw.socket)
  return { ...streamHeaders, ...headers, ...(bare ? { 'transfer-encoding': 'chunked' } : {}) }
}

/** Of HTTP/1.0: nothing else says that the answer is whole. */
function endsWithConnection(response: Reply['raw']): boolean {
  return !response.chunkedEncoding && !response.hasHeader('content-length')
}

/** Ends the connection, after what was written, or after `cutMs`. The last chunk is missing then, or bytes
 *  of the length; where neither would be missed the client gets a reset. */
function cut(socket: Socket, how: 'reset' | 'close'): void {
  if (how === 'close') {
    socket.destroySoon()
    return
  }
  const reset = () => {
    clearTimeout(timer)
    socket.resetAndDestroy()
  }
  const timer = setTimeout(reset, cutMs)
  socket.write(new Uint8Array(0), reset)
}

function isUnixSocket(socket: Socket): boolean {
  return socket.localPort === undefined
}
