/** Random appends, trims and puts of one key against a plain list with a base: every read says the same, at
 *  every step and at older roots (rfc/19). */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Kvs, ReadOptions } from '../../src/api/kvs.js'
import type { Op, TrimTo } from '../../src/api/transaction.js'
import { isCode } from '../../src/error.js'
import { open } from '../../src/open.js'

type Step =
  | { readonly do: 'append'; readonly sizes: readonly number[] }
  | { readonly do: 'trim'; readonly by: 'before' | 'keep' | 'keepBytes'; readonly part: number }
  | { readonly do: 'put'; readonly size: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      sizes: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 40 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('trim' as const),
      by: fc.constantFrom('before' as const, 'keep' as const, 'keepBytes' as const),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('put' as const), size: fc.nat({ max: 300 }) }),
  },
)

/** All blobs that there ever were, and how many of them are gone. */
class Model {
  blobs: readonly Buffer[] = []
  base = 0
  #next = 0

  ops(step: Step): Op[] {
    switch (step.do) {
      case 'append': {
        const values = step.sizes.map((size) => this.#bytes(size))
        this.blobs = [...this.blobs, ...values]
        return values.map((value) => ({ op: 'append', key: 'd/k', value }))
      }
      case 'put': {
        const value = this.#bytes(step.size)
        this.blobs = [value]
        this.base = 0
        return [{ op: 'put', key: 'd/k', value }]
      }
      case 'trim': {
        const to = this.#to(step)
        this.base = Math.max(this.base, this.#firstLeft(to))
        return [{ op: 'trim', key: 'd/k', ...to }]
      }
      default:
        return step satisfies never
    }
  }

  offset(index: number): number {
    return this.blobs.slice(0, index).reduce((sum, blob) => sum + blob.length, 0)
  }

  get size(): number {
    return this.offset(this.blobs.length)
  }

  #to({ by, part }: Extract<Step, { do: 'trim' }>): TrimTo {
    const count = Math.round(part * this.blobs.length)
    if (by === 'before') return { before: count }
    return by === 'keep' ? { keep: count } : { keepBytes: Math.round(part * (this.size + 1)) }
  }

  /** The fewest last blobs that have so many bytes, or all of them. */
  #firstLeft(to: TrimTo): number {
    if ('before' in to) return to.before
    if ('keep' in to) return this.blobs.length - to.keep
    if (!('keepBytes' in to)) return 0
    if (to.keepBytes === 0) return this.blobs.length // empty ones too
    let left = this.blobs.length
    while (left > 0 && this.size - this.offset(left) < to.keepBytes) left--
    // Where all of them have fewer, or just as many as are left, nothing goes.
    return this.size - this.offset(this.base) <= to.keepBytes ? this.base : left
  }

  #bytes(size: number): Buffer {
    return Buffer.alloc(size, this.#next++)
  }
}

async function agrees(kvs: Kvs, model: Model, at?: number): Promise<void> {
  const { blobs, base, size } = model
  const scope = at === undefined ? {} : { at }
  const dropped = model.offset(base)
  const whole = Buffer.concat(blobs)
  const left = whole.subarray(dropped)
  expect(Buffer.from((await kvs.get('d/k', scope)) ?? []).equals(left)).toBe(true)
  const stat = await kvs.stat('d/k', scope)
  expect(stat).toMatchObject({ count: blobs.length, size })
  expect(stat?.base).toEqual(base === 0 ? undefined : { count: base, size: dropped })
  expect(await kvs.stat('d', scope)).toMatchObject({ size: size - dropped })
  const { entries } = await kvs.list('d', scope)
  expect(entries).toMatchObject([{ name: 'k', count: blobs.length, size: size - dropped }])
  const middle = Math.floor((base + blobs.length) / 2)
  for (const index of [base - 1, base, middle, blobs.length - 1].filter((each) => each >= 0)) {
    const wanted = index < base ? 'ECOMPACTED' : (blobs[index] ?? 'ENOENT')
    expect(await read(kvs, { ...scope, index })).toEqual(wanted)
  }
  for (const from of [dropped - 1, dropped, Math.floor((dropped + size) / 2), size, size + 1]) {
    if (from < 0) continue
    for (const to of [from, from + 1, size]) {
      if (to < from) continue
      const wanted = from < dropped ? 'ECOMPACTED' : whole.subarray(from, to)
      expect(await read(kvs, { ...scope, from, to })).toEqual(wanted)
    }
  }
}

async function read(kvs: Kvs, options: ReadOptions): Promise<Buffer | string> {
  try {
    const chunks: Uint8Array[] = []
    for await (const chunk of (await kvs.read('d/k', options))?.chunks ?? []) chunks.push(chunk)
    return Buffer.concat(chunks)
  } catch (error) {
    for (const code of ['ECOMPACTED', 'ENOENT'] as const) if (isCode(error, code)) return code
    throw error
  }
}

it(
  'a log that is appended to and trimmed at random is a list with a base',
  () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 14 }), async (steps) => {
        await using store = await open()
        const model = new Model()
        const roots: { readonly seq: number; readonly past: Model }[] = []
        let ops: Op[] = [...model.ops({ do: 'append', sizes: [1] })]
        for (const [each, together] of steps) {
          ops = [...ops, ...model.ops(each)]
          if (together) continue
          const { seq } = await store.commit({ ops })
          ops = []
          await agrees(store, model)
          roots.push({ seq, past: Object.assign(new Model(), model) })
        }
        for (const { seq, past } of roots.slice(-3)) await agrees(store, past, seq)
      }),
      { numRuns: 40 },
    ),
  60_000,
)
