/** The ids of the system's environment. */

import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'

test('ids are 16 random bytes each, also across the bytes that are drawn at once', () => {
  const ids = Array.from({ length: 1_000 }, () => systemEnvironment.id())
  expect(new Set(ids).size).toBe(ids.length)
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/)
  // Halves repeat where ids overlap, or where the bytes are given out again.
  expect(new Set(ids.flatMap((id) => [id.slice(0, 16), id.slice(16)])).size).toBe(2 * ids.length)
})
