/** Writes bytes to a process's stdin at the pace at which the process reads. See rfc/11, rule
 *  11. */

import type { Writable } from 'node:stream'
import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { canceled } from '../error.js'

/** Writes all chunks, then the end of file. Resolves when all was written, or as soon as the
 *  process reads no more. A signal that aborts ends the file there and throws ECANCELED. */
export async function feed(
  stdin: Writable,
  chunks: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<void> {
  const source = chunks[Symbol.asyncIterator]()
  // Resolves when the pipe or the signal has moved. One promise per step (see base/abortable).
  let step: Deferred<void> = deferred<void>()
  const wake = () => step.resolve()
  for (const name of pipeEvents) stdin.on(name, wake)
  const endAbort = onAbort(signal, wake)
  const gone = () => stdin.destroyed || signal?.aborted === true
  try {
    let next: Promise<IteratorResult<Uint8Array>> | undefined
    while (!gone()) {
      step = deferred()
      if (stdin.writableNeedDrain) {
        await step.promise
        continue
      }
      next ??= source.next()
      const chunk = await Promise.race([next, step.promise])
      if (!chunk) continue
      if (chunk.done) break
      next = undefined
      if (!stdin.destroyed) stdin.write(chunk.value)
    }
    stdin.end()
    while (!gone() && !stdin.writableFinished) {
      step = deferred()
      await step.promise
    }
  } finally {
    stdin.end()
    for (const name of pipeEvents) stdin.off(name, wake)
    endAbort()
    // While the source makes a chunk, `return` resolves only after that chunk: do not await it.
    void source.return?.()?.catch(() => {})
  }
  if (signal?.aborted) throw canceled(signal)
}

const pipeEvents = ['drain', 'finish', 'close'] as const
