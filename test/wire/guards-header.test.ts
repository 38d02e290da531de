/** Guards in a header: rfc/12, rule 18. */

import { expect, it } from 'vitest'
import { fromGuardsHeader, guardsHeaderSizeMax, toGuardsHeader } from '../../src/wire/headers.js'

const guards = [
  { lease: 'lock/ü\u2028\n', token: { incarnation: 'ab', seq: 7 } },
  { key: '\u{1f512}', absent: true },
] as const

it('guards come back from a header of visible ASCII', () => {
  const header = toGuardsHeader(guards) ?? ''
  expect(header).toMatch(/^[\x20-\x7e]+$/)
  expect(fromGuardsHeader(header)).toEqual(guards)
})

it('guards that are longer than a header may be are not for a header', () => {
  const guard = { key: 'k', count: 1 }
  const length = (count: number) => JSON.stringify(Array(count).fill(guard)).length
  let count = 1
  while (length(count + 1) <= guardsHeaderSizeMax) count++
  expect(toGuardsHeader(Array(count).fill(guard))).toHaveLength(length(count))
  expect(toGuardsHeader(Array(count + 1).fill(guard))).toBeUndefined()
})
