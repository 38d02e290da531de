/** Clock, randomness and ids as one thing that classes take in, so that tests can fix them. */

import { randomBytes } from 'node:crypto'

export type Environment = {
  /** Wall clock, ms since 1970. For people; never compared to decide anything. */
  readonly now: () => number
  /** Monotonic clock, ms. For deadlines. */
  readonly monotonic: () => number
  /** A new id: 16 random bytes as 32 lower-case hex digits. */
  readonly id: () => string
}

export const systemEnvironment: Environment = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  id: () => randomBytes(16).toString('hex'),
}
