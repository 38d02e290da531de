/** The set of refs against a plain one, and the hash of what comes in pieces against the whole. */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { blobrefOfHex } from '../../src/blob/blobref.js'
import { hashBlob, StreamHash } from '../../src/blob/hash.js'
import { RefSet } from '../../src/blob/ref-set.js'

it('a RefSet has what was added, and nothing else, over many growths', () => {
  const set = new RefSet()
  const refs = Array.from({ length: 20_000 }, (_, at) => hashBlob(Buffer.from(`${at}`)))
  const even = refs.filter((_, at) => at % 2 === 0)
  // One look at all of them: an expect() for each would take most of the time.
  const added = even.map((ref) => [set.add(ref), set.add(ref)].join())
  expect(added.filter((each) => each !== 'true,false')).toEqual([])
  expect(set.size).toBe(10_000)
  expect(refs.filter((ref) => set.has(ref))).toEqual(even)
})

it('refs that differ in any of their first 16 bytes are told apart, zeros too', () => {
  const hex = fc.string({ unit: fc.constantFrom('0', '1', 'f'), minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(fc.array(hex, { maxLength: 50 }), (prefixes) => {
      const set = new RefSet()
      const plain = new Set<string>()
      for (const prefix of prefixes) {
        // The first word 0 is kept as 1: 2^-32 of all refs share it with another.
        if (/^0{7}[01]/.test(prefix)) continue
        const ref = blobrefOfHex(prefix.padEnd(64, 'a'))
        expect(set.has(ref)).toBe(plain.has(ref))
        set.add(ref)
        plain.add(ref)
      }
      expect(set.size).toBe(plain.size)
    }),
  )
  const zero = blobrefOfHex('0'.repeat(64))
  const set = new RefSet()
  expect(set.has(zero)).toBe(false)
  set.add(zero)
  expect(set.has(zero)).toBe(true)
})

it('refs that differ behind their first 16 bytes, and the integers that come with them, are told apart', () => {
  const part = fc.constantFrom(...['00000000', '00000001', '80000000', 'ffffffff'])
  const count = fc.constantFrom(0, 1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 52)
  const entry = fc.tuple(fc.array(part, { minLength: 8, maxLength: 8 }), count, count)
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 50 }), (entries) => {
      const set = new RefSet()
      const plain = new Set<string>()
      for (const [parts, first, second] of entries) {
        const ref = blobrefOfHex(parts.join(''))
        const name = `${ref} ${first} ${second % 2 ** 32}`
        expect(set.has(ref, first, second)).toBe(plain.has(name))
        expect(set.add(ref, first, second)).toBe(!plain.has(name))
        plain.add(name)
      }
    }),
  )
})

it('a StreamHash gives the digest of the whole, however it was cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 8 }), (pieces) => {
      using hash = new StreamHash()
      for (const piece of pieces) hash.update(piece)
      expect(`blake3-${hash.digest().toString('hex')}`).toBe(hashBlob(Buffer.concat(pieces)))
    }),
  )
})

it('a ref whose words all have another highest bit is another one', () => {
  const ref = hashBlob(Buffer.from('any'))
  const words = ref.slice('blake3-'.length).match(/.{8}/g) ?? []
  const turned = words.map((word) => ((Number.parseInt(word, 16) ^ 0x8000_0000) >>> 0).toString(16))
  const set = new RefSet()
  set.add(ref)
  expect(set.has(blobrefOfHex(turned.map((word) => word.padStart(8, '0')).join('')))).toBe(false)
})
