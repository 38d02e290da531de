/** The rate of requests of an access token. See rfc/28, rule 18.
 *  Invariant: a bucket never holds more than the requests of a second, and never less than none. */

import { TailraceError } from '../error.js'

/** The HTTP status of a request that an error of `takeFromAll` refuses (RFC 6585, 4). */
export const tooManyRequests = 429

/** A bucket that fills with time, and from which each request takes one. Mutable. */
export class RateBucket {
  readonly #rate: number
  readonly #size: number
  #level: number
  #filledAt: number

  /** `rate`: requests a second, above 0. `now`: monotonic, in ms. */
  constructor(rate: number, now: number) {
    this.#rate = rate
    this.#size = Math.max(1, rate)
    this.#level = this.#size
    this.#filledAt = now
  }

  /** Returns the time until the bucket has a request, in ms; 0 if it has one now. */
  waitMs(now: number): number {
    const filled = ((now - this.#filledAt) * this.#rate) / 1_000
    this.#level = Math.min(this.#size, this.#level + filled)
    this.#filledAt = now
    return this.#level >= 1 ? 0 : ((1 - this.#level) * 1_000) / this.#rate
  }

  /** Takes one request. REQUIRES: `waitMs` was 0 in this turn. */
  take(): void {
    this.#level -= 1
  }
}

/** Returns the time after which to try again, in ms, of an error of `takeFromAll`; undefined for any
 *  other error. */
export function retryAfterMsOf({ code, failed }: TailraceError): number | undefined {
  const { retryAfterMs } = (failed?.state ?? {}) as { readonly retryAfterMs?: unknown }
  return code === 'EBUSY' && typeof retryAfterMs === 'number' ? retryAfterMs : undefined
}

/** Takes one request from all buckets, or from none of them. Throws EBUSY, whose `failed.state` has
 *  `retryAfterMs`. */
export function takeFromAll(buckets: readonly RateBucket[], now: number): void {
  let waitMs = 0
  for (const bucket of buckets) waitMs = Math.max(waitMs, bucket.waitMs(now))
  if (waitMs > 0) {
    const retryAfterMs = Math.ceil(waitMs)
    const message = `the token has used its rate of requests: try again in ${retryAfterMs} ms`
    throw new TailraceError('EBUSY', message, { failed: { state: { retryAfterMs } } })
  }
  for (const bucket of buckets) bucket.take()
}
