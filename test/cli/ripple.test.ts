/** The ripple test against its definition, byte by byte. */

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Ripple } from '../../src/cli/ripple.js'

/** Column c of line i is 33 + (i + c) mod 94. */
function model(length: number, count: number): Buffer {
  const lines = Array.from({ length: count }, (_, line) => {
    const columns = Array.from({ length }, (_, column) => 33 + ((line + column) % 94))
    return Buffer.from([...columns, 10])
  })
  return Buffer.concat(lines)
}

function whole(ripple: Ripple): Buffer {
  return Buffer.concat([...ripple.pieces(0, ripple.size)])
}

/** Short lines, and lines just around the largest table of lines (1 MiB / 94 columns). */
const shapes = fc.oneof(
  fc.record({ length: fc.integer({ min: 1, max: 300 }), count: fc.integer({ min: 0, max: 300 }) }),
  fc.record({
    length: fc.integer({ min: 11_150, max: 11_160 }),
    count: fc.integer({ min: 0, max: 4 }),
  }),
  fc.record({
    length: fc.integer({ min: 262_000, max: 262_300 }),
    count: fc.integer({ min: 1, max: 2 }),
  }),
)

describe('Ripple', () => {
  it('is the small vector', () => {
    expect(whole(new Ripple(2, 3)).toString()).toBe('!"\n"#\n#$\n')
  })

  it('is the vector of lptest 79 200', () => {
    const bytes = whole(new Ripple(79, 200))
    expect(bytes.length).toBe(16_000)
    expect(createHash('sha1').update(bytes).digest('hex')).toBe(
      '5044a9bab9b8808520a004f9127d644fc07047a1',
    )
  })

  it('is its definition, whatever the shape', () => {
    fc.assert(
      fc.property(shapes, ({ length, count }) => {
        const ripple = new Ripple(length, count)
        const expected = model(length, count)
        expect(ripple.size).toBe(expected.length)
        expect(Buffer.compare(whole(ripple), expected)).toBe(0)
      }),
      { numRuns: 60 },
    )
  })

  it('finds no difference in any range of itself, and the first one in a changed range', () => {
    const ranges = shapes.chain((shape) => {
      const size = (shape.length + 1) * shape.count
      const at = fc.integer({ min: 0, max: size })
      return fc.record({ shape: fc.constant(shape), from: at, to: at, flip: at })
    })
    fc.assert(
      fc.property(ranges, ({ shape, from, to, flip }) => {
        const [start, end] = from < to ? [from, to] : [to, from]
        const ripple = new Ripple(shape.length, shape.count)
        const bytes = Buffer.from(model(shape.length, shape.count).subarray(start, end))
        expect(ripple.differs(start, bytes)).toBeUndefined()
        if (end === start) return
        const changed = start + (flip % (end - start))
        bytes.writeUInt8(bytes.readUInt8(changed - start) ^ 1, changed - start)
        expect(ripple.differs(start, bytes)).toBe(changed)
      }),
      { numRuns: 60 },
    )
  })

  it('says where bytes behind its end begin', () => {
    const ripple = new Ripple(2, 3)
    expect(ripple.differs(6, Buffer.from('#$\n!'))).toBe(9)
    expect(ripple.differs(9, Buffer.from('x'))).toBe(9)
    expect(ripple.differs(20, Buffer.from('x'))).toBe(20)
  })
})
