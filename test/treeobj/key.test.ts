/** Keys and names: what is normal, what is refused, and the limits on both sides (rfc/5). */

import { describe, expect, it } from 'vitest'
import { componentsOf, isComponent, joinKey, parseKey, rootKey } from '../../src/treeobj/key.js'

describe('parseKey()', () => {
  it('drops leading, trailing and repeated slashes', () => {
    expect(parseKey('//a///b/')).toBe('a/b')
    expect(parseKey('/')).toBe(rootKey)
    expect(parseKey('a/...')).toBe('a/...')
    expect(parseKey('__proto__/0')).toBe('__proto__/0')
  })

  it('refuses what is no key', () => {
    for (const bad of ['a/../b', '.', 'a\0', '\ud800', undefined, 7]) {
      expect(() => parseKey(bad)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    }
  })

  it('holds its limits in UTF-8 bytes', () => {
    expect(parseKey('é'.repeat(127))).toHaveLength(127)
    expect(() => parseKey('é'.repeat(128))).toThrow(/255 bytes/)
    const long = `${'x'.repeat(255)}/`.repeat(4)
    expect(parseKey(long)).toHaveLength(1023)
    expect(() => parseKey(`${long}/yy`)).toThrow(/1024 bytes/)
  })
})

describe('isComponent()', () => {
  it('agrees with parseKey() on one component', () => {
    for (const name of ['a', '...', '__proto__', 'x'.repeat(255), '\u{1f600}']) {
      expect(isComponent(name)).toBe(true)
      expect(parseKey(name)).toBe(name)
    }
    for (const name of ['', '.', '..', 'a/b', 'a\0', '\udc00', 'x'.repeat(256)]) {
      expect(isComponent(name)).toBe(false)
    }
  })
})

describe('the parts of a key', () => {
  it('fit together', () => {
    const key = parseKey('a/b/c')
    expect(componentsOf(key)).toEqual(['a', 'b', 'c'])
    expect(componentsOf(rootKey)).toEqual([])

    expect(joinKey(rootKey, 'a')).toBe('a')
    expect(joinKey(parseKey('a'), 'b')).toBe('a/b')
  })
})
