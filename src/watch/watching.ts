/** The iterator of a watch, for one who loops over its events. See rfc/7. */

import type { WatchEvent, Watching } from '../api/watch.js'
import { onAbort } from '../base/abort.js'
import { LoopSlice } from '../base/loop-slice.js'
import { canceled, isCode } from '../error.js'
import type { WatchReader } from './reader.js'

/** Makes the iterator of a watch, which ends the reader when `signal` is aborted. Leaving its loop, or
 *  `return()` at any time, also ends a `next()` that still waits. */
export function watchingOf(reader: WatchReader, signal: AbortSignal | undefined): Watching {
  const events = eventsOf(reader, signal)
  let left = false
  const watching: Watching = {
    async next() {
      try {
        return await events.next()
      } catch (error) {
        if (left && isCode(error, 'ECANCELED')) return { done: true, value: undefined }
        throw error
      }
    },
    async return() {
      left = true
      reader.end()
      await events.return()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => watching,
  }
  return watching
}

/** Yields the events of a watch until it ends, and ends it when the consumer leaves. */
async function* eventsOf(
  reader: WatchReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchEvent, void, undefined> {
  const abort = () => reader.end(signal && canceled(signal))
  const endAbort = onAbort(signal, abort)
  if (signal?.aborted) abort()
  const slice = new LoopSlice()
  try {
    for (;;) {
      const event = reader.take() ?? (await reader.next())
      if (!event) return
      // Events that are in memory come without a turn of the event loop.
      if (slice.over) await slice.turn()
      yield event
    }
  } finally {
    endAbort()
    reader.end()
  }
}
