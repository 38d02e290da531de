/** Part of the engine contract: blobs, namespaces, history, watch, leadership and close, rules 1 and 8 to 11
 *  of rfc/4. */

import { expect, test } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { type Engine, type Head, historyAgeMs } from '../../src/engine/engine.js'
import type { TestClock } from '../clock.js'
import {
  advance,
  blobOf,
  codeOf,
  collect,
  historyOf,
  make,
  next,
  rootOf,
  settle,
} from './fixture.js'

export function rootClaims(open: () => Promise<Engine>, clock: TestClock): void {
  test('the store id is made with the store', async () => {
    const [one, other] = [await open(), await open()]
    expect(one.storeId).not.toBe('')
    expect(one.storeId).not.toBe(other.storeId)
  })

  test('put() stores blobs of every size, load() gives them in the order asked', async () => {
    const engine = await open()
    const sizes = [0, 1, 100, 16_383, 16_384, 65_000, blobSizeMax]
    const blobs = sizes.map((size) => blobOf(Buffer.alloc(size, size % 251)))
    await engine.put(blobs)
    await engine.put([])
    const missing = blobOf('missing').ref
    const refs = [missing, ...blobs.map(({ ref }) => ref).reverse(), missing]
    const loaded = await engine.load(refs)
    expect(loaded.map((bytes) => bytes?.length)).toEqual([
      undefined,
      ...[...sizes].reverse(),
      undefined,
    ])
    expect(loaded.slice(1, -1).map((bytes) => bytes && blobOf(bytes).ref)).toEqual(
      refs.slice(1, -1),
    )
    expect(await engine.load([])).toEqual([])
  })

  test('storing twice is storing once', async () => {
    const engine = await open()
    const blob = blobOf('twice')
    await engine.put([blob, blob])
    await engine.put([blob])
    expect(await engine.load([blob.ref, blob.ref])).toEqual(
      [new Uint8Array(blob.bytes), new Uint8Array(blob.bytes)].map((bytes) =>
        expect.objectContaining(bytes),
      ),
    )
  })

  test('a loaded buffer is never written again', async () => {
    const engine = await open()
    const blobs = Array.from({ length: 50 }, (_, i) => blobOf(`${i}`.repeat(1 + i * 20)))
    await engine.put(blobs)
    const loaded = []
    for (const { ref } of blobs) loaded.push(...(await engine.load([ref])))
    const again = await engine.load(blobs.map(({ ref }) => ref))
    const refs = blobs.map(({ ref }) => ref)
    expect(loaded.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(refs)
    expect(again.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(refs)
  })

  test('create() makes a namespace with its first root and blobs', async () => {
    const engine = await open()
    expect(await engine.root('n')).toBeUndefined()
    expect(await engine.roots()).toEqual([])
    const head = await make(engine, 'n')
    expect(head).toMatchObject({ namespace: { name: 'n', incarnation: 'n-1' }, root: { seq: 0 } })
    expect(await engine.root('n')).toEqual(head)
    const other = await make(engine, 'm')
    expect(new Set(await engine.roots())).toEqual(new Set([head, other]))
    expect(await engine.load([head.root.ref])).not.toEqual([undefined])
    expect(await codeOf(make(engine, 'n', 'n-2'))).toBe('EEXIST')
    expect(await engine.root('n')).toEqual(head)
  })

  test('of two create() at once one wins', async () => {
    const engine = await open()
    const codes = await Promise.all([
      codeOf(make(engine, 'n', 'a')),
      codeOf(make(engine, 'n', 'b')),
    ])
    expect(codes).toEqual(['no error', 'EEXIST'])
    expect((await engine.root('n'))?.namespace.incarnation).toBe('a')
  })

  test('remove() takes the namespace and its roots, not its blobs', async () => {
    const engine = await open()
    const head = await advance(engine, await make(engine, 'n'), 'one')
    expect(await codeOf(engine.remove('n', 'n-0'))).toBe('ENONS')
    expect(await codeOf(engine.remove('other', 'n-1'))).toBe('ENONS')
    await engine.remove('n', 'n-1')
    expect(await engine.root('n')).toBeUndefined()
    expect(await engine.roots()).toEqual([])
    expect(await codeOf(engine.remove('n', 'n-1'))).toBe('ENONS')
    expect(await codeOf(historyOf(engine, 'n'))).toBe('ENONS')
    expect(await settle(engine, next(head, 'x'))).toEqual({ status: 'conflict', head: undefined })
    expect(await engine.load([head.root.ref])).not.toEqual([undefined])
  })

  test('a namespace made anew has a history of its own', async () => {
    const engine = await open()
    const old = await advance(engine, await make(engine, 'n'), 'old')
    await engine.remove('n', 'n-1')
    const head = await make(engine, 'n', 'n-2')
    expect(head.root.seq).toBe(0)
    expect(await settle(engine, next(old, 'x'))).toEqual({ status: 'conflict', head: undefined })
    await advance(engine, head, 'new')
    expect(await historyOf(engine, 'n')).toEqual(['n-2/0', 'new'])
  })

  test('history() gives the roots after a seq, oldest first', async () => {
    const engine = await open()
    let head = await make(engine, 'n')
    await make(engine, 'm')
    for (let i = 1; i <= 60; i++) head = await advance(engine, head, `t${i}`)
    const all = ['n-1/0', ...Array.from({ length: 60 }, (_, i) => `t${i + 1}`)]
    expect(await historyOf(engine, 'n')).toEqual(all)
    expect(await historyOf(engine, 'n', 0)).toEqual(all.slice(1))
    expect(await historyOf(engine, 'n', 58)).toEqual(['t59', 't60'])
    expect(await historyOf(engine, 'n', 60)).toEqual([])
    expect(await historyOf(engine, 'n', 9_999)).toEqual([])
    expect(await codeOf(historyOf(engine, 'other'))).toBe('ENONS')
    expect((await collect(engine.history('n', 59)))[0]).toEqual(head.root)
  })

  test('history() between leaping seqs begins at the next root', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const part = next(head, 'leap')
    await settle(engine, { ...part, root: { ...part.root, seq: 10 } })
    expect(await historyOf(engine, 'n', 4)).toEqual(['leap'])
    expect(await historyOf(engine, 'n', 10)).toEqual([])
  })

  test('roots older than the age stay while they are few', async () => {
    const engine = await open()
    let head = await make(engine, 'n')
    for (let i = 1; i <= 20; i++) head = await advance(engine, head, `t${i}`)
    clock.advance(3 * historyAgeMs)
    await advance(engine, head, 'after', clock.now())
    expect((await historyOf(engine, 'n')).length).toBe(22)
  })

  test('watch() wakes for what moved since it was called, many moves may be one wake', async () => {
    const engine = await open()
    const abort = new AbortController()
    const wakes = engine.watch(abort.signal)[Symbol.asyncIterator]()
    let head = await make(engine, 'n')
    head = await advance(engine, head, 'one')
    expect((await wakes.next()).done).toBe(false) // moved before the first `next`
    const woken = wakes.next()
    head = await advance(engine, head, 'two')
    expect((await woken).done).toBe(false)
    head = await advance(engine, head, 'three')
    expect((await wakes.next()).done).toBe(false)
    await engine.remove('n', 'n-1')
    expect((await wakes.next()).done).toBe(false)
    const ended = wakes.next()
    abort.abort()
    expect((await ended).done).toBe(true)
    expect(await collect(engine.watch(AbortSignal.abort()))).toEqual([])
  })

  test('a watcher that is woken sees the root', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const abort = new AbortController()
    const seen: number[] = []
    const watching = (async () => {
      for await (const _ of engine.watch(abort.signal)) {
        seen.push((await engine.root('n'))?.root.seq ?? -1)
        if (seen.at(-1) === 20) return
      }
    })()
    let last: Head = head
    for (let i = 1; i <= 20; i++) last = await advance(engine, last, `t${i}`)
    await watching
    expect(seen.at(-1)).toBe(20)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
  })

  test('lead() gives an epoch that grows with each new owner', async () => {
    const engine = await open()
    await make(engine, 'n')
    await make(engine, 'm')
    const first = await engine.lead('n', 'a', 1_000)
    expect(await engine.lead('n', 'a', 1_000)).toBe(first)
    expect(await codeOf(engine.lead('n', 'b', 1_000))).toBe('EBUSY')
    await engine.lead('m', 'b', 1_000) // another namespace is another leadership
    clock.advance(999)
    expect(await engine.lead('n', 'a', 1_000)).toBe(first)
    clock.advance(999)
    expect(await codeOf(engine.lead('n', 'b', 1_000))).toBe('EBUSY') // renewed
    clock.advance(1)
    const second = await engine.lead('n', 'b', 1_000)
    expect(second).toBeGreaterThan(first)
    clock.advance(1_000)
    expect(await engine.lead('n', 'a', 1_000)).toBeGreaterThan(second)
    expect(await codeOf(engine.lead('other', 'a', 1))).toBe('ENONS')
  })

  test('of two lead() at once one owner wins', async () => {
    const engine = await open()
    await make(engine, 'n')
    const codes = await Promise.all(['a', 'b'].map((o) => codeOf(engine.lead('n', o, 1_000))))
    expect(codes).toEqual(['no error', 'EBUSY'])
  })

  test('a close waits for what is under way, and later calls are ECLOSED', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const putting = engine.put([blobOf('under way')])
    const iterator = engine.watch(new AbortController().signal)[Symbol.asyncIterator]()
    const watching = codeOf(iterator.next())
    await Promise.all([engine[Symbol.asyncDispose](), engine[Symbol.asyncDispose]()])
    await putting
    expect(await watching).toBe('ECLOSED')
    await engine[Symbol.asyncDispose]()
    const blob = blobOf('late')
    const namespace = { name: 'late', incarnation: 'l', owner: '', created: 0 }
    const calls = [
      engine.put([blob]),
      engine.load([blob.ref]),
      engine.root('n'),
      engine.roots(),
      engine.create(namespace, rootOf(0, 't', blob), [blob]),
      engine.remove('n', 'n-1'),
      historyOf(engine, 'n'),
      engine.lead('n', 'a', 1),
    ]
    for (const call of calls) expect(await codeOf(call)).toBe('ECLOSED')
    expect(() => engine.watch(new AbortController().signal)).toThrow('closed')
    const codes = new Set<string>()
    for (let tries = 0; tries < 8; tries++)
      codes.add(await codeOf(engine.commit([next(head, 'x')])))
    expect(codes.has('ECLOSED')).toBe(true)
  })
}
