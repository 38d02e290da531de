/** Grants: their text, what they cover, and what may be given on. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Grants } from '../../src/rights/grants.js'
import type { KeyRight } from '../../src/tree/rights.js'

const of = (...texts: readonly string[]) => new Grants({ id: '0123456789ab', name: 'ci' }, texts)

describe('a grant', () => {
  it.each([
    ['read', 'read', 'primary', 'a/b', true],
    ['read', 'read', 'other', 'a/b', false],
    ['read', 'write', 'primary', 'a', false],
    ['read@primary/logs', 'read', 'primary', 'logs', true],
    ['read@primary/logs', 'read', 'primary', 'logs/ci/1', true],
    ['read@primary/logs', 'read', 'primary', 'logs2', false],
    ['read@primary/logs', 'read', 'primary', '', false],
    ['read@primary//logs/', 'read', 'primary', 'logs/ci', true],
    ['read@primary/a@b/c*', 'read', 'primary', 'a@b/c*/d', true],
    ['read@ci-*', 'read', 'ci-7', 'x', true],
    ['read@ci-*', 'read', 'ci', 'x', false],
    ['read@*', 'read', 'primary', '', true],
    ['read,write,lease,watch@*', 'read', 'system', 'tokens', false],
    ['read,write,lease,watch@*', 'read', 'jobs', '', false],
    ['append', 'append', 'primary', 'log', true],
    ['append', 'write', 'primary', 'log', false],
    ['append', 'read', 'primary', 'log', false],
    ['write', 'append', 'primary', 'log', true],
    ['write', 'read', 'primary', 'log', false],
    ['watch', 'read', 'primary', 'log', false],
    ['jobs', 'read', 'jobs', 'f1', true],
    ['jobs', 'watch', 'jobs', '', true],
    ['jobs', 'write', 'jobs', '', false],
    ['jobs', 'read', 'primary', '', false],
    ['results@cache-main', 'write', 'cache-main', 'r', true],
    ['results@cache-*', 'lease', 'cache-pr-7', 'r', true],
    ['results@cache-*', 'write', 'primary', 'r', false],
    ['admin@ci', 'read', 'ci', '', false],
  ] as const)('%s: %s of %s at "%s" is %s', (text, right, namespace, key, expected) => {
    const grants = of(text)
    expect(grants.has(right, namespace, key)).toBe(expected)
    const check = () => grants.check(right, namespace, key)
    if (expected) expect(check).not.toThrow()
    else expect(check).toThrow(expect.objectContaining({ code: 'EPERM' }))
  })

  it.each([
    ['', 'is no right'],
    ['reads', 'is no right'],
    ['read,', 'is no right'],
    ['read@', 'is no namespace'],
    ['read@A', 'is no namespace'],
    ['read@a*b', 'is no namespace'],
    ['read@-*', 'is no namespace'],
    ['read@primary/../x', 'may not be'],
    ['read@system', 'own'],
    ['read@cache', 'own'],
    ['write@jobs', 'means nothing'],
    ['jobs@primary', 'write jobs'],
    ['jobs@jobs/f1', 'write jobs'],
    ['results@primary', 'cache layers'],
    ['results@cache-main/x', 'cache layers'],
    ['admin@primary/x', 'whole namespaces'],
    ['admin@jobs', 'means nothing'],
  ])('"%s" is EINVAL', (text, message) => {
    expect(() => of(text)).toThrow(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(message) }),
    )
  })

  it('names the token and what it has in a refusal', () => {
    expect(() => of('read@primary/logs', 'watch').check('read', 'primary', 'secret')).toThrow(
      'the token "ci" may not read secret in namespace primary. It has read@primary/logs watch',
    )
  })
})

describe('what a token gives', () => {
  it.each([
    [['admin,read'], 'read@primary/a', true],
    [['read'], 'read@primary/a', false],
    [['admin', 'read@primary/a'], 'read@primary/a/b', true],
    [['admin', 'read@primary/a'], 'read', false],
    [['admin@*', 'read@*'], 'read@ci-*', true],
    [['admin@ci-*', 'read@ci-*'], 'read@*', false],
    [['admin@ci', 'read@ci'], 'read@ci*', false],
    [['admin,write'], 'append@primary/a', true],
    [['admin,append'], 'write@primary/a', false],
    [['admin,read'], 'admin,read', true],
    [['admin@*', 'read,write@*'], 'read@jobs', false],
    [['jobs', 'admin'], 'jobs', false],
  ])('%j gives %s: %s', (parent, child, expected) => {
    expect(of(...parent).firstBeyond(of(child))).toBe(expected ? undefined : child)
  })

  const names = fc.constantFrom('primary', 'ci', 'ci-7', 'cache-main', 'jobs', 'system')
  const keys = fc.constantFrom('', 'a', 'a/b', 'ab', 'a/b/c')
  const places = fc
    .tuple(fc.constantFrom('primary', 'ci', 'ci-7', 'c*', 'ci*', '*', 'cache-*'), keys)
    .map(([name, key]) => (key === '' ? name : `${name}/${key}`))
  const texts = fc.oneof(
    fc
      .tuple(fc.subarray(['read', 'append', 'write', 'watch', 'lease'], { minLength: 1 }), places)
      .map(([rights, place]) => `${rights}@${place}`),
    fc.constantFrom('admin@*', 'admin@ci*', 'admin', 'jobs', 'results@cache-*', 'read@jobs'),
  )
  const lists = fc.array(texts, { minLength: 1, maxLength: 4 })
  const rights = fc.constantFrom<KeyRight>('read', 'append', 'write', 'watch', 'lease')

  it('is never more than it has', () => {
    const property = fc.property(lists, lists, rights, names, keys, (mine, given, ...asked) => {
      const [parent, child] = [of(...mine), of(...given)]
      if (parent.firstBeyond(child) !== undefined || !child.has(...asked)) return
      expect(parent.has(...asked)).toBe(true)
      expect(parent.has('admin', asked[1], '')).toBe(true)
    })
    fc.assert(property, { numRuns: 3_000 })
  })
})
