/** Damage of the heads of records and of the headers of segments, which no read meets: a check finds each bit,
 *  says which keys are concerned, and a repair stores what is whole anew. A segment that is missing is
 *  noticed by an open. See rfc/15, rule 20, and rfc/4, rule 23. */

import { cp, mkdtemp, open as openFile, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { openLocal } from '../../src/engine/local-open.js'
import { recordAt } from '../../src/journal/scan.js'
import { parseHeader } from '../../src/journal/segment.js'
import { Window } from '../../src/journal/window.js'
import { checkStore, open, openOn } from '../../src/open.js'
import { segmentPaths } from '../support/store-files.js'
import { flipAt } from './damage.js'

const keys = Array.from({ length: 30 }, (_, at) => `key${at}`)
const contentOf = (key: string) => Buffer.alloc(1_500, `${key} `)

let above = ''
let whole = ''
let count = 0
beforeAll(async () => {
  above = await mkdtemp(join(tmpdir(), 'tailrace-heads-'))
  whole = join(above, 'whole')
  {
    await using store = await open({ directory: whole })
    await store.put('first', 'value')
  }
  const bounds = { segmentSize: 20_000 }
  const path = join(whole, 'store')
  const engine = await openLocal(path, { environment: systemEnvironment, bounds })
  await using store = await openOn(engine)
  for (const key of keys) await store.put(key, contentOf(key))
})
afterAll(() => rm(above, { recursive: true, force: true }))

async function copy(): Promise<{ directory: string; paths: string[] }> {
  const directory = join(above, `copy-${count++}`)
  await cp(whole, directory, { recursive: true })
  return { directory, paths: await segmentPaths(join(directory, 'store')) }
}

/** The ranges of a segment's file that are no bodies, with the header as the first one. */
async function headsOf(path: string): Promise<{ from: number; to: number }[]> {
  const file = await openFile(path)
  try {
    const window = new Window(file, (await file.stat()).size)
    const header = parseHeader(await window.bytes(0, 64))
    if (!header) throw new Error('the segment has no header')
    const heads = [{ from: 0, to: 64 }]
    for (let at = 64; at < window.size; ) {
      const record = await recordAt(window, header, at)
      if (!record) throw new Error('the segment is whole')
      heads.push({ from: at, to: record.bodyAt })
      at = record.end
    }
    return heads
  } finally {
    await file.close()
  }
}

async function readAll(directory: string): Promise<void> {
  await using store = await open({ directory })
  for (const key of keys) {
    const bytes = await store.get(key)
    expect(bytes && Buffer.from(bytes).equals(contentOf(key)), key).toBe(true)
  }
}

describe('a flipped bit in a head', () => {
  it('is found at every byte of a head and of a header', async () => {
    const { directory, paths } = await copy()
    const path = paths[1] ?? ''
    const heads = await headsOf(path)
    for (const { from, to } of [heads[0], heads[1], heads[4]].flatMap((head) => head ?? [])) {
      for (let at = from; at < to; at += 7) {
        await flipAt(path, at, at % 8)
        const { clean, findings } = await checkStore({ directory })
        expect(clean, `byte ${at}`).toBe(false)
        expect(findings[0]).toMatchObject({ where: 'store', code: 'ECORRUPT' })
        expect(findings[0]?.message).toContain(path)
        await flipAt(path, at, at % 8)
      }
    }
    expect((await checkStore({ directory })).findings).toEqual([])
  })

  it('names the keys whose bytes the record has', async () => {
    const { directory, paths } = await copy()
    const path = paths[1] ?? ''
    const bytes = await readFile(path)
    const [head] = (await headsOf(path)).slice(2)
    const key = /key\d+/.exec(bytes.subarray(head?.to).toString('latin1'))?.[0]
    await flipAt(path, (head?.from ?? 0) + 30)
    const { findings } = await checkStore({ directory })
    expect(findings.length).toBe(1)
    expect(findings[0]?.message).toContain(`primary ${key}`)
    await readAll(directory)
  })

  it.each([1, -1])('is mended: what is whole is stored anew (segment %d)', async (index) => {
    const { directory, paths } = await copy()
    const path = paths.at(index) ?? ''
    const [head] = (await headsOf(path)).slice(1)
    // Not in the record that an open reads again.
    await flipAt(path, (head?.from ?? 0) + 30)
    expect((await checkStore({ directory, repair: true })).clean).toBe(false)
    expect((await checkStore({ directory })).findings).toEqual([])
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
    await readAll(directory)
  })

  it('keeps the segment where a blob in it is damaged, too', async () => {
    const { directory, paths } = await copy()
    const path = paths[1] ?? ''
    const [, head, next] = await headsOf(path)
    await flipAt(path, (head?.from ?? 0) + 30)
    await flipAt(path, (next?.to ?? 0) + 700)
    const before = await readFile(path)
    const { findings, repaired } = await checkStore({ directory, repair: true })
    expect(findings.map(({ where }) => where)).toEqual(['store', 'data'])
    expect(repaired?.flatMap(({ moved }) => moved).length).toBe(1)
    expect((await readFile(path)).equals(before)).toBe(true)
  })
})

describe('a segment that is missing', () => {
  it('is noticed by an open, which changes nothing and says what to do', async () => {
    const { directory, paths } = await copy()
    const path = paths[1] ?? ''
    await rm(path)
    const before = await readdir(join(directory, 'store', 'journal'))
    const opening = open({ directory })
    await expect(opening).rejects.toMatchObject({ code: 'ECORRUPT' })
    await expect(opening).rejects.toThrow(`${path} is missing: put it back from a copy`)
    await expect(opening).rejects.toThrow('fsck --repair')
    expect(await readdir(join(directory, 'store', 'journal'))).toEqual(before)
    await cp(join(whole, 'store', 'journal', path.slice(-20)), path)
    await readAll(directory)
  })

  it('is told by a check with the keys that are lost, and a repair makes the rest usable', async () => {
    const { directory, paths } = await copy()
    const path = paths[1] ?? ''
    await rm(path)
    const { findings } = await checkStore({ directory })
    expect(findings[0]).toMatchObject({ where: 'store', code: 'ECORRUPT' })
    expect(findings[0]?.message).toContain(`${path} is missing`)
    const lost = new Set(findings.flatMap(({ where, key }) => (where === 'data' && key) || []))
    expect(lost.size).toBeGreaterThan(3)
    expect((await checkStore({ directory, repair: true })).clean).toBe(false)
    await using store = await open({ directory })
    for (const key of keys) {
      const bytes = await store.get(key)
      if (lost.has(key)) expect(bytes).toBeUndefined()
      else expect(bytes && Buffer.from(bytes).equals(contentOf(key)), key).toBe(true)
    }
    // The bytes that were lost are stored again, and not taken for those that were there.
    for (const key of lost) await store.put(key, contentOf(key))
    for (const key of lost)
      expect(Buffer.from((await store.get(key)) ?? []).equals(contentOf(key)), key).toBe(true)
  })
})
