/** A stream that a signal can end while its next item is still awaited, whatever the source is
 *  doing. Invariant: the source is told to finish, however the stream ends, and one listener is on
 *  the signal at a time, none afterwards. */

import { canceled } from '../error.js'
import { type Deferred, deferred } from './deferred.js'

/** The items of `source`, until the signal aborts: then throws its reason (ECANCELED unless the
 *  reason is a TailraceError), and drops the item that the source still makes. */
export async function* abortable<T>(
  source: AsyncIterable<T>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  if (!signal) {
    yield* source
    return
  }
  const items = source[Symbol.asyncIterator]()
  // One promise per step: racing every step against one long-lived promise would keep a reaction
  // for each of them until the stream ends.
  let step: Deferred<IteratorResult<T>> | undefined
  const abort = () => step?.reject(canceled(signal))
  signal.addEventListener('abort', abort)
  try {
    for (;;) {
      if (signal.aborted) throw canceled(signal)
      step = deferred()
      items.next().then(step.resolve, step.reject)
      const item = await step.promise
      if (item.done) return
      yield item.value
    }
  } finally {
    signal.removeEventListener('abort', abort)
    const finished = items.return?.()
    // A source that is still making an item answers `return` only after it: do not wait for that.
    if (signal.aborted) void finished?.catch(() => {})
    else await finished
  }
}
