/** A sign of life on a stream on which nothing happens: proxies cut what is silent for a minute. See
 *  rfc/12, rule 31.
 *  Invariant: a beat stands between two pieces, never within one; no timer is left at the end. */

import { deferred } from '../base/deferred.js'
import { invalid } from '../base/shape.js'

/** Default heartbeat interval of an event stream. */
export const heartbeatMsDefault = 15_000
export const heartbeatMsMin = 100
export const heartbeatMsMax = 3_600_000

/** `?heartbeat`, which only a stream that goes on can have. Throws EINVAL. */
export function checkHeartbeat(
  ms: number | undefined,
  follows: boolean | undefined,
): number | undefined {
  if (ms === undefined) return undefined
  if (!follows) throw invalid('?heartbeat goes with ?follow: other answers end')
  if (ms >= heartbeatMsMin && ms <= heartbeatMsMax) return ms
  throw invalid(`?heartbeat is from ${heartbeatMsMin} to ${heartbeatMsMax} ms`)
}

/** The pieces, and `beat` whenever none came for `ms`. */
export async function* withHeartbeat(
  pieces: AsyncIterable<Uint8Array>,
  ms: number,
  beat: Uint8Array,
): AsyncGenerator<Uint8Array> {
  const iterator = pieces[Symbol.asyncIterator]()
  let asked = iterator.next()
  try {
    for (;;) {
      const piece = await within(asked, ms)
      if (!piece) {
        yield beat
        continue
      }
      if (piece.done) return
      yield piece.value
      asked = iterator.next()
    }
  } finally {
    // It may fail when nobody asks any more.
    asked.catch(() => {})
    await iterator.return?.()
  }
}

/** Undefined where it takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const late = deferred<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), ms)
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
