/** A disk that is really full (a small tmpfs): a clear ENOSPC, nothing half done, reads and watches go
 *  on, and writes too once there is space, without a restart. See rfc/4, rfc/17. */

import { randomBytes } from 'node:crypto'
import { statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { reserveSize } from '../../src/engine/reserve.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { smallDisk } from '../small-disk.js'
import { refusal, text } from './expect.js'

const mebibyte = 1024 * 1024

it('ENOSPC is said, reads go on, and space brings writes back', async (context) => {
  await using disk = await smallDisk(24 * mebibyte, context)
  const ballast = join(disk.directory, 'ballast')
  writeFileSync(ballast, Buffer.alloc(8 * mebibyte))
  await using store = await open({ directory: join(disk.directory, 'store') })
  const watching = store.watch('log', { mode: 'append', waitCreate: true })
  const first = watching.next()
  const chunk = (index: number) => Buffer.alloc(mebibyte, index)
  let stored = 0
  let failure: unknown
  while (failure === undefined && stored < 64) {
    await store.append('log', chunk(stored)).then(
      () => stored++,
      (error: unknown) => {
        failure = error
      },
    )
  }
  expect(failure).toMatchObject({ code: 'ENOSPC' })
  expect(stored).toBeGreaterThan(2)
  expect((await first).value).toMatchObject({ type: 'live' })
  expect((await watching.next()).value).toMatchObject({ type: 'append', index: 0 })

  // Everything that was answered is there, nothing else is, and it fails again as clearly.
  expect(await store.stat('log')).toMatchObject({ size: stored * mebibyte })
  expect((await store.root()).seq).toBe(stored)
  const another = randomBytes(2 * mebibyte) // not bytes that are stored already
  expect(await refusal(store.append('log', another))).toMatchObject({ code: 'ENOSPC' })
  for await (const blob of (await store.read('log', { from: (stored - 1) * mebibyte }))?.chunks ??
    []) {
    expect(blob.every((byte) => byte === stored - 1)).toBe(true)
  }

  await rm(ballast)
  await store.append('log', chunk(stored))
  await store.put('small', 'again')
  expect(await store.stat('log')).toMatchObject({ size: (stored + 1) * mebibyte })
  const { count = 0 } = (await store.stat('log')) ?? {}
  for (let index = 1; index < count; ) {
    const { value } = await watching.next()
    if (value?.type !== 'append') continue
    expect(value.index).toBe(index++)
  }
})

/** Puts large values, then small ones, until the disk takes no more of either; somebody else takes the rest. */
async function fillDisk(store: EmbeddedStore, directory: string): Promise<void> {
  for (const size of [200_000, 20]) {
    for (let count = 0; ; count++) {
      const put = await refusal(store.put(`k/${size}/${count}`, randomBytes(size))).catch(() => 0)
      if (put === 0) continue
      expect(put).toMatchObject({ code: 'ENOSPC' })
      break
    }
  }
  const rest = join(directory, 'rest')
  expect(() => writeFileSync(rest, Buffer.alloc(64 * mebibyte))).toThrow(/ENOSPC/)
}

it('keys can be removed on a full disk, and writes go on in what a collection has freed', async (context) => {
  await using disk = await smallDisk(48 * mebibyte, context)
  const directory = join(disk.directory, 'store')
  const ballast = join(disk.directory, 'ballast')
  writeFileSync(ballast, Buffer.alloc(4 * mebibyte))
  const reserved = () => statSync(join(directory, 'store', 'reserve')).size
  await using store = await open({ directory })
  await store.put('kept', 'kept')
  await store.namespaces.create('other')
  await fillDisk(store, disk.directory)
  expect(reserved()).toBe(reserveSize)
  const full = { code: 'ENOSPC', message: expect.stringMatching(/remove keys and collect/) }
  const value = () => randomBytes(200_000)
  expect(await refusal(store.put('k/new', value()))).toMatchObject(full)
  expect(reserved()).toBe(reserveSize)

  // One that frees goes on beside others that are refused.
  const [unlinked, put] = await Promise.allSettled([
    store.commit({ ops: [{ op: 'unlink', key: 'k/200000/0' }] }),
    store.commit({ ops: [{ op: 'put', key: 'k/new', value: value() }] }),
    store.namespaces.remove('other'),
  ])
  expect(unlinked).toMatchObject({ status: 'fulfilled' })
  expect(put).toMatchObject({ status: 'rejected', reason: { code: 'ENOSPC' } })
  expect(text(await store.get('kept'))).toBe('kept')

  for (let count = 1; count < 20; count++) {
    await store.commit({ ops: [{ op: 'unlink', key: `k/200000/${count}` }] })
  }
  await store.commit({ ops: [{ op: 'unlink', key: 'k', recursive: true }] })
  await store.upkeep.forget('k')
  // What was released to them is not for the others.
  expect(reserved()).toBeLessThan(reserveSize)
  expect(await refusal(store.put('small', 'x'))).toMatchObject(full)
  expect((await store.upkeep.collect()).freed.size).toBeGreaterThan(30 * mebibyte)
  for (let count = 0; count < 50; count++) await store.put(`again/${count}`, value())
  expect(text(await store.get('kept'))).toBe('kept')

  // It is made whole once the disk has room for it.
  await rm(ballast)
  await store.put('again/last', 'x')
  expect(reserved()).toBe(reserveSize)
})

it('a history that is no longer kept gives its space back on a full disk, too', async (context) => {
  await using disk = await smallDisk(48 * mebibyte, context)
  await using store = await open({ directory: join(disk.directory, 'store') })
  await fillDisk(store, disk.directory)
  await store.commit({ ops: [{ op: 'unlink', key: 'k', recursive: true }] })
  await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
  await store.upkeep.collect()
  await store.put('again', randomBytes(mebibyte))
})

it('a store of which the disk is full opens, and can be emptied', async (context) => {
  await using disk = await smallDisk(48 * mebibyte, context)
  const directory = join(disk.directory, 'store')
  {
    await using store = await open({ directory })
    await fillDisk(store, disk.directory)
  }
  await using store = await open({ directory })
  await store.commit({ ops: [{ op: 'unlink', key: 'k', recursive: true }] })
  await store.upkeep.forget('k')
  await store.upkeep.collect()
  await store.put('again', randomBytes(mebibyte))
})
