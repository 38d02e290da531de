/** Heartbeats on a stream that has nothing to send. Proxies cut a stream that is silent for a
 *  minute. See rfc/12, rule 31.
 *  Invariant: a heartbeat comes between two pieces, never within one. No timer is left at the
 *  end. */

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

/** The heartbeats of a stream. */
export type Heartbeat = {
  /** The time without a piece after which a heartbeat is sent, in ms. */
  readonly ms: number
  readonly bytes: Uint8Array
}

/** Calls `beat` each time that `ms` have passed since its last call, and since `restart` was called.
 *  Mutable; owned by the stream. */
export class Beats implements Disposable {
  readonly #timer: NodeJS.Timeout

  constructor(ms: number, beat: () => void) {
    this.#timer = setTimeout(() => {
      this.#timer.refresh()
      beat()
    }, ms)
  }

  /** Counts the time anew: a piece was sent. */
  restart(): void {
    this.#timer.refresh()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }
}
