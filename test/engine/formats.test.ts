/** The bytes of the durable engine: golden vectors of rfc/4, and that what is written can be read. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { blobrefOfHex } from '../../src/blob/blobref.js'
import { encodePack, packedIn, packedSize, packRoom, packSizeMax } from '../../src/engine/pack.js'
import {
  bareKey,
  deadKey,
  encodeNamespace,
  encodePlace,
  encodeRoot,
  indexKey,
  namespaceKey,
  packKey,
  parseBlobKey,
  parseDeadKey,
  parseNamespace,
  parsePlace,
  parseRoot,
  rootKey,
} from '../../src/engine/record.js'
import { blobOf } from './fixture.js'

const ref = (byte: string) => blobrefOfHex(byte.repeat(32))

test('a pack has its golden bytes', () => {
  const blobs = [
    { ref: ref('11'), bytes: Buffer.from('a') },
    { ref: ref('22'), bytes: Buffer.alloc(0) },
  ]
  const { bytes, packed } = encodePack(blobs)
  const golden = `0100000002${'11'.repeat(32)}00000001${'22'.repeat(32)}0000000061`
  expect(bytes.toString('hex')).toBe(golden)
  expect(packed).toEqual([
    { ref: ref('11'), offset: 77, length: 1 },
    { ref: ref('22'), offset: 78, length: 0 },
  ])
  expect(packedIn(bytes)).toEqual(packed)
})

test('a pack names what it holds, and fits when its room is kept', () => {
  const contents = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 50 })
  fc.assert(
    fc.property(contents, (list) => {
      const blobs = list.map(blobOf)
      const { bytes, packed } = encodePack(blobs)
      expect(packedIn(bytes)).toEqual(packed)
      for (const [index, { ref, offset, length }] of packed.entries()) {
        expect(ref).toBe(blobs[index]?.ref)
        expect(blobOf(bytes.subarray(offset, offset + length)).ref).toBe(ref)
      }
      const size = blobs.reduce((sum, blob) => sum + packedSize(blob), 0)
      expect(bytes.length).toBe(size + packSizeMax - packRoom)
    }),
  )
})

test('what is no pack is ECORRUPT', () => {
  const { bytes } = encodePack([blobOf('a'), blobOf('b')])
  const broken = [
    bytes.subarray(0, 40),
    bytes.subarray(0, 3),
    Buffer.concat([Buffer.of(2), bytes.subarray(1)]),
    Buffer.concat([bytes.subarray(0, 1), Buffer.alloc(4, 255), bytes.subarray(5)]),
  ]
  for (const one of broken) {
    expect(() => packedIn(one)).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
  }
})

test('keys and places have their golden bytes', () => {
  expect(packKey(1).toString('hex')).toBe('0000000000000001')
  expect(packKey(2 ** 40 + 3).toString('hex')).toBe('0000010000000003')
  expect(bareKey(1, ref('33')).toString('hex')).toBe(`0000000000000001${'33'.repeat(32)}`)
  expect(indexKey(ref('33')).toString('hex')).toBe('33'.repeat(32))
  const place = { record: 1, offset: 77, length: 1 }
  expect(encodePlace(place).toString('hex')).toBe('00000000000000010000004d00000001')
  expect(parsePlace(encodePlace(place))).toEqual(place)
  expect(rootKey(1, 258).toString('hex')).toBe('000000010000000000000102')
  expect(deadKey(7).toString('hex')).toBe('0000000007')
  expect(parseDeadKey(deadKey(7))).toBe(7)
  expect(parseDeadKey(namespaceKey('name5'))).toBeUndefined()
})

test('blob keys sort by record, packs and bare ones together', () => {
  expect(parseBlobKey(packKey(2 ** 33))).toEqual({ record: 2 ** 33, ref: undefined })
  expect(parseBlobKey(bareKey(5, ref('ab')))).toEqual({ record: 5, ref: ref('ab') })
  const record = fc.nat({ max: Number.MAX_SAFE_INTEGER - 1 })
  fc.assert(
    fc.property(record, fc.boolean(), (id, bare) => {
      const key = bare ? bareKey(id, ref('ff')) : packKey(id)
      expect(Buffer.compare(key, packKey(id + 1))).toBe(-1)
      expect(parseBlobKey(key).record).toBe(id)
    }),
  )
  expect(() => parseBlobKey(Buffer.alloc(9))).toThrow('blob key')
})

test('roots and namespaces have their golden bytes', () => {
  const stored = { ordinal: 2, root: { seq: 5, ref: ref('33'), tx: 't', time: 7, epoch: 0 } }
  expect(encodeRoot(stored).toString('hex')).toBe(`990205c420${'33'.repeat(32)}a1740700c0c0c0`)
  expect(parseRoot(encodeRoot(stored))).toEqual(stored)
  const keyed = { ...stored, root: { ...stored.root, keys: ['a/b', 'ü'] } }
  expect(parseRoot(encodeRoot(keyed))).toEqual(keyed)
  const measured = { ...stored, root: { ...stored.root, written: 300, size: 2 ** 40 } }
  const bytes = encodeRoot(measured)
  expect(bytes.toString('hex')).toBe(
    `990205c420${'33'.repeat(32)}a1740700c0cd012ccb4270000000000000`,
  )
  expect(parseRoot(bytes)).toEqual(measured)
  // As stores had it that knew neither.
  const short = Buffer.from(`970205c420${'33'.repeat(32)}a1740700c0`, 'hex')
  expect(parseRoot(short)).toEqual(stored)
  const namespace = { name: 'n', incarnation: 'i', owner: 'o', created: 7 }
  const record = { id: 1, epoch: 0, namespace }
  expect(encodeNamespace(record).toString('hex')).toBe('950100a169a16f07')
  expect(parseNamespace('n', encodeNamespace(record))).toEqual(record)
})

test('roots and namespaces of another shape are ECORRUPT', () => {
  const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
  for (const hex of [
    'c0',
    '90',
    '9701',
    `970205c41f${'33'.repeat(31)}a1740700c0`,
    '970205',
    '',
    `990205c420${'33'.repeat(32)}a1740700c0ffc0`,
  ]) {
    expect(() => parseRoot(Buffer.from(hex, 'hex'))).toThrow(corrupt)
    expect(() => parseNamespace('n', Buffer.from(hex, 'hex'))).toThrow(corrupt)
  }
  expect(() => parsePlace(Buffer.alloc(15))).toThrow(corrupt)
})
