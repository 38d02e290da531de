/** Part of the engine contract: commits, rules 2 to 7 of rfc/4. */

import { expect, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.js'
import { advance, codeOf, historyOf, make, next, settle } from './fixture.js'

export function commitClaims(open: () => Promise<Engine>): void {
  test('commit() moves the root and stores its blobs', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const part = next(head, 'one')
    const keyed = { ...part, root: { ...part.root, keys: ['a/b', 'ü'], epoch: 3 } }
    const outcome = await settle(engine, keyed)
    expect(outcome).toMatchObject({ status: 'applied' })
    const moved = await engine.root('n')
    expect(moved?.root).toEqual(keyed.root)
    expect(moved?.revision).toBe(outcome.status === 'applied' ? outcome.revision : undefined)
    expect(moved?.revision).toBeGreaterThan(head.revision)
    expect(await engine.load([part.root.ref])).not.toEqual([undefined])
    const later = await advance(engine, moved ?? head, 'two')
    expect('keys' in ((await engine.root('n'))?.root ?? {})).toBe(false)
    expect(later.revision).toBeGreaterThan(moved?.revision ?? 0)
  })

  test('a seq may leap: a root is one commit group', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const part = next(head, 'leap')
    const leap = { ...part, root: { ...part.root, seq: 1_000 } }
    expect(await settle(engine, leap)).toMatchObject({ status: 'applied' })
    expect((await engine.root('n'))?.root.seq).toBe(1_000)
  })

  test('commit() on a moved root is a conflict that shows the head and stores nothing', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const moved = await advance(engine, head, 'first')
    const late = next(head, 'late')
    expect(await settle(engine, late)).toEqual({ status: 'conflict', head: moved })
    expect(await settle(engine, { ...late, expected: moved.revision + 5 })).toEqual({
      status: 'conflict',
      head: moved,
    })
    expect(await engine.root('n')).toEqual(moved)
    expect(await engine.load([late.root.ref])).toEqual([undefined])
    expect(await historyOf(engine, 'n')).toEqual(['n-1/0', 'first'])
  })

  test('commit() to no namespace, or to another life of it, is a conflict without a head', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const part = next(head, 'x')
    const none = { status: 'conflict', head: undefined }
    expect(await settle(engine, { ...part, namespace: 'other' })).toEqual(none)
    expect(await settle(engine, { ...part, incarnation: 'n-0' })).toEqual(none)
    expect(await engine.root('n')).toEqual(head)
  })

  test('the same tx twice is once, also after others', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const part = next(head, 'same')
    const first = await settle(engine, part)
    expect(await settle(engine, part)).toEqual(first)
    const moved = await engine.root('n')
    // Even where a caller follows its own root by mistake.
    const again = { ...part, expected: moved?.revision ?? 0, root: { ...part.root, seq: 2 } }
    expect(await settle(engine, again)).toEqual(first)
    await advance(engine, moved ?? head, 'later')
    expect(await settle(engine, part)).toEqual(first)
    expect(await historyOf(engine, 'n')).toEqual(['n-1/0', 'same', 'later'])
  })

  test('the same tx sent twice at once is once', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const part = next(head, 'same')
    const outcomes = await Promise.all([settle(engine, part), settle(engine, part)])
    expect(outcomes.map(({ status }) => status)).toEqual(['applied', 'applied'])
    expect(await historyOf(engine, 'n')).toEqual(['n-1/0', 'same'])
  })

  test('of two different commits on one root one is applied', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const parts = ['a', 'b'].map((tx) => next(head, tx))
    const outcomes = await Promise.all(parts.map((part) => settle(engine, part)))
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['applied', 'conflict'])
    expect((await historyOf(engine, 'n')).length).toBe(2)
  })

  test('commit() of several parts answers in their order; a conflict keeps none back', async () => {
    const engine = await open()
    const heads = [await make(engine, 'a'), await make(engine, 'b'), await make(engine, 'c')]
    const [a, b, c] = heads.map((head, i) => next(head, `${i}`))
    if (!a || !b || !c) throw new Error('three parts')
    const parts = [a, { ...b, expected: b.expected + 1 }, c]
    for (let tries = 0; tries < 8; tries++) {
      const outcomes = await engine.commit(parts)
      if (outcomes.some(({ status }) => status === 'unavailable')) continue
      const shown = outcomes.map((outcome, i) =>
        outcome.status === 'conflict' && outcome.head?.root.tx === parts[i]?.root.tx
          ? 'applied'
          : outcome.status,
      )
      expect(shown).toEqual(['applied', 'conflict', 'applied'])
      break
    }
    expect(await historyOf(engine, 'a', 0)).toEqual(['0'])
    expect(await historyOf(engine, 'b', 0)).toEqual([])
    expect(await historyOf(engine, 'c', 0)).toEqual(['2'])
    expect(await engine.commit([])).toEqual(
      expect.not.arrayContaining([expect.objectContaining({ status: 'applied' })]),
    )
  })

  test('a seq that does not grow is refused, and stores nothing', async () => {
    const engine = await open()
    const head = await advance(engine, await make(engine, 'n'), 'one')
    const part = next(head, 'stuck')
    for (const seq of [head.root.seq, head.root.seq - 1]) {
      const outcome = await settle(engine, { ...part, root: { ...part.root, seq } })
      expect(outcome).toMatchObject({ status: 'unavailable', applied: 'no' })
    }
    expect(await engine.root('n')).toEqual(head)
  })

  test('two parts for one namespace are EINVAL', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const parts = [next(head, 'a'), next(head, 'b')]
    const codes = new Set<string>()
    // A flaky engine may answer in its stead.
    for (let tries = 0; tries < 8; tries++) codes.add(await codeOf(engine.commit(parts)))
    expect(codes.has('EINVAL')).toBe(true)
    expect(await engine.root('n')).toEqual(head)
  })

  test('many namespaces at once: every history is exact', async () => {
    const engine = await open()
    const names = Array.from({ length: 16 }, (_, i) => `n${i}`)
    const write = async (name: string) => {
      let head = await make(engine, name)
      for (let i = 1; i <= 25; i++) head = await advance(engine, head, `${name}/${i}`)
      return head
    }
    const heads = await Promise.all(names.map(write))
    expect(new Set(await engine.roots())).toEqual(new Set(heads))
    const expected = (name: string) => Array.from({ length: 25 }, (_, i) => `${name}/${i + 1}`)
    for (const name of names) expect(await historyOf(engine, name, 0)).toEqual(expected(name))
    const refs = heads.map(({ root }) => root.ref)
    expect((await engine.load(refs)).every((bytes) => bytes !== undefined)).toBe(true)
  })
}
