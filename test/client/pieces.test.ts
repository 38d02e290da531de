/** The pure pieces of the client: queue, back-off, paths, conditions. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Guard } from '../../src/api/transaction.js'
import { delayOf } from '../../src/client/backoff.js'
import { conditionsOf } from '../../src/client/conditions.js'
import { Fifo } from '../../src/client/fifo.js'
import { componentOf, pathOf, pathOfKey, sameKey } from '../../src/client/path.js'

describe('Fifo', () => {
  it('behaves as an array with push and shift', () => {
    const step = fc.oneof(fc.integer(), fc.constant('take'), fc.constant('take'))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 600 }), fc.nat(300), (steps, ahead) => {
        const fifo = new Fifo<number>()
        const model: number[] = []
        for (let item = 0; item < ahead; item++) {
          fifo.add(item)
          model.push(item)
        }
        for (const item of steps) {
          if (typeof item === 'number') {
            fifo.add(item)
            model.push(item)
          } else expect(fifo.take()).toBe(model.shift())
          expect(fifo.length).toBe(model.length)
        }
      }),
    )
  })
})

describe('delayOf', () => {
  it('doubles from half the lower bound to the upper one, and stays there', () => {
    const backoff = { minMs: 50, maxMs: 5_000 }
    expect(delayOf(backoff, 1, 0)).toBe(25)
    expect(delayOf(backoff, 2, 0)).toBe(50)
    expect(delayOf(backoff, 7, 0)).toBe(1_600)
    for (const failures of [8, 20, 1_000, 1e9]) {
      expect(delayOf(backoff, failures, 0)).toBe(2_500)
      expect(delayOf(backoff, failures, 0.999)).toBeLessThan(5_000)
    }
  })
})

describe('pathOfKey', () => {
  it('percent-encodes components, drops empty ones, and leaves out what is not said', () => {
    const path = pathOfKey('kv', '//a b/ü?#/%2e/', { at: 0, seal: false, namespace: undefined })
    expect(path).toBe('/v1/kv/a%20b/%C3%BC%3F%23/%252e?at=0')
    expect(pathOfKey('list', '/')).toBe('/v1/list/')
    expect(pathOf('ns')).toBe('/v1/ns')
  })

  it('of what a URL would resolve to another key is EINVAL', () => {
    for (const key of ['a/../b', '..', './a', 'a/.', '\ud800', 'x'.repeat(1_025)]) {
      expect(() => pathOfKey('kv', key), key).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    }
    for (const name of ['', '.', '..']) {
      expect(() => componentOf(name)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    }
    expect(componentOf('a/b')).toBe('a%2Fb')
  })

  it('names any key as a URL reads it', () => {
    const key = fc
      .array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }), { maxLength: 6 })
      .map((parts) => parts.map((part) => part.replaceAll('/', '-')))
      .filter((parts) => parts.every((part) => part !== '.' && part !== '..'))
    fc.assert(
      fc.property(key, (parts) => {
        const url = new URL(pathOfKey('kv', parts.join('/')), 'http://localhost')
        const seen = url.pathname.slice('/v1/kv/'.length).split('/').map(decodeURIComponent)
        expect(seen.filter((part) => part !== '')).toEqual(parts)
      }),
    )
  })
})

describe('conditionsOf', () => {
  const ref = `blake3-${'0'.repeat(64)}`

  it('says one guard on the key itself, however it is written', () => {
    expect(sameKey('/a//b/', 'a/b')).toBe(true)
    expect(conditionsOf('a/b', undefined)).toEqual({})
    expect(conditionsOf('a/b', [])).toEqual({})
    expect(conditionsOf('a/b', [{ key: '/a/b', absent: true }])).toEqual({ 'if-none-match': '*' })
    expect(conditionsOf('a/b', [{ key: 'a/b', ref }])).toEqual({ 'if-match': `"${ref}"` })
  })

  it.each<readonly Guard[]>([
    [{ seq: 1 }],
    [{ key: 'b', absent: true }],
    [{ key: 'a', count: 1 }],
    [{ key: 'a', ref }, { seq: 1 }],
    [{ key: 'a', ref: 'x"\r\ny' }],
  ])('has all other guards in a header of their own', (...guards) => {
    expect(conditionsOf('a', guards)).toEqual({ 'tailrace-guards': JSON.stringify(guards) })
  })

  it('leaves those that are too many for a header to a transaction', () => {
    const guards = Array.from({ length: 500 }, (_, at) => ({ key: `key ${at}`, count: at }))
    expect(conditionsOf('a', guards)).toBeUndefined()
  })
})
