/** Input that is read while what came before is on its way: a slow consumer gets larger pieces, a quick one
 *  each as it comes. See rfc/13.
 *  Invariant: every byte once, in order; at most `readAheadMax` bytes and one chunk wait. */

import { Wakeup } from '../base/wakeup.js'

/** Bytes that wait for the consumer before no more is read. */
export const readAheadMax = 4 * 1024 * 1024

/** What has come since the last piece was asked for, as one piece. A consumer that leaves early leaves the
 *  rest unread. Throws what `chunks` throws, after all that came before. */
export async function* readAhead(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const moved = new Wakeup()
  const left = new AbortController()
  let waiting: Uint8Array[] = []
  let size = 0
  let ended = false
  let failure: { readonly error: unknown } | undefined
  const read = async () => {
    try {
      for await (const chunk of chunks) {
        waiting.push(chunk)
        size += chunk.length
        moved.wake()
        while (size > readAheadMax && !left.signal.aborted) await moved.wait(moved.count)
        if (left.signal.aborted) return
      }
    } catch (error) {
      failure = { error }
    }
    ended = true
    moved.wake()
  }
  // What it throws is kept for the consumer.
  void read()
  try {
    for (;;) {
      const seen = moved.count
      if (waiting.length > 0) {
        const piece = Buffer.concat(waiting, size)
        waiting = []
        size = 0
        moved.wake()
        yield piece
        continue
      }
      if (failure) throw failure.error
      if (ended) return
      await moved.wait(seen)
    }
  } finally {
    left.abort()
    moved.wake()
  }
}
