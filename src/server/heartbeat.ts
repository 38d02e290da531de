/** Heartbeats on a stream that has nothing to send. Proxies cut a stream that is silent for a
 *  minute. See rfc/12, rule 31.
 *  Invariant: a heartbeat comes between two pieces, never within one. No timer is left at the
 *  end. */

import { deferred } from '../base/deferred.js'
import { invalid } from '../base/shape.js'

/** The default heartbeat interval of an event stream, in ms. */
export const heartbeatMsDefault = 15_000
/** The shortest heartbeat interval, in ms. */
const heartbeatMsMin = 100
/** The longest heartbeat interval, in ms. */
const heartbeatMsMax = 3_600_000

/** Checks `?heartbeat` and returns it. Throws EINVAL if it is out of bounds, or if the answer does
 *  not follow. */
export function checkHeartbeat(
  ms: number | undefined,
  follows: boolean | undefined,
): number | undefined {
  if (ms === undefined) return undefined
  if (!follows) throw invalid('?heartbeat goes with ?follow: other answers end')
  if (ms >= heartbeatMsMin && ms <= heartbeatMsMax) return ms
  throw invalid(`?heartbeat is from ${heartbeatMsMin} to ${heartbeatMsMax} ms`)
}

/** Gives the pieces, and `beat` each time that no piece came for `ms`. */
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
    // It may reject later, when nobody awaits it.
    asked.catch(() => {})
    await iterator.return?.()
  }
}

/** Resolves with the result of the promise, or with undefined if it takes longer than `ms`. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const late = deferred<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), ms)
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
