/** The bytes of the durable engine: golden vectors of rfc/4, and that what is written can be read. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { open as openLmdb } from 'lmdb'
import { expect, test } from 'vitest'
import { blobrefOfHex } from '../../src/blob/blobref.js'
import { emptyFile, newestMeta } from '../../src/engine/lmdb-file.js'
import { packedIn } from '../../src/engine/pack.js'
import {
  deadKey,
  encodeNamespace,
  encodePlace,
  encodePosition,
  encodeRoot,
  indexKey,
  namespaceKey,
  parseDeadKey,
  parseNamespace,
  parsePlace,
  parsePosition,
  parseRoot,
  parseUint64,
  rootKey,
  uint64,
} from '../../src/engine/record.js'
import { temporaryDirectory } from './fixture.js'

const ref = (byte: string) => blobrefOfHex(byte.repeat(32))

test('a pack of format 1 is read from its golden bytes', () => {
  const golden = `0100000002${'11'.repeat(32)}00000001${'22'.repeat(32)}0000000061`
  expect(packedIn(Buffer.from(golden, 'hex'))).toEqual([
    { ref: ref('11'), offset: 77, length: 1 },
    { ref: ref('22'), offset: 78, length: 0 },
  ])
})

test('what is no pack is ECORRUPT', () => {
  const pack = Buffer.from(`0100000001${'11'.repeat(32)}0000000161`, 'hex')
  expect(packedIn(pack)).toHaveLength(1)
  const broken = [
    pack.subarray(0, 40),
    pack.subarray(0, 3),
    Buffer.concat([Buffer.of(2), pack.subarray(1)]),
    Buffer.concat([pack.subarray(0, 1), Buffer.alloc(4, 255), pack.subarray(5)]),
  ]
  for (const one of broken) {
    expect(() => packedIn(one)).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
  }
})

test('keys, places and positions have their golden bytes', () => {
  expect(indexKey(ref('33')).toString('hex')).toBe('33'.repeat(32))
  const place = { segment: 1, offset: 77, length: 1 }
  expect(encodePlace(place).toString('hex')).toBe('00000000000000010000004d00000001')
  expect(parsePlace(encodePlace(place))).toEqual(place)
  const far = { segment: 2 ** 40 + 3, offset: 2 ** 32 - 1, length: 2 ** 31 }
  expect(encodePlace(far).toString('hex')).toBe('0000010000000003ffffffff80000000')
  expect(parsePlace(encodePlace(far))).toEqual(far)
  const position = { segment: 3, offset: 64, number: 300 }
  expect(encodePosition(position).toString('hex')).toBe('930340cd012c')
  expect(parsePosition(encodePosition(position))).toEqual(position)
  expect(uint64(2 ** 40 + 3).toString('hex')).toBe('0000010000000003')
  expect(rootKey(1, 258).toString('hex')).toBe('000000010000000000000102')
  expect(deadKey(7).toString('hex')).toBe('0000000007')
  expect(parseDeadKey(deadKey(7))).toBe(7)
  expect(parseDeadKey(namespaceKey('name5'))).toBeUndefined()
})

test('ids of segments sort as their keys do', () => {
  const id = fc.nat({ max: Number.MAX_SAFE_INTEGER - 1 })
  fc.assert(
    fc.property(id, id, (a, b) => {
      expect(parseUint64(uint64(a), 0)).toBe(a)
      expect(Buffer.compare(uint64(a), uint64(b))).toBe(Math.sign(a - b))
    }),
  )
})

test('places and positions of another shape are ECORRUPT', () => {
  const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
  for (const size of [0, 15, 17]) expect(() => parsePlace(Buffer.alloc(size))).toThrow(corrupt)
  expect(() => parsePlace(Buffer.alloc(16, 255))).toThrow(corrupt)
  for (const hex of ['', 'c0', '92', '920340', '930340c0', '9303ff2c', '93c0402c']) {
    expect(() => parsePosition(Buffer.from(hex, 'hex'))).toThrow(corrupt)
  }
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
})

test('the first pages of a data file are those that LMDB makes', async (context) => {
  await using directory = await temporaryDirectory()
  // It makes one in a directory that has none, with the pages of the machine.
  const database = openLmdb({ path: directory.path, noSubdir: false, overlappingSync: false })
  try {
    const made = await readFile(join(directory.path, 'data.mdb'))
    const size = newestMeta([made])?.pageSize
    if (size !== 4_096) context.skip(`the pages of this machine have ${size} bytes`)
    expect(emptyFile()).toEqual(made)
  } finally {
    await database.close()
  }
})
