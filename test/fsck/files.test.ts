/** Damage of every kind of file of a store: each key is read as it was, or refused; what is refused is found
 *  by a check; the process ends well. See rfc/15. */

import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { openLocal } from '../../src/engine/local-open.js'
import { isCode } from '../../src/error.js'
import { checkStore, open, openOn } from '../../src/open.js'
import { mulberry32 } from '../engine/flaky.js'
import { segmentPaths } from '../support/store-files.js'
import { flipAt } from './damage.js'

const bounds = { segmentSize: 20_000 }
const keys = Array.from({ length: 40 }, (_, at) => `key${at}`)
const contentOf = (key: string) => Buffer.alloc(1_500, `${key} `)

let above = ''
let whole = ''
beforeAll(async () => {
  above = await mkdtemp(join(tmpdir(), 'tailrace-files-'))
  whole = join(above, 'whole')
  {
    await using store = await open({ directory: whole })
    await store.put('first', 'value')
  }
  const path = join(whole, 'store')
  const engine = await openLocal(path, { environment: systemEnvironment, bounds })
  await using store = await openOn(engine)
  for (const key of keys) await store.put(key, contentOf(key))
})
afterAll(() => rm(above, { recursive: true, force: true }))

/** The outcome for a store that was damaged: the keys that are read, those that are refused, and the words of a
 *  check. Throws where bytes are served that are not those that were put, or an error is not ours. */
async function outcomeOf(damage: (store: string) => Promise<unknown>) {
  const directory = join(above, 'damaged')
  await cp(whole, directory, { recursive: true })
  try {
    await damage(join(directory, 'store'))
    const refused: string[] = []
    try {
      await using store = await open({ directory })
      for (const key of keys) {
        try {
          const bytes = await store.get(key)
          expect(bytes && Buffer.from(bytes).equals(contentOf(key)), key).toBe(true)
        } catch (error) {
          if (!isCode(error, 'ECORRUPT') && !isCode(error, 'EDANGLING')) throw error
          refused.push(key)
        }
      }
    } catch (error) {
      if (!isCode(error, 'ECORRUPT') && !isCode(error, 'EDANGLING')) throw error
      refused.push('the store')
    }
    const { clean, findings } = await checkStore({ directory })
    return { refused, clean, findings }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const nth = async (store: string, index: number) => (await segmentPaths(store)).at(index) ?? ''

describe('damage of a segment', () => {
  it('is there to be tried', async () => {
    expect((await segmentPaths(join(whole, 'store'))).length).toBeGreaterThan(3)
    const { refused, clean } = await outcomeOf(async () => {})
    expect([refused, clean]).toEqual([[], true])
  })

  it('in the bytes of a blob is found by a read and by a check', async () => {
    const { refused, clean } = await outcomeOf(async (store) => {
      const path = await nth(store, 1)
      await flipAt(path, (await readFile(path)).indexOf(contentOf('key').subarray(0, 3)) + 700)
    })
    expect(refused.length).toBe(1)
    expect(clean).toBe(false)
  })

  it.each([0, -2, -1])('that is missing is found (%d)', async (index) => {
    const { refused, clean } = await outcomeOf(async (store) => rm(await nth(store, index)))
    expect(refused.length).toBeGreaterThan(0)
    expect(clean).toBe(false)
  })

  it.each([0, 1, -1])('that is cut is found (%d)', async (index) => {
    const { refused, clean } = await outcomeOf(async (store) => {
      const path = await nth(store, index)
      await truncate(path, Math.floor((await readFile(path)).length / 2))
    })
    expect(refused.length).toBeGreaterThan(0)
    expect(clean).toBe(false)
  })

  it('of the journal as a whole is found: missing, empty, all of zeros', async () => {
    const all = async (store: string, act: (path: string) => Promise<unknown>) => {
      for (const name of await readdir(join(store, 'journal')))
        await act(join(store, 'journal', name))
    }
    for (const damage of [
      (store: string) => rm(join(store, 'journal'), { recursive: true }),
      (store: string) => all(store, (path) => rm(path)),
      (store: string) =>
        all(store, async (path) => writeFile(path, Buffer.alloc((await readFile(path)).length))),
    ]) {
      const { refused, clean } = await outcomeOf(damage)
      expect(refused).toEqual(['the store'])
      expect(clean).toBe(false)
    }
  })

  it('at any byte is never served, and a check finds what a read refuses', async () => {
    const random = mulberry32(1)
    let found = 0
    for (let round = 0; round < 40; round++) {
      const { refused, clean } = await outcomeOf(async (store) => {
        const paths = await segmentPaths(store)
        const path = paths[Math.floor(random() * paths.length)] ?? ''
        const { length } = await readFile(path)
        await flipAt(path, Math.floor(random() * length), Math.floor(random() * 8))
      })
      if (refused.length > 0) expect(clean).toBe(false)
      if (!clean) found++
    }
    expect(found).toBeGreaterThan(20) // most bytes are those of blobs
  })
})

describe('damage of the tables', () => {
  it('at any bit ends no process; what is read is right', async () => {
    const random = mulberry32(2)
    const silent: string[] = []
    for (let round = 0; round < 40; round++) {
      const at = random()
      const { refused, clean } = await outcomeOf(async (store) => {
        const path = join(store, 'data.mdb')
        const { length } = await readFile(path)
        await flipAt(path, Math.floor(at * length), Math.floor(random() * 8))
      })
      if (refused.length > 0 && clean) silent.push(`${round}: ${refused.join()}`)
    }
    expect(silent).toEqual([])
  })
})
