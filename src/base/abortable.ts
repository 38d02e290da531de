/** Streams that a signal ends at once, even while the source still makes its next item.
 *  Invariant: the source is told to finish, however the stream ends. */

import { canceled } from '../error.js'
import { joinAbort } from './join-abort.js'

/** Yields the items of `source` until the signal aborts. Then it throws the error that `canceled`
 *  returns for the signal, and drops the item that the source still makes. */
export async function* abortable<T>(
  source: AsyncIterable<T>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  if (!signal) {
    yield* source
    return
  }
  const items = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      if (signal.aborted) throw canceled(signal)
      const item = await joinAbort(items.next(), signal)
      if (item.done) return
      yield item.value
    }
  } finally {
    const finished = items.return?.()
    // A source that is still making an item answers `return` only after it: do not wait for that.
    if (signal.aborted) void finished?.catch(() => {})
    else await finished
  }
}
