/** Collections of an embedded store: what they leave alone, whatever goes on beside them. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import type { Engine } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { isCode } from '../../src/error.js'
import { type EmbeddedStore, open, openOn } from '../../src/open.js'
import { FlakyEngine, mulberry32 } from '../engine/flaky.js'
import { refusal } from '../kvs/expect.js'

const nothingRetained = { historyCount: 1, historyAgeMs: 0 }

async function onDisk() {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-collect-'))
  return {
    directory,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

function value(name: string, size = 2_000): Uint8Array {
  return Buffer.from(`${name} `.repeat(Math.ceil(size / (name.length + 1))).slice(0, size))
}

async function* streamOf(bytes: Uint8Array, wait: () => Promise<unknown>) {
  for (let at = 0; at < bytes.length; at += 100_000) {
    await wait()
    yield bytes.subarray(at, at + 100_000)
  }
}

/** Everything that a store has, read through. */
async function readAll(store: EmbeddedStore): Promise<Map<string, Buffer>> {
  const all = new Map<string, Buffer>()
  let after: string | undefined
  for (;;) {
    const page = await store.list('', {
      recursive: true,
      ...(after === undefined ? {} : { after }),
    })
    for (const { name, type } of page.entries) {
      if (type === 'val' || type === 'valref') {
        all.set(name, Buffer.from((await store.get(name)) ?? ''))
      }
    }
    after = page.entries.at(-1)?.name
    if (!page.more) return all
  }
}

describe.each(['memory', 'LMDB'])('on %s', (kind) => {
  async function openStore(directory: string): Promise<EmbeddedStore> {
    const engine: Engine =
      kind === 'memory'
        ? new MemoryEngine(systemEnvironment)
        : await openLocal(join(directory, 'store'), { environment: systemEnvironment })
    return openOn(engine)
  }

  test('four writers, watchers and readers go on while collections run in a loop', async () => {
    await using disk = await onDisk()
    await using store = await openStore(disk.directory)
    await store.namespaces.configure('primary', { historyCount: 3, historyAgeMs: 0 })
    await store.namespaces.create('other')
    const model = new Map<string, Buffer>()
    let writing = true
    const failures: unknown[] = []
    const guarded = async (act: () => Promise<void>) => {
      try {
        await act()
      } catch (error) {
        failures.push(error)
        writing = false
      }
    }
    const write = async (writer: number) => {
      const random = mulberry32(writer)
      const pick = (count: number) => Math.floor(random() * count)
      for (let round = 0; round < 24 && writing; round++) {
        const key = `w${writer}/k${pick(8)}`
        const bytes = Buffer.from(value(`${writer} ${pick(20)}`, 1 + pick(30_000)))
        switch (pick(7)) {
          case 0: {
            await store.commit({ ops: [{ op: 'unlink', key }] })
            model.delete(key)
            break
          }
          case 1: {
            const log = `${key}.log`
            await store.append(log, bytes)
            model.set(log, Buffer.concat([model.get(log) ?? Buffer.of(), bytes]))
            break
          }
          case 2: {
            // Of a value that may have fallen out of retention by the time that it lands.
            const known = [...model.keys()].filter((each) => each.startsWith(`w${writer}/`))
            const from = known[pick(known.length)]
            if (from === undefined) break
            await store.commit({ ops: [{ op: 'copy', from, key: `${key}.copy`, replace: true }] })
            model.set(`${key}.copy`, model.get(from) ?? Buffer.of())
            break
          }
          case 3: {
            const large = Buffer.concat(
              Array.from({ length: 5 }, (_, i) =>
                Buffer.alloc(250_000, `${writer}${round % 3}${i}`),
              ),
            )
            await store.put(key, streamOf(large, setImmediate))
            model.set(key, large)
            break
          }
          case 4: {
            // Back from the past, where the past is still there.
            const { seq } = await store.put(key, bytes)
            model.set(key, bytes)
            await store.put(key, 'meanwhile')
            model.set(key, Buffer.from('meanwhile'))
            try {
              await store.commit({ ops: [{ op: 'restore', key, at: seq }] })
              model.set(key, bytes)
            } catch (error) {
              if (!isCode(error, 'ECOMPACTED')) throw error
            }
            break
          }
          default: {
            await store.put(key, bytes)
            model.set(key, bytes)
          }
        }
      }
    }
    const watching = new AbortController()
    const seen: Buffer[] = []
    const watch = async () => {
      try {
        const { signal } = watching
        for await (const event of store.watch('w0/feed', {
          mode: 'append',
          waitCreate: true,
          signal,
        })) {
          if (event.type === 'append') seen.push(Buffer.from(event.data))
        }
      } catch (error) {
        if (!isCode(error, 'ECANCELED')) throw error
      }
    }
    const feed = async () => {
      for (let i = 0; i < 30 && writing; i++) {
        const line = Buffer.from(`line ${i} `.repeat(60))
        await store.append('w0/feed', line)
        model.set('w0/feed', Buffer.concat([model.get('w0/feed') ?? Buffer.of(), line]))
      }
    }
    const read = async () => {
      while (writing) {
        for (const name of (await readAll(store)).keys()) expect(name).toMatch(/^w\d/)
        await setImmediate()
      }
    }
    let collections = 0
    let freed = 0
    const collect = async () => {
      while (writing) {
        freed += (await store.upkeep.collect()).freed.count
        collections++
      }
    }
    const helpers = [read, collect].map((act) => guarded(act))
    const watcher = guarded(watch)
    await Promise.all([...[0, 1, 2, 3].map((i) => guarded(() => write(i))), guarded(feed)])
    writing = false
    await Promise.all(helpers)
    freed += (await store.upkeep.collect()).freed.count
    expect(failures).toEqual([])
    expect(collections).toBeGreaterThan(0)
    expect(freed).toBeGreaterThan(10)
    const all = await readAll(store)
    expect([...all.keys()].sort()).toEqual([...model.keys()].sort())
    for (const [key, bytes] of model)
      expect(Buffer.compare(all.get(key) ?? Buffer.of(), bytes)).toBe(0)
    await expect.poll(() => Buffer.concat(seen).length).toBe(model.get('w0/feed')?.length)
    watching.abort()
    await watcher
    expect(Buffer.compare(Buffer.concat(seen), model.get('w0/feed') ?? Buffer.of())).toBe(0)
    expect(failures).toEqual([])
  })
})

test('a collection that the end of the store cut goes on when it is opened again', async () => {
  await using disk = await onDisk()
  const options = { directory: disk.directory }
  const first = await open(options)
  await first.namespaces.configure('primary', nothingRetained)
  for (let i = 0; i < 60; i++) await first.put('k', Buffer.alloc(blobSizeMax, `${i}`))
  const blob = await first.blobs.store(Buffer.from('named by nothing'))
  const cut = first.upkeep.collect({
    onProgress: ({ phase }) => {
      // In the middle of the sweep.
      if (phase === 'sweep') void first[Symbol.asyncDispose]()
    },
  })
  expect(await refusal(cut)).toMatchObject({ code: 'ECLOSED' })
  await first[Symbol.asyncDispose]()

  await using again = await open(options)
  expect(again.collecting).toBe(true)
  expect(await refusal(again.upkeep.collect())).toMatchObject({ code: 'EBUSY' })
  await again.put('meanwhile', value('meanwhile'))
  await expect.poll(() => again.collecting).toBe(false)
  const { freed } = await again.upkeep.collect()
  expect(freed.size).toBeLessThan(blobSizeMax)
  expect(await again.blobs.load(blob)).toBeUndefined() // the promise of an hour ended with the process
  expect((await again.get('k'))?.length).toBe(blobSizeMax)
  expect(await again.get('meanwhile')).toEqual(Buffer.from(value('meanwhile')))
  await again[Symbol.asyncDispose]()
  await using third = await open(options)
  expect(third.collecting).toBe(false)
})

test('one that was canceled, or failed, does not go on', async () => {
  await using disk = await onDisk()
  const options = { directory: disk.directory }
  const first = await open(options)
  for (let i = 0; i < 30; i++) await first.put(`k${i}`, Buffer.alloc(blobSizeMax, `${i} `))
  const canceling = new AbortController()
  const cut = first.upkeep.collect({
    signal: canceling.signal,
    onProgress: () => canceling.abort(),
  })
  expect(await refusal(cut)).toMatchObject({ code: 'ECANCELED' })
  expect(first.collecting).toBe(false)
  await first[Symbol.asyncDispose]()
  await using again = await open(options)
  expect(again.collecting).toBe(false)
  expect((await again.upkeep.collect()).live.size).toBeGreaterThan(30 * blobSizeMax)
})

test('a collection begins by itself when there is much garbage, and not before', async () => {
  const engine = new MemoryEngine(systemEnvironment)
  const garbage = { share: 0.5, sizeMin: 10 * blobSizeMax }
  await using store = await openOn(engine, { garbage })
  await store.namespaces.configure('primary', nothingRetained)
  for (let i = 0; i < 9; i++) {
    await store.put('k', Buffer.alloc(blobSizeMax, `${i}`))
    expect(store.collecting).toBe(false)
  }
  const before = engine.stored
  for (let i = 9; i < 13; i++) await store.put('k', Buffer.alloc(blobSizeMax, `${i}`))
  expect(before).toBeGreaterThan(9 * blobSizeMax)
  await expect.poll(() => store.collecting).toBe(false)
  expect(engine.stored).toBeLessThan(5 * blobSizeMax)
  expect((await store.get('k'))?.[0]).toBe('1'.charCodeAt(0))
})

test('on an engine that loses, refuses and delays answers, and fails steps, collections lose nothing', async () => {
  let [faults, freed] = [0, 0]
  for (let seed = 1; seed <= 12; seed++) {
    const flaky = new FlakyEngine(new MemoryEngine(systemEnvironment), {
      seed,
      rate: 0.5,
      stepRate: 0.2,
    })
    await using store = await openOn(flaky)
    await store.namespaces.configure('primary', nothingRetained)
    const model = new Map<string, Uint8Array>()
    let writing = true
    let failed = 0
    const collect = async () => {
      try {
        freed += (await store.upkeep.collect()).freed.count
      } catch (error) {
        if (!isCode(error, 'EIO')) throw error
        failed++
      }
    }
    const collectOn = async () => {
      while (writing) await collect()
    }
    const write = async (writer: number) => {
      for (let i = 0; i < 25; i++) {
        const key = `w${writer}/k${i % 4}`
        // The same bytes come back after they may have been freed.
        const bytes = value(`${writer} ${i % 3}`, 400 + i)
        await store.put(key, bytes)
        model.set(key, bytes)
        if (i % 5 === 0) await store.commit({ ops: [{ op: 'unlink', key }] })
        if (i % 5 === 0) model.delete(key)
      }
    }
    const collecting = collectOn()
    await Promise.all([0, 1, 2].map(write))
    writing = false
    await collecting
    // Not refused, whatever the one before met.
    for (let before = -1; before !== failed; await collect()) before = failed
    const all = await readAll(store)
    expect([...all.keys()].sort()).toEqual([...model.keys()].sort())
    for (const [key, bytes] of model) expect(all.get(key)).toEqual(Buffer.from(bytes))
    faults += flaky.faults
  }
  expect(faults).toBeGreaterThan(100)
  expect(freed).toBeGreaterThan(100)
})

describe('what a forget leaves half done', () => {
  it('is swept up behind by the next collection, which is thorough', async () => {
    const garbage = { share: 0, sizeMin: 400_000 }
    await using store = await openOn(new MemoryEngine(systemEnvironment), { garbage })
    await store.put('secret', value('secret', 900))
    const shown = await store.treeobj('secret')
    const [ref = ''] = shown?.type === 'valref' ? (shown.data as string[]) : []
    await store.upkeep.forget('secret')
    // Begins by itself.
    await store.put('large', Buffer.alloc(2 * blobSizeMax, 'xyz'))
    await expect.poll(() => store.collecting).toBe(false)
    expect(await store.blobs.load(ref)).toBeUndefined()
  })
})

test('a treeobj that names what is nowhere does not hide what is', async () => {
  await using store = await open()
  await store.namespaces.configure('primary', nothingRetained)
  const puts = Array.from({ length: 20 }, (_, at) => ({
    op: 'put' as const,
    key: `dir/${at}`,
    value: value(`${at}`),
  }))
  await store.commit({ ops: puts })
  const shown = await store.treeobj('dir')
  const [ref = ''] = shown?.type === 'dirref' ? (shown.data as string[]) : []
  // The same first half of a digest.
  const data = [`${ref.slice(0, 7 + 32)}${'0'.repeat(32)}`]
  const { keys, size } = { keys: 20, size: 20 * 2_000 }
  for (const key of ['a', 'z']) {
    const treeobj = { ver: 1, type: 'dirref', data, count: keys, size }
    await store.commit({ ops: [{ op: 'treeobj', key, treeobj, dangling: true }] })
  }
  await store.upkeep.collect()
  for (const { key, value: bytes } of puts) expect(await store.get(key)).toEqual(Buffer.from(bytes))
})

test('what was there at an older root is told after a collection, though its present went with it', async () => {
  await using disk = await onDisk()
  const options = { directory: disk.directory }
  const fill = async () => {
    await using store = await open(options)
    await store.put('k', 'value', { ttl: 3_600_000 })
    const { seq } = await store.append('log', 'line', { ttl: 3_600_000 })
    for (let i = 0; i < 40; i++) await store.put(`later ${i}`, 'v', { ttl: 3_600_000 })
    await store.upkeep.collect()
    return seq
  }
  const at = await fill()
  await using store = await open(options)
  expect(await store.stat('k', { at })).toMatchObject({ size: 5 })
  expect(await store.stat('k', { at })).not.toHaveProperty('expires')
  expect(await store.stat('log', { at })).toMatchObject({ size: 4 })
  expect(await store.stat('k')).toHaveProperty('expires')
})
