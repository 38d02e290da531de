/** Requests and bodies: each thing that is refused. */

import { describe, expect, it } from 'vitest'
import { readKeysMax } from '../../src/api/kvs.js'
import { parseRequest, requestIdOf } from '../../src/wire/frames.js'
import { root } from '../../src/wire/keys.js'
import { argsParserOf, isCall, pathNames, type RequestSpec } from '../../src/wire/request.js'
import { requestGroups, requests } from '../../src/wire/requests.js'
import { read } from '../../src/wire/transaction.js'

const refused = expect.objectContaining({ code: 'EINVAL' })

describe('parseRequest()', () => {
  it.each([
    ['null', null],
    ['an array', []],
    ['bytes', Buffer.from('x')],
    ['no op', { id: 1 }],
    ['no id', { op: 'cancel' }],
    ['id 0, which is the connection', { id: 0, op: 'cancel' }],
    ['half an id', { id: 1.5, op: 'cancel' }],
    ['an unknown field', { id: 1, op: 'cancel', key: 'x' }],
    ['an unknown mode', { id: 1, op: 'watch', key: 'a', mode: 'other' }],
    ['no mode', { id: 1, op: 'watch', key: 'a' }],
    ['a negative credit', { id: 1, op: 'watch', key: 'a', mode: 'append', credit: -1 }],
    ['an offset below 0', { id: 1, op: 'watch', key: 'a', mode: 'append', from: { offset: -1 } }],
    [
      'an offset with an index',
      { id: 1, op: 'watch', key: 'a', mode: 'append', from: { offset: 1, index: 1 } },
    ],
    ['half a position', { id: 1, op: 'watch', key: 'a', mode: 'append', from: { index: 1 } }],
    ['text as from', { id: 1, op: 'watch', key: 'a', mode: 'append', from: '1' }],
    ['a start of values', { id: 1, op: 'watch', key: 'a', mode: 'value', from: 0 }],
    ['uniq of appends', { id: 1, op: 'watch', key: 'a', mode: 'append', uniq: true }],
    ['a grant that is none', { id: 1, op: 'credit', bytes: '5' }],
  ])('refuses %s', (_, input) => {
    expect(() => parseRequest(input)).toThrow(refused)
  })

  it('takes 64-bit integers of msgpack', () => {
    expect(parseRequest({ id: 1, op: 'credit', bytes: 5n })).toEqual({
      id: 1,
      op: 'credit',
      bytes: 5,
    })
  })
})

it('requestIdOf() is 0 where there is no usable id', () => {
  for (const input of [null, 5, {}, { id: -1 }, { id: 'x' }, { id: 0 }]) {
    expect(requestIdOf(input)).toBe(0)
  }
})

describe('arguments', () => {
  const parseRead = argsParserOf(read)
  const parseRoot = argsParserOf(root)

  it('of read: keys, at, minSeq, at most so many', () => {
    expect(parseRead({ keys: ['a'], at: 1, minSeq: 2 })).toEqual({ keys: ['a'], at: 1, minSeq: 2 })
    const keys = Array(readKeysMax).fill('a')
    expect(parseRead({ keys })).toEqual({ keys })
    expect(() => parseRead({ keys: [...keys, 'a'] })).toThrow(
      expect.objectContaining({ code: 'E2BIG' }),
    )
    expect(() => parseRead({ keys: [1] })).toThrow(refused)
    expect(() => parseRead({ keys: [], when: 1 })).toThrow(refused)
  })

  it('of root: nothing, or waitSeq', () => {
    expect(parseRoot({})).toEqual({})
    expect(parseRoot({ waitSeq: 3 })).toEqual({ waitSeq: 3 })
    expect(() => parseRoot({ seq: 3 })).toThrow(refused)
  })
})

describe('the table', () => {
  const all: readonly RequestSpec[] = Object.values(requestGroups).flat()

  it('has each name and each route once', () => {
    expect(requests.size).toBe(all.length)
    const routes = all.map(({ method, path }) => `${method} ${path.replace(/:\w+/g, ':')}`)
    expect(new Set(routes).size).toBe(all.length)
  })

  it.each(all.map((spec) => [spec.name, spec] as const))('%s says what it is', (_, spec) => {
    expect(spec.name).toMatch(/^[a-z]+(\.[a-z]+([A-Z][a-z]+)?)?$/)
    expect(spec.summary).toMatch(/^[A-Z].*[^.]$/)
    expect(['anyone', 'read', 'write', 'jobs', 'admin', 'metrics', 'owner']).toContain(spec.right)
    expect(new Set(spec.errors).size).toBe(spec.errors.length)
    // What programs send is versioned; what describes it, and metrics, are found at a fixed place.
    if (!['anyone', 'metrics'].includes(spec.right)) expect(spec.path).toMatch(/^\/v1\//)
  })

  it.each(all.map((spec) => [spec.name, spec] as const))(
    '%s has no two arguments of one name',
    (_, spec) => {
      const body = (spec.body as { json?: { properties?: object } } | undefined)?.json?.properties
      const names = [
        ...pathNames(spec),
        ...(spec.namespaced ? ['namespace', 'ns'] : []),
        ...Object.keys(spec.query ?? {}),
        ...Object.keys(body ?? {}),
      ]
      expect(new Set(names).size).toBe(names.length)
    },
  )

  it('has few requests that need no token, at fixed paths', () => {
    const open = all.filter(({ right }) => right === 'anyone').map(({ path }) => path)
    expect(open).toEqual(['/healthz', '/readyz', '/openapi.json', '/docs'])
  })

  it('names what the websocket has had from the first', () => {
    for (const name of ['txn', 'read', 'root']) {
      expect(requests.get(name)).toSatisfy((spec: RequestSpec) => isCall(spec))
    }
  })
})
