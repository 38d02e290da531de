/** The times of renewals. See rfc/9, rule 19. */

import { expect, it } from 'vitest'
import { renewalDelay } from '../../src/store/renewal.js'

it.each([
  [300, 100],
  [9_000, 3_000],
  [10_000, 5_000],
  [30_000, 15_000],
])('a lease of %i ms is renewed after %i', (ttl, ms) => {
  expect(renewalDelay(ttl)).toBeCloseTo(ms)
})
