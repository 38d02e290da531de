/** Collections in forced interleavings: what comes between the reading of something and the commit that
 *  names it, rule 12 of rfc/14. Each would lose a value if its rule were left out. */

import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { type Blob, blobSizeMax } from '../../src/blob/blob.js'
import type { Blobref } from '../../src/blob/blobref.js'
import type { Collection, Head, Namespace, Outcome, Part, Root } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'
import { lentMs } from '../../src/kvs/uploads.js'
import { openOn } from '../../src/open.js'
import { readerHoldMs } from '../../src/past/holds.js'
import { TestClock } from '../clock.js'
import { refusal, text } from '../kvs/expect.js'

const nothingRetained = { historyCount: 1, historyAgeMs: 0 }

type Act = () => Promise<unknown>

/** A memory engine that runs something between a call and what it does, or after that. Once each. */
class HookedEngine extends MemoryEngine {
  beforeCommit: Act | undefined
  beforeCreate: Act | undefined
  afterHas: Act | undefined
  beforeStep: Act | undefined
  /** Commits are stored, and nobody is told. */
  unknown = false
  /** What of a blob comes out. */
  tamper: ((ref: Blobref, bytes: Uint8Array | undefined) => Uint8Array | undefined) | undefined

  override async commit(parts: readonly Part[]): Promise<Outcome[]> {
    await this.#run('beforeCommit')
    const outcomes = await super.commit(parts)
    if (!this.unknown) return outcomes
    const error = new TailraceError('ETIMEDOUT', 'no answer in time')
    return parts.map(() => ({ status: 'unavailable', applied: 'unknown', error }))
  }

  override async create(namespace: Namespace, root: Root, blobs: readonly Blob[]): Promise<Head> {
    await this.#run('beforeCreate')
    return super.create(namespace, root, blobs)
  }

  override async has(refs: readonly Blobref[]): Promise<boolean[]> {
    const there = await super.has(refs)
    await this.#run('afterHas')
    return there
  }

  override async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    const loaded = await super.load(refs)
    const { tamper } = this
    return tamper ? loaded.map((bytes, at) => tamper(refs[at] as Blobref, bytes)) : loaded
  }

  override beginCollection(): Collection {
    const collection = super.beginCollection()
    return {
      step: async (step) => {
        await this.#run('beforeStep')
        return collection.step(step)
      },
      settle: () => collection.settle(),
      turn: () => collection.turn(),
      [Symbol.dispose]: () => collection[Symbol.dispose](),
    }
  }

  async #run(hook: 'beforeCommit' | 'beforeCreate' | 'afterHas' | 'beforeStep'): Promise<void> {
    const act = this[hook]
    this[hook] = undefined
    await act?.()
  }
}

async function opened() {
  const clock = new TestClock()
  const engine = new HookedEngine(clock)
  const store = await openOn(engine, { environment: clock, cacheSize: 1 })
  return { clock, engine, store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
}

const some = (name: string) => `${name} `.repeat(200)
const unlink = (key: string) => ({ ops: [{ op: 'unlink', key }] }) as const

/** No root that had a key is retained any more, and nobody holds one. */
async function letGo(kvs: Kvs, clock: TestClock, namespace: string): Promise<void> {
  await kvs.namespaces.configure(namespace, nothingRetained)
  clock.advance(readerHoldMs + 1)
  await kvs.put('later', 'x', { namespace })
}

test('a copy from a root that is let go before it lands, and a collection that begins meanwhile', async () => {
  await using opening = await opened()
  const { clock, engine, store } = opening
  await store.namespaces.create('from')
  const { seq } = await store.put('k', some('copied'), { namespace: 'from' })
  await store.commit(unlink('k'), { namespace: 'from' })
  const gate: Deferred<void> = deferred()
  const arrived: Deferred<void> = deferred()
  engine.beforeCommit = async () => {
    arrived.resolve()
    await gate.promise
  }
  const op = { op: 'copy', from: 'k', namespace: 'from', at: seq, key: 'copy' } as const
  const copying = store.commit({ ops: [op] })
  await arrived.promise
  await letGo(store, clock, 'from')
  const collecting = store.upkeep.collect()
  for (let turn = 0; turn < 50; turn++) await setImmediate()
  gate.resolve()
  await copying
  await collecting
  expect(text(await store.get('copy'))).toBe(some('copied'))
  await store.upkeep.collect()
  expect(text(await store.get('copy'))).toBe(some('copied'))
})

test('a namespace that is made of a root which is let go before it is there', async () => {
  await using opening = await opened()
  const { clock, engine, store } = opening
  await store.namespaces.create('from')
  const { seq } = await store.put('k', some('made of'), { namespace: 'from' })
  for (const at of [seq, undefined]) {
    const name = `made-${at ?? 'newest'}`
    engine.beforeCreate = async () => {
      await store.commit(unlink('k'), { namespace: 'from' })
      await letGo(store, clock, 'from')
      await store.upkeep.collect()
    }
    const from = at === undefined ? { namespace: 'from' } : { namespace: 'from', at }
    await store.namespaces.create(name, { from })
    expect(text(await store.get('k', { namespace: name }))).toBe(some('made of'))
    await store.put('k', some('made of'), { namespace: 'from' })
  }
})

test('a value that streams in for hours while collections come and go', async () => {
  await using opening = await opened()
  const { clock, store } = opening
  const bytes = Buffer.concat(
    Array.from({ length: 20 }, (_, i) => Buffer.alloc(blobSizeMax, `${i}`)),
  )
  async function* slowly() {
    for (let at = 0; at < bytes.length; at += 1_000_000) {
      yield bytes.subarray(at, at + 1_000_000)
      clock.advance(3_600_000)
      await store.upkeep.collect()
    }
  }
  await store.put('k', slowly())
  const read = await store.get('k')
  expect(read && Buffer.compare(read, bytes)).toBe(0)
  await store.upkeep.collect()
  const again = await store.get('k')
  expect(again && Buffer.compare(again, bytes)).toBe(0)
})

test('a put that stalls keeps its own blobs, and nothing that others have let go', async () => {
  await using opening = await opened()
  const { clock, store } = opening
  const pieces = Array.from({ length: 5 }, () => randomBytes(2_000_000))
  const [stalled, goesOn] = [deferred<void>(), deferred<void>()]
  const slowly = async function* () {
    for (const [at, piece] of pieces.entries()) {
      if (at === 4) {
        stalled.resolve()
        await goesOn.promise
      }
      yield piece
    }
  }
  const putting = store.put('slow', slowly())
  await stalled.promise
  const junk = [randomBytes(2_000_000), Readable.from([randomBytes(2_000_000)])]
  for (const value of junk) {
    await store.put('junk', value)
    await store.commit(unlink('junk'))
    await letGo(store, clock, 'primary')
    expect((await store.upkeep.collect()).freed.size).toBeGreaterThanOrEqual(2_000_000)
  }
  goesOn.resolve()
  await putting
  await store.upkeep.collect()
  const read = await store.get('slow')
  expect(read && Buffer.compare(read, Buffer.concat(pieces))).toBe(0)
})

test('a streamed put whose caller has left, and which lands after a collection', async () => {
  await using opening = await opened()
  const { engine, store } = opening
  const bytes = Buffer.concat(
    Array.from({ length: 6 }, (_, i) => Buffer.alloc(blobSizeMax, `${i}`)),
  )
  const leaving = new AbortController()
  engine.beforeCommit = async () => leaving.abort()
  const stream = (async function* () {
    yield bytes
  })()
  expect(await refusal(store.put('k', stream, { signal: leaving.signal }))).toMatchObject({
    code: 'ECANCELED',
  })
  await store.upkeep.collect()
  const read = await store.get('k')
  expect(read && Buffer.compare(read, bytes)).toBe(0)
})

test('a blob that was seen to be there, and goes before its name comes, but for the upload', async () => {
  await using opening = await opened()
  const { clock, engine, store } = opening
  const ref = await store.blobs.store(Buffer.from(some('blob')))
  clock.advance(lentMs + 1)
  engine.afterHas = () => store.upkeep.collect()
  const treeobj = { ver: 1, type: 'valref', data: [ref] }
  await store.commit({ ops: [{ op: 'treeobj', key: 'k', treeobj }] })
  expect(text(await store.get('k'))).toBe(some('blob'))
  // Without a name it is kept for an hour only.
  const other = await store.blobs.store(Buffer.from(some('other')))
  await store.upkeep.collect()
  expect(await store.blobs.load(other)).toBeDefined()
  clock.advance(lentMs + 1)
  await store.upkeep.collect()
  expect(await store.blobs.load(other)).toBeUndefined()
})

test('the same bytes put again between the mark and the sweep', async () => {
  await using opening = await opened()
  const { clock, engine, store } = opening
  await store.put('k', some('same'))
  await store.commit(unlink('k'))
  await letGo(store, clock, 'primary')
  engine.beforeStep = () => store.put('again', some('same'))
  await store.upkeep.collect()
  expect(text(await store.get('again'))).toBe(some('same'))
})

test('a commit whose outcome nobody knows', async () => {
  await using opening = await opened()
  const { engine, store } = opening
  engine.unknown = true
  expect(await refusal(store.put('k', some('unknown')))).toMatchObject({ code: 'EUNKNOWN' })
  engine.unknown = false
  await store.upkeep.collect()
  await store.put('next', 'x')
  expect(text(await store.get('k'))).toBe(some('unknown'))
})

test('a reader that is in the middle of a value which is let go', async () => {
  await using opening = await opened()
  const { clock, store } = opening
  const bytes = Buffer.concat(
    Array.from({ length: 4 }, (_, i) => Buffer.alloc(blobSizeMax, `${i}`)),
  )
  await store.put('k', bytes)
  const reading = await store.read('k')
  const pieces: Uint8Array[] = []
  for await (const piece of reading?.chunks ?? []) {
    if (pieces.length === 1) {
      await store.commit(unlink('k'))
      await letGo(store, clock, 'primary')
      await store.upkeep.collect()
    }
    pieces.push(piece)
  }
  expect(Buffer.compare(Buffer.concat(pieces), bytes)).toBe(0)
  const { freed } = await store.upkeep.collect()
  expect(freed.size).toBeGreaterThanOrEqual(bytes.length)
})

test('a node that is damaged: nothing is freed; one that is missing: its neighbours stay', async () => {
  await using opening = await opened()
  const { clock, engine, store } = opening
  for (const name of ['a', 'b']) {
    for (let i = 0; i < 40; i++) await store.append(`${name}/log`, some(`${name} ${i}`))
  }
  await store.put('gone', some('gone'))
  const shown = await store.treeobj('gone')
  const [gone = ''] = shown?.type === 'valref' ? (shown.data as string[]) : []
  await store.commit(unlink('gone'))
  await letGo(store, clock, 'primary')
  const named = await store.treeobj('a')
  const [ref = ''] = named?.type === 'dirref' ? (named.data as string[]) : []
  engine.tamper = (each, bytes) => (each === ref ? Buffer.from('damaged') : bytes)
  expect(await refusal(store.upkeep.collect())).toMatchObject({ code: 'ECORRUPT' })
  engine.tamper = undefined
  expect(await store.blobs.load(gone)).toBeDefined()
  engine.tamper = (each, bytes) => (each === ref ? undefined : bytes)
  await store.upkeep.collect()
  expect(await store.blobs.load(gone)).toBeUndefined()
  expect((await store.get('b/log'))?.length).toBeGreaterThan(0)
})
