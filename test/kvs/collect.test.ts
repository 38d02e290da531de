/** Collections of an embedded store: what they leave alone, whatever goes on beside them. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import type { Engine } from '../../src/engine/engine.js'
import { openLmdb } from '../../src/engine/lmdb.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { isCode } from '../../src/error.js'
import { type EmbeddedStore, open, openOn } from '../../src/open.js'
import { FlakyEngine, mulberry32 } from '../engine/flaky.js'
import { text } from './expect.js'

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
        : await openLmdb(join(directory, 'store'), { environment: systemEnvironment })
    return openOn(engine)
  }

  test('four writers, watchers and readers go on while collections run in a loop', async () => {
    await using disk = await onDisk()
    await using store = await openStore(disk.directory)
    await store.configureNamespace('primary', { historyCount: 3, historyAgeMs: 0 })
    await store.createNamespace('other')
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
      for (let round = 0; round < 50 && writing; round++) {
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
      for (let i = 0; i < 60 && writing; i++) {
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
        freed += (await store.collect()).freed.count
        collections++
      }
    }
    const helpers = [read, collect].map((act) => guarded(act))
    const watcher = guarded(watch)
    await Promise.all([...[0, 1, 2, 3].map((i) => guarded(() => write(i))), guarded(feed)])
    writing = false
    await Promise.all(helpers)
    await store.collect()
    expect(failures).toEqual([])
    expect(collections).toBeGreaterThan(2)
    expect(freed).toBeGreaterThan(40)
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
