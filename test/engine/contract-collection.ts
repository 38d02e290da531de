/** Part of the engine contract: collections, rfc/4: what they free, what they leave alone, and that
 *  nothing that somebody relies on goes while commits, puts and questions come in between. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Blob } from '../../src/blob/blob.js'
import type { Blobref } from '../../src/blob/blobref.js'
import { type Collection, type Engine, sweepStepSize } from '../../src/engine/engine.js'
import type { TestClock } from '../clock.js'
import { advanceWith, blobOf, codeOf, make, next as partAfter, settle } from './fixture.js'

const nothing = () => false

export type SweepOptions = {
  readonly live?: (ref: Blobref) => boolean
  readonly sparedSince?: number
  readonly dryRun?: boolean
  readonly thorough?: boolean
}

/** Looks at everything, and gives what was freed, the bytes that were written over, and the number of steps. */
export async function sweepAll(collection: Collection, options: SweepOptions = {}) {
  const { live = nothing, sparedSince = Number.POSITIVE_INFINITY, ...rest } = options
  const freed = { count: 0, size: 0 }
  let steps = 0
  let overwritten = 0
  for (let after: number | undefined = 0; after !== undefined; steps++) {
    const step = { after, live, sparedSince, dryRun: false, thorough: true, ...rest }
    const swept = await collection.step(step)
    freed.count += swept.freed.count
    freed.size += swept.freed.size
    overwritten += swept.overwritten ?? 0
    after = swept.next
  }
  return { freed, overwritten, steps }
}

/** One collection of everything but what is live. */
export async function sweepOnce(engine: Engine, options: SweepOptions = {}) {
  using collection = engine.beginCollection()
  return await sweepAll(collection, options) // before it ends
}

export function liveOf(blobs: readonly Blob[]): (ref: Blobref) => boolean {
  const refs = new Set(blobs.map(({ ref }) => ref))
  return (ref) => refs.has(ref)
}

export function sizeOf(blobs: readonly Blob[]): number {
  return blobs.reduce((sum, { bytes }) => sum + bytes.length, 0)
}

export async function loadable(engine: Engine, blobs: readonly Blob[]): Promise<boolean[]> {
  const loaded = await engine.load(blobs.map(({ ref }) => ref))
  // What is there is what it was.
  return loaded.map((bytes, at) => {
    const blob = blobs[at]
    return bytes !== undefined && blob !== undefined && Buffer.compare(bytes, blob.bytes) === 0
  })
}

/** Small, packed ones and bare ones. */
function someBlobs(name: string, count: number): Blob[] {
  return Array.from({ length: count }, (_, i) => {
    return blobOf(`${name} ${i} `.repeat(i % 7 === 6 ? 3_000 : 1 + i * 3))
  })
}

export function collectionClaims(open: () => Promise<Engine>, clock: TestClock): void {
  test('a collection frees what is not live, and nothing else', async () => {
    const engine = await open()
    const blobs = someBlobs('blob', 40)
    await engine.put(blobs)
    expect(engine.stored).toBe(sizeOf(blobs))
    const live = blobs.filter((_, i) => i % 3 === 0)
    const dead = blobs.filter((_, i) => i % 3 !== 0)
    const expected = { count: dead.length, size: sizeOf(dead) }
    const dry = await sweepOnce(engine, { live: liveOf(live), dryRun: true })
    expect(dry.freed).toEqual(expected)
    expect(await loadable(engine, blobs)).not.toContain(false)
    expect(engine.stored).toBe(sizeOf(blobs))
    expect((await sweepOnce(engine, { live: liveOf(live) })).freed).toEqual(expected)
    expect(engine.stored).toBe(sizeOf(live))
    expect(await loadable(engine, live)).not.toContain(false)
    expect(await loadable(engine, dead)).not.toContain(true)
    expect(await engine.has(dead.map(({ ref }) => ref))).not.toContain(true)
    expect((await sweepOnce(engine, { live: liveOf(live) })).freed).toEqual({ count: 0, size: 0 })
    // What went can come again.
    await engine.put(blobs)
    expect(engine.stored).toBe(sizeOf(blobs))
    expect(await loadable(engine, blobs)).not.toContain(false)
    expect((await sweepOnce(engine)).freed.count).toBe(blobs.length)
    expect(engine.stored).toBe(0)
  })

  test('unless it is thorough, it may leave small ones, and says only what went', async () => {
    const engine = await open()
    const blobs = someBlobs('thrifty', 50)
    await engine.put(blobs)
    const live = blobs.filter((_, i) => i !== 20)
    const { freed } = await sweepOnce(engine, { live: liveOf(live), thorough: false })
    const there = (await loadable(engine, blobs)).filter((is) => is).length
    expect(freed.count).toBe(blobs.length - there)
    expect(await loadable(engine, live)).not.toContain(false)
    expect(engine.stored).toBe(sizeOf(blobs) - freed.size)
    await sweepOnce(engine, { live: liveOf(live) })
    expect(engine.stored).toBe(sizeOf(live))
  })

  test('a step looks at a bounded part, and the next one goes on', async () => {
    const engine = await open()
    const large = Array.from({ length: 24 }, (_, i) => blobOf(Buffer.alloc(250_000, i)))
    const small = Array.from({ length: 3_000 }, (_, i) => blobOf(`small ${i}`))
    for (const blob of large) await engine.put([blob])
    for (let at = 0; at < small.length; at += 100) await engine.put(small.slice(at, at + 100))
    const blobs = [...large, ...small]
    const live = blobs.filter((_, i) => i % 5 === 0)
    using collection = engine.beginCollection()
    const asked: Blobref[] = []
    let after: number | undefined = 0
    let steps = 0
    let freed = 0
    while (after !== undefined) {
      const isLive = liveOf(live)
      const before = asked.length
      const swept = await collection.step({
        after,
        live: (ref) => {
          asked.push(ref)
          return isLive(ref)
        },
        sparedSince: Number.POSITIVE_INFINITY,
        dryRun: false,
        thorough: true,
      })
      expect(swept.scanned).toBeLessThanOrEqual(sweepStepSize + 300_000)
      expect(asked.length - before).toBeLessThan(4_096)
      expect(swept.next ?? after + 1).toBeGreaterThan(after)
      freed += swept.freed.count
      after = swept.next
      steps++
    }
    expect(steps).toBeGreaterThanOrEqual(3)
    expect(freed).toBe(blobs.length - live.length)
    expect(new Set(asked).size).toBe(blobs.length)
    expect(await loadable(engine, live)).not.toContain(false)
  })

  test('what comes after the beginning is not looked at, and does not keep it from ending', async () => {
    const engine = await open()
    using collection = engine.beginCollection()
    const late = someBlobs('late', 10)
    await engine.put(late)
    expect((await sweepAll(collection)).freed.count).toBe(0)
    expect(await loadable(engine, late)).not.toContain(false)
  })

  test('puts since a time are spared, older ones are not; has() counts as a put', async () => {
    const engine = await open()
    const [old, asked, young] = [someBlobs('old', 5), someBlobs('asked', 5), someBlobs('young', 5)]
    await engine.put(old)
    await engine.put(asked)
    clock.advance(1_000)
    const sparedSince = clock.monotonic()
    await engine.put(young)
    await engine.has(asked.map(({ ref }) => ref))
    clock.advance(1_000)
    const dry = await sweepOnce(engine, { sparedSince, dryRun: true })
    expect(dry.freed.count).toBe(5)
    await sweepOnce(engine, { sparedSince })
    expect(await loadable(engine, old)).not.toContain(true)
    expect(await loadable(engine, [...asked, ...young])).not.toContain(false)
    await sweepOnce(engine, { sparedSince: sparedSince + 1 })
    expect(await loadable(engine, [...asked, ...young])).not.toContain(true)
  })

  test('what is put, committed, made or rewritten since the beginning is spared, stored before or not', async () => {
    const engine = await open()
    const kinds = ['put', 'commit', 'create', 'rewrite', 'none'] as const
    const of = (kind: string, known: boolean) => someBlobs(`${kind} ${known}`, 8)
    const known = kinds.map((kind) => of(kind, true))
    let head = await make(engine, 'n')
    for (const blobs of known) await engine.put(blobs)
    clock.advance(10)
    using collection = engine.beginCollection()
    const both = (kind: string) => [...of(kind, true), ...of(kind, false)]
    await engine.put(both('put'))
    head = await advanceWith(engine, head, 'one', both('commit'))
    const [first] = both('create')
    if (!first) throw new Error('there are blobs')
    const namespace = { name: 'm', incarnation: 'm-1', owner: '', created: 0 }
    const root = { seq: 0, ref: first.ref, tx: 'm', time: 0, epoch: 0 }
    await engine.create(namespace, root, both('create'))
    await engine.rewrite('n', 'n-1', [], both('rewrite'))
    await sweepAll(collection)
    for (const kind of kinds.slice(0, 4)) {
      expect(await loadable(engine, both(kind))).not.toContain(false)
    }
    expect(await loadable(engine, of('none', true))).not.toContain(true)
  })

  test('a commit that was on its way when the collection began is spared', async () => {
    const engine = await open()
    const head = await make(engine, 'n')
    const blobs = someBlobs('known', 12)
    await engine.put(blobs)
    clock.advance(10)
    const committing = advanceWith(engine, head, 'one', blobs)
    {
      using collection = engine.beginCollection()
      // What the engine shows is what is marked.
      const shown = (await engine.root('n'))?.root.seq === 1
      await sweepAll(collection, shown ? { live: liveOf(blobs) } : {})
    }
    await committing
    expect(await loadable(engine, blobs)).not.toContain(false)
  })

  for (const order of ['the sweep first', 'the commit first', 'one turn between'] as const) {
    test(`a commit, a put and has() of garbage beside the sweep that takes it: ${order}`, async () => {
      const engine = await open()
      let head = await make(engine, 'n')
      for (let round = 0; round < 12; round++) {
        const committed = someBlobs(`committed ${round}`, 9)
        const put = someBlobs(`put ${round}`, 9)
        const asked = someBlobs(`asked ${round}`, 9)
        await engine.put([...committed, ...put, ...asked])
        clock.advance(10)
        using collection = engine.beginCollection()
        const sweep = () => sweepAll(collection)
        const use = () =>
          Promise.all([
            advanceWith(engine, head, `round ${round}`, committed),
            engine.put(put),
            engine.has(asked.map(({ ref }) => ref)),
          ])
        const sweeping = order === 'the commit first' ? undefined : sweep()
        if (order === 'one turn between') for (let i = 0; i < round; i++) await null
        const using = use()
        await (sweeping ?? sweep())
        const [moved, , said] = await using
        head = moved
        expect(await loadable(engine, [...committed, ...put])).not.toContain(false)
        // What it said is there is there.
        expect(await loadable(engine, asked)).toEqual(said)
      }
    })
  }

  test('one collection at a time, one step at a time; an ended one takes no more steps', async () => {
    const engine = await open()
    await engine.put(someBlobs('blob', 20))
    const step = { after: 0, live: nothing, sparedSince: Number.POSITIVE_INFINITY, dryRun: false }
    const busy = expect.objectContaining({ code: 'EBUSY' })
    const first = engine.beginCollection()
    expect(() => engine.beginCollection()).toThrow(busy)
    const [, second] = await Promise.all([first.step(step), codeOf(first.step(step))])
    expect(second).toBe('EBUSY')
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    expect(await codeOf(first.step(step))).toBe('ECLOSED')
    const again = engine.beginCollection()
    expect(() => engine.beginCollection()).toThrow(busy)
    const blobs = someBlobs('more', 20)
    await engine.put(blobs)
    // Disposed of while a step is under way: that one frees all or nothing, and then it has ended.
    const last = codeOf(again.step(step))
    again[Symbol.dispose]()
    expect(['no error', 'ECLOSED']).toContain(await last)
    expect(await loadable(engine, blobs)).not.toContain(false)
    engine.beginCollection()[Symbol.dispose]()
  })

  test('a closed engine begins no collection and takes no step', async () => {
    const engine = await open()
    const collection = engine.beginCollection()
    await engine[Symbol.asyncDispose]()
    const step = { after: 0, live: nothing, sparedSince: 0, dryRun: false }
    expect(await codeOf(collection.step(step))).toBe('ECLOSED')
    expect(() => engine.beginCollection()).toThrow(expect.objectContaining({ code: 'ECLOSED' }))
    expect(await codeOf(engine.has([]))).toBe('ECLOSED')
    expect(await codeOf(engine.rewrite('n', 'n-1', [], []))).toBe('ECLOSED')
  })

  test('any order of puts, commits and sweeps leaves what is live or was committed meanwhile', async () => {
    const action = fc.record({
      act: fc.constantFrom('put', 'commit', 'step', 'begin', 'end', 'has'),
      from: fc.nat(30),
      count: fc.integer({ min: 1, max: 12 }),
      waits: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
        const engine = await open()
        const all = someBlobs('any', 42)
        let head = await make(engine, 'n')
        const needed = new Set([head.root.ref])
        let collection: Collection | undefined
        let marked: ReadonlySet<Blobref> = new Set()
        let after = 0
        const waiting: Promise<unknown>[] = []
        for (const { act, from, count, waits } of actions) {
          const blobs = all.slice(from, from + count)
          if (act === 'put') waiting.push(engine.put(blobs))
          if (act === 'has') waiting.push(engine.has(blobs.map(({ ref }) => ref)))
          if (act === 'commit') {
            await Promise.all(waiting.splice(0))
            for (const { ref } of blobs) needed.add(ref)
            waiting.push(
              advanceWith(engine, head, `t${head.root.seq + 1}`, blobs).then((moved) => {
                head = moved
              }),
            )
          }
          if (act === 'begin' && !collection) {
            collection = engine.beginCollection()
            marked = new Set(needed)
            after = 0
          }
          if (act === 'step' && collection) {
            const options = { live: (ref: Blobref) => marked.has(ref), dryRun: false }
            const sparedSince = Number.POSITIVE_INFINITY
            const step = collection.step({ after, ...options, sparedSince, thorough: waits })
            waiting.push(
              step.then(
                ({ next }) => {
                  after = next ?? 0
                },
                () => {}, // EBUSY: the step before is under way
              ),
            )
          }
          if (act === 'end') {
            collection?.[Symbol.dispose]()
            await Promise.all(waiting.splice(0))
            collection = undefined
          }
          if (waits) await Promise.all(waiting.splice(0))
        }
        await Promise.all(waiting)
        collection?.[Symbol.dispose]()
        const kept = all.filter(({ ref }) => needed.has(ref))
        expect(await loadable(engine, kept)).not.toContain(false)
        const sizes = await engine.load(all.map(({ ref }) => ref))
        const { stored } = engine
        const sum = sizes.reduce((total, bytes) => total + (bytes?.length ?? 0), 0)
        const roots = stored - sum
        expect(roots).toBe('n-1 root 0'.length)
        await settle(engine, partAfter(head, 'end'))
      }),
      { numRuns: 10 },
    )
  })
}
