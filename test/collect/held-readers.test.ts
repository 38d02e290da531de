/** Whoever reads an older root, a pinned one, or a log that was replaced, reads it to its end, whatever
 *  retention, unpinning and collections do meanwhile (rfc/10). */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { isCode } from '../../src/error.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'

/** Nothing but the newest root. */
const nothing = { historyCount: 1, historyAgeMs: 0 }
/** A value of three blobs, none of which another one has. */
const bytesOf = (n: number) =>
  Buffer.concat([
    Buffer.alloc(blobSizeMax, n),
    Buffer.alloc(blobSizeMax, 255 - n),
    Buffer.from([n]),
  ])

describe.each(['memory', 'LMDB'])('on %s', (kind) => {
  let directory: string
  let store: EmbeddedStore
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tailrace-held-'))
    // Without a cache: what was collected cannot be read.
    store = await open({ cacheSize: 1, ...(kind === 'LMDB' ? { directory } : {}) })
  })
  afterEach(async () => {
    await store[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  })

  async function rest(chunks: AsyncIterator<Uint8Array>): Promise<Buffer> {
    const found: Uint8Array[] = []
    for (;;) {
      const next = await chunks.next()
      if (next.done) return Buffer.concat(found)
      found.push(next.value)
    }
  }

  it('a stream of an older root goes on; then its bytes are freed', async () => {
    const { seq } = await store.put('k', bytesOf(1))
    await store.put('k', bytesOf(2))
    const reading = await store.read('k', { at: seq })
    const chunks = reading?.chunks[Symbol.asyncIterator]()
    if (!chunks) throw new Error('the key was there')
    const first = await chunks.next()
    await store.namespaces.configure('primary', nothing)
    await store.upkeep.collect()
    expect((await refusal(store.read('k', { at: seq }))).code).toBe('ECOMPACTED')
    const read = Buffer.concat([first.value ?? Buffer.alloc(0), await rest(chunks)])
    expect(read.equals(bytesOf(1))).toBe(true)
    const { freed } = await store.upkeep.collect()
    expect(freed.size).toBeGreaterThan(2 * blobSizeMax)
    check(await store.get('k'), 2)
  })

  it('a pin keeps its tree, and a stream of it goes on when it is taken away', async () => {
    const { seq } = await store.put('k', bytesOf(1))
    await store.history.pin('p')
    await store.namespaces.configure('primary', nothing)
    await store.put('k', 'other')
    await store.upkeep.collect()
    check(await store.get('k', { at: seq }), 1)
    const reading = await store.read('k', { at: seq })
    const chunks = reading?.chunks[Symbol.asyncIterator]()
    if (!chunks) throw new Error('the key was there')
    await chunks.next()
    await store.history.unpin('p')
    await store.upkeep.collect()
    expect((await rest(chunks)).length).toBe(blobSizeMax + 1)
    expect((await store.upkeep.collect()).freed.size).toBeGreaterThan(2 * blobSizeMax)
    expect((await refusal(store.get('k', { at: seq }))).code).toBe('ECOMPACTED')
  })

  it('a watcher that is behind gets all of a log that was replaced', async () => {
    await store.namespaces.configure('primary', nothing)
    for (let n = 0; n < 5; n++) await store.append('log', Buffer.alloc(100_000, n))
    const watching = store.watch('log', { mode: 'append' })
    await watching.next()
    await store.put('log', 'another')
    await store.upkeep.collect()
    await store.put('beside', 'x')
    await store.upkeep.collect()
    for (let n = 1; n < 5; n++) {
      const { value } = await watching.next()
      if (value?.type !== 'append') throw new Error('an append was expected')
      expect(Buffer.from(value.data).equals(Buffer.alloc(100_000, n))).toBe(true)
    }
    for (;;) {
      const next = await watching.next().catch((error: unknown) => error)
      if (isCode(next, 'EOVERWRITTEN')) break
      expect(next).toMatchObject({ value: { type: 'live' } })
    }
    expect((await store.upkeep.collect()).freed.size).toBeGreaterThan(400_000)
  })

  it('pins that race with collections either hold or are refused', async () => {
    await store.namespaces.configure('primary', { historyCount: 2, historyAgeMs: 0 })
    for (let n = 1; n <= 12; n++) {
      const { seq } = await store.put('k', bytesOf(n))
      await store.put('k', 'between')
      const [pinned] = await Promise.allSettled([
        store.history.pin(`p${n}`, { at: seq }),
        store.put('k', 'later'),
        store.upkeep.collect(),
      ])
      await store.put('k', 'last')
      await store.upkeep.collect()
      if (pinned?.status === 'fulfilled') {
        check(await store.get('k', { at: pinned.value.ref }), n)
        await store.history.unpin(`p${n}`)
      } else expect(pinned?.reason).toMatchObject({ code: 'ECOMPACTED' })
    }
  })

  it('readers, pins, retention and collections in any order: nobody misses a byte', async () => {
    const step = fc.oneof(
      fc.constantFrom('put' as const, 'read' as const, 'end' as const, 'collect' as const),
      fc.constantFrom('collect' as const, 'chunk' as const, 'pin' as const, 'unpin' as const),
      fc.integer({ min: 1, max: 4 }),
    )
    const steps = fc.array(fc.tuple(step, fc.nat(), fc.boolean()), { minLength: 10, maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        type Reader = { n: number; chunks: AsyncIterator<Uint8Array>; left: number }
        const readers: Reader[] = []
        const values = new Map<number, number>()
        const running: Promise<unknown>[] = []
        let count = 0
        let pins = 0
        const finish = async (reader: Reader | undefined) => {
          if (!reader) return
          const bytes = await rest(reader.chunks)
          expect(bytes.equals(bytesOf(reader.n).subarray(-reader.left || 2 ** 30))).toBe(true)
        }
        for (const [what, pick, parallel] of all) {
          const act = async () => {
            if (typeof what === 'number') {
              await store.namespaces.configure('primary', { historyCount: what, historyAgeMs: 0 })
            } else if (what === 'put') {
              const n = (++count % 100) + 1
              // A group of its own: the root that holds a seq has the last value of its group.
              const put = { op: 'put', key: 'v', value: bytesOf(n) } as const
              values.set((await store.commit({ ops: [put], noMerge: true })).seq, n)
            } else if (what === 'collect') await store.upkeep.collect().catch(unlessBusy)
            else if (what === 'pin') await store.history.pin(`p${++pins}`)
            else if (what === 'unpin') {
              const [pin] = await store.history.pins()
              if (pin) await store.history.unpin(pin.name).catch(unlessGone)
            } else if (what === 'read') {
              const known = [...values]
              const [seq, n] = known[pick % Math.max(1, known.length)] ?? []
              const at = seq === undefined ? {} : { at: seq }
              const reading = await store.read('v', at).catch((error: unknown) => {
                expect(error).toMatchObject({ code: 'ECOMPACTED' })
                return undefined
              })
              if (!reading || n === undefined) return
              const chunks = reading.chunks[Symbol.asyncIterator]()
              // Only one that was asked is held for as long as it takes.
              const first = await chunks.next()
              const left = bytesOf(n).length - (first.value?.length ?? 0)
              readers.push({ n, chunks, left })
            } else if (what === 'chunk') {
              const reader = readers[pick % Math.max(1, readers.length)]
              const next = await reader?.chunks.next()
              if (reader && next?.value) reader.left -= next.value.length
            } else await finish(readers.splice(pick % Math.max(1, readers.length), 1)[0])
          }
          const acting = act()
          running.push(acting)
          if (!parallel) await Promise.all(running.splice(0))
        }
        await Promise.all(running)
        await Promise.all(readers.map(finish))
        for (const { name } of await store.history.pins()) await store.history.unpin(name)
      }),
      { numRuns: kind === 'LMDB' ? 6 : 25, endOnFailure: true },
    )
  })
})

/** Another collection is under way. */
function unlessBusy(error: unknown): void {
  expect(error).toMatchObject({ code: 'EBUSY' })
}

/** Another one unpinned it. */
function unlessGone(error: unknown): void {
  expect(error).toMatchObject({ code: 'ENOENT' })
}

/** Compared as bytes: whole values take the matcher seconds. */
function check(bytes: Uint8Array | undefined, n: number): void {
  expect(bytesOf(n).equals(bytes ?? Buffer.alloc(0))).toBe(true)
}
