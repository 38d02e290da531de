/** Bytes out, at the client's pace. See rfc/12, rule 9.
 *  Invariant: what fails before the first byte is an error envelope; what fails later ends the
 *  connection before its last chunk, so that a cut stream never looks whole. At most one piece is
 *  held. */

import { once } from 'node:events'
import type { Activity } from './activity.js'
import type { Reply } from './app.js'
import { faultLine } from './fault.js'
import type { Pace } from './pace.js'

/** Aborted when the client has gone, or the server stops (ECLOSED). */
export function signalOf(activity: Activity, reply: Reply): AbortSignal {
  const wait = activity.wait()
  const { raw } = reply
  if (raw.destroyed) activity.giveBack(wait)
  else raw.once('close', () => activity.giveBack(wait))
  return wait.signal
}

export type Stream = {
  /** Asked when the first piece is there. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>
  readonly pieces: AsyncIterable<Uint8Array>
  /** See `signalOf`. */
  readonly signal: AbortSignal
  readonly log: (line: string) => void
  readonly pace: Pace
}

/** Takes the first piece, then the response over from Fastify. Resolves when all was sent, or the
 *  client has gone. Throws what the first piece throws. */
export async function sendStream(reply: Reply, stream: Stream): Promise<void> {
  const { headers, pieces, signal, log, pace } = stream
  const share = pace.share()
  const iterator = pieces[Symbol.asyncIterator]()
  const { raw } = reply
  try {
    let piece = await iterator.next()
    const head = { ...reply.getHeaders(), ...(await headers()) }
    reply.hijack()
    // An error of the connection is its close, which is looked at below.
    raw.on('error', () => {})
    raw.writeHead(reply.statusCode, head as Record<string, string>)
    raw.flushHeaders()
    while (!piece.done && !raw.destroyed) {
      const { length } = piece.value
      if (length > 0 && !raw.write(piece.value)) await once(raw, 'drain', { signal })
      share.spend(length)
      await share.take()
      piece = await iterator.next()
    }
    raw.end()
  } catch (error) {
    if (!reply.sent) throw error
    const fault = signal.aborted ? undefined : faultLine(reply.request.url, error)
    if (fault !== undefined) log(fault)
    // What was written still goes out, then the connection ends: the last chunk is what is missing.
    if (raw.socket) raw.socket.destroySoon()
    else raw.destroy()
  } finally {
    await iterator.return?.()
  }
}
