/** The bytes of records and of segment headers (rfc/21, rules 2 to 5), and what torn or changed ones
 *  are read as: nothing, or ECORRUPT, never another record. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestOf } from '../../src/blob/hash.js'
import {
  type Change,
  encodeHead,
  fixedSize,
  markSize,
  parseFixed,
  parseHead,
  type RecordHead,
} from '../../src/journal/record.js'
import {
  encodeHeader,
  headerSize,
  parseHeader,
  parseSegmentName,
  segmentName,
} from '../../src/journal/segment.js'
import { blobOf } from '../engine/fixture.js'
import { flipped } from './fixture.js'

const mark = Buffer.from('0102030405060708', 'hex')
const golden = {
  mark,
  number: 0x0a0b0c0d0e,
  blobs: [blobOf('hello'), blobOf('')],
  changes: [
    { table: 1, key: Buffer.from('k'), value: Buffer.from('value') },
    { table: 3, key: Buffer.from('gone'), value: undefined },
    { table: 255, key: Buffer.of(), value: Buffer.of() },
  ],
}

/** Reads the record at the beginning of bytes, as a scan of a segment does. */
function parse(bytes: Buffer, own = mark): RecordHead | undefined {
  if (bytes.length < fixedSize) return undefined
  const fixed = parseFixed(bytes.subarray(0, fixedSize), own)
  return fixed && parseHead(bytes.subarray(0, fixedSize + fixed.headSize), fixed)
}

/** What bytes are read as: a record, undefined, or the code of an error. */
function readAs(bytes: Buffer): unknown {
  try {
    return parse(bytes)
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
}

/** Writes the seal that belongs to the bytes of a head of at most 1 MiB. */
function sealed(head: Buffer): Buffer {
  const all = Buffer.concat([head.subarray(0, markSize), head.subarray(24)])
  digestOf(all).copy(head, markSize, 0, 16)
  return head
}

const record = fc.record({
  number: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  blobs: fc.array(fc.uint8Array({ maxLength: 20 }).map(blobOf), { maxLength: 4 }),
  changes: fc.array(
    fc.record({
      table: fc.integer({ min: 0, max: 255 }),
      key: fc.uint8Array({ maxLength: 12 }),
      value: fc.option(fc.uint8Array({ maxLength: 12 }), { nil: undefined }),
    }),
    { maxLength: 4 },
  ),
})

test('the bytes of a record are these', () => {
  const seal = '25f2744b9a5c167dd856487e01c6974b'
  const expected = [
    ...['0102030405060708', seal],
    ...['00000067', '00000005', '0000000a0b0c0d0e', '00000002'],
    // BLAKE3 of "hello" and of nothing, each with its length.
    ...['ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f', '00000005'],
    ...['af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262', '00000000'],
    ...['01', '0001', '00000005', '6b', '76616c7565'],
    ...['03', '0004', 'ffffffff', '676f6e65'],
    ...['ff', '0000', '00000000'],
  ]
  expect(encodeHead(golden).toString('hex')).toBe(expected.join(''))
})

test('the seal of a head above 1 MiB is that of the digests of its pieces', () => {
  const value = Buffer.alloc(2_500_000, 'abc')
  const changes = [{ table: 1, key: Buffer.from('k'), value }]
  const head = encodeHead({ mark, number: 1, blobs: [], changes })
  const rest = head.subarray(24)
  const digests = [0, 1, 2].map((piece) => digestOf(rest.subarray(piece << 20, (piece + 1) << 20)))
  const seal = digestOf(Buffer.concat([mark, ...digests])).subarray(0, 16)
  expect(head.subarray(8, 24)).toEqual(seal)
  const read = parse(head)?.changes[0]?.value
  expect(read && Buffer.compare(read, value)).toBe(0)
  for (const at of [30, 1_100_000, 2_300_000]) expect(readAs(flipped(head, at * 8))).toBe(undefined)
})

test('a record is read as what was written', () => {
  fc.assert(
    fc.property(record, ({ number, blobs, changes }) => {
      const head = encodeHead({ mark, number, blobs, changes })
      const found = parse(head)
      expect(found?.number).toBe(number)
      expect(found?.changes.map(plain)).toEqual(changes.map(plain))
      let offset = 0
      const placed = blobs.map(({ ref, bytes }) => {
        offset += bytes.length
        return { ref, offset: offset - bytes.length, length: bytes.length }
      })
      expect(found?.blobs).toEqual(placed)
      expect(found?.size).toBe(head.length + offset)
    }),
  )
})

test('no prefix of a head is a record, and none with one other bit', () => {
  fc.assert(
    fc.property(record, ({ number, blobs, changes }) => {
      const head = encodeHead({ mark, number, blobs, changes })
      const found: string[] = []
      for (let size = 0; size < head.length; size++) {
        if (readAs(head.subarray(0, size)) !== undefined) found.push(`${size} bytes`)
      }
      for (let bit = 0; bit < head.length * 8; bit++) {
        // Zeros follow, as they may in a file: sizes that grew have bytes to read.
        const bytes = Buffer.concat([flipped(head, bit), Buffer.alloc(64)])
        if (readAs(bytes) !== undefined) found.push(`bit ${bit}`)
      }
      expect(found).toEqual([])
    }),
    { numRuns: 12 },
  )
})

test('a record of another segment is none', () => {
  expect(parse(encodeHead(golden), Buffer.from('0102030405060709', 'hex'))).toBe(undefined)
})

test('a head with a right seal whose parts do not fit is ECORRUPT, however it is changed', () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.nat(255), (content, where, byte) => {
      const head = encodeHead({ mark, ...content })
      // Sizes and counts, or any other byte behind the seal.
      const at = 24 + (where % (head.length - 24))
      head[at] = byte
      const after = readAs(sealed(head))
      if (typeof after === 'string') expect(after).toBe('ECORRUPT')
      // What is read is exactly what the changed bytes say, or nothing.
      else if (after !== undefined) {
        const { blobs, changes, number } = after as RecordHead
        const again = blobs.map(({ ref, length }) => ({ ref, bytes: Buffer.alloc(length) }))
        expect(encodeHead({ mark, number, blobs: again, changes })).toEqual(head)
      }
    }),
    { numRuns: 300 },
  )
})

test.each([
  ['a body that is shorter than the blobs', 28, 4],
  ['a body that is longer than the blobs', 28, 6],
  ['fewer blobs than the head has', 40, 1],
  ['more blobs than the head has', 40, 3],
])('%s is no record', (_, at, value) => {
  const head = encodeHead(golden)
  head.writeUInt32BE(value, at)
  expect([undefined, 'ECORRUPT']).toContain(readAs(sealed(head)))
})

test('the bytes of a segment header are these', () => {
  const header = { id: 0x0102030405, first: 0x060708090a, mark }
  const expected = [
    ...['544c524a524e4c31', '0000000102030405', '000000060708090a', '0102030405060708'],
    ...['00'.repeat(16), '47c87272bf14862acef59d6323963233'],
  ]
  const bytes = encodeHeader(header)
  expect(bytes.toString('hex')).toBe(expected.join(''))
  expect(bytes.length).toBe(headerSize)
  expect(parseHeader(bytes)).toEqual(header)
  const changed = [
    ...Array.from({ length: headerSize * 8 }, (_, bit) => flipped(bytes, bit)),
    ...Array.from({ length: headerSize }, (_, size) => bytes.subarray(0, size)),
  ]
  expect(changed.filter((other) => parseHeader(other) !== undefined)).toEqual([])
})

test('names of segments sort as their ids do, and other names are none', () => {
  expect(segmentName(7)).toBe('segment-000000000007')
  expect(parseSegmentName(segmentName(123_456))).toBe(123_456)
  const names = ['segment-7', 'segment-000000000007.new', 'x-segment-000000000007', 'reserve']
  expect(names.map(parseSegmentName)).toEqual(names.map(() => undefined))
})

function plain({ table, key, value }: Change) {
  const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex')
  return [table, hex(key), hex(value)]
}
