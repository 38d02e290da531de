/** Bytes in JSON, in Node and with the web's means only. */

import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { decodeBase64, encodeBase64 } from '../../src/blob/base64.js'
import { encodeText, toJson } from '../../src/wire/bytes.js'
import { fromJson } from './from-json.js'

const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array(),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ maxLength: 5 }).filter(usable), tie('value'), { maxKeys: 4 }),
  ),
})).value

/** `{base64: …}` is how bytes are spelled, so no other object may be spelled so. */
function usable(name: string): boolean {
  return name !== 'base64' && name !== '__proto__'
}

describe('toJson()', () => {
  it('brings bytes at any depth through JSON text', () => {
    fc.assert(
      fc.property(plain, (value) => {
        const back = fromJson(JSON.parse(JSON.stringify(toJson(value))))
        expect(comparable(back)).toEqual(comparable(value))
      }),
    )
  })

  it('spells bytes as {base64}, padded', () => {
    expect(toJson({ a: [Uint8Array.of(0xff, 0xfe)], b: undefined })).toEqual({
      a: [{ base64: '//4=' }],
    })
  })
})

describe('decodeBase64()', () => {
  it.each(['A', 'AA', 'AAA', 'AA=A', 'AA-_', 'AA==\n', ' AA=', '====A==='])(
    'refuses %j',
    (text) => {
      expect(() => decodeBase64(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    },
  )

  it.each([49_151, 49_152, 49_153, 49_154, 1_000_000])('decodes %i bytes', (size) => {
    const bytes = Uint8Array.from({ length: size }, (_, index) => (index * 7) % 256)
    const decoded = decodeBase64(encodeBase64(bytes))
    expect(Buffer.compare(decoded, bytes)).toBe(0)
  })

  it('agrees with Node where there is no Buffer', () => {
    const bytes = Uint8Array.from({ length: 20_000 }, (_, index) => (index * 7) % 256)
    const text = Buffer.from(bytes).toString('base64')
    vi.stubGlobal('Buffer', undefined)
    try {
      expect(encodeBase64(bytes)).toBe(text)
      expect(decodeBase64(text)).toEqual(bytes)
    } finally {
      vi.unstubAllGlobals()
    }
  })
})

it('encodeText() refuses a lone surrogate', () => {
  expect(encodeText('é')).toEqual(Uint8Array.of(0xc3, 0xa9))
  expect(() => encodeText('\ud800')).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})

/** Buffers and Uint8Arrays with the same bytes compare equal. */
function comparable(value: unknown): unknown {
  if (value instanceof Uint8Array) return ['bytes', ...value]
  if (Array.isArray(value)) return value.map(comparable)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value).map(([name, field]) => [name, comparable(field)])
}
