/** A data directory whose store is lost, emptied or cut: told by every opener, and nothing is touched. See
 *  rfc/13, rule 19, and rfc/4, rule 23. */

import {
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hasAllPages, newestMeta } from '../src/engine/lmdb-file.js'
import { segmentName } from '../src/journal/segment.js'
import { checkStore, open } from '../src/open.js'

let directory = ''
const file = () => join(directory, 'store', 'data.mdb')
const journal = () => join(directory, 'store', 'journal')

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-lost-'))
  await using store = await open({ directory })
  const value = (i: number) => Buffer.alloc(1 + 700 * i, i)
  await store.commit({
    ops: Array.from({ length: 30 }, (_, i) => ({ op: 'put', key: `key${i}`, value: value(i) })),
  })
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function expectLost(): Promise<void> {
  const before = (await readdir(directory, { recursive: true })).sort()
  await expect(open({ directory })).rejects.toMatchObject({ code: 'ECORRUPT' })
  expect(await checkStore({ directory })).toMatchObject({
    clean: false,
    findings: [{ where: 'store', code: 'ECORRUPT', message: expect.stringContaining(directory) }],
  })
  expect((await readdir(directory, { recursive: true })).sort()).toEqual(before)
}

describe('a store is lost, not new, where', () => {
  it('its directory is gone', async () => {
    await rm(join(directory, 'store'), { recursive: true })
    await expectLost()
  })

  it('its directory is empty', async () => {
    await rm(join(directory, 'store'), { recursive: true })
    await mkdir(join(directory, 'store'))
    await expectLost()
  })

  it('its data file is gone', async () => {
    await rm(file())
    await expectLost()
  })

  it.each([0, 512, 8_192, 12_288, 20_480])('its data file was cut to %d bytes', async (size) => {
    await truncate(file(), size)
    const bytes = await readFile(file())
    await expectLost()
    expect(await readFile(file())).toEqual(bytes)
  })

  it('its journal is gone', async () => {
    await rm(journal(), { recursive: true })
    await expectLost()
  })

  it('its journal is empty', async () => {
    await rm(journal(), { recursive: true })
    await mkdir(journal())
    await expectLost()
  })

  it.each([0, 63, 64, 1_000])('its last segment was cut to %d bytes', async (size) => {
    const path = join(journal(), segmentName(1))
    await truncate(path, size)
    await expectLost()
    expect((await stat(path)).size).toBe(size)
  })

  it('its journal is there, and its data file is not', async () => {
    await rm(file())
    await rm(join(directory, 'format.json'))
    const before = await readFile(join(journal(), segmentName(1)))
    await expect(open({ directory })).rejects.toMatchObject({ code: 'ECORRUPT' })
    expect(await readFile(join(journal(), segmentName(1)))).toEqual(before)
  })
})

it('a file that was cut is refused, or nothing of it was lost', async () => {
  const { size } = await stat(file())
  const outcomes = new Set<string>()
  for (const cut of [1, 4_096, 8_192, 40_960]) {
    await truncate(file(), size - cut)
    try {
      await using store = await open({ directory })
      for (let i = 0; i < 30; i++) expect((await store.get(`key${i}`))?.length).toBe(1 + 700 * i)
      outcomes.add('whole')
    } catch (error) {
      expect(error).toMatchObject({ code: 'ECORRUPT' })
      outcomes.add('refused')
    }
  }
  expect(outcomes).toContain('refused')
})

it('a whole file opens, also one that lacks pages at its end that nobody uses', async () => {
  const handle = await openFile(file())
  try {
    const heads = [Buffer.alloc(512), Buffer.alloc(512)]
    for (const [page, head] of heads.entries()) await handle.read(head, 0, 512, page * 4_096)
    const meta = newestMeta(heads)
    if (!meta) throw new Error('a store begins with a meta page')
    // As if more had been given out, and given back before it was written: the trees are walked.
    const lastPage = meta.lastPage + 100n
    expect(await hasAllPages(handle, { ...meta, lastPage })).toBe(true)
    const [free, main] = meta.roots
    const behind = BigInt((await handle.stat()).size / meta.pageSize)
    expect(await hasAllPages(handle, { ...meta, lastPage, roots: [free, behind] })).toBe(false)
    expect(main).toBeLessThan(behind)
  } finally {
    await handle.close()
  }
  await using store = await open({ directory })
  expect((await store.get('key29'))?.length).toBe(1 + 700 * 29)
})
