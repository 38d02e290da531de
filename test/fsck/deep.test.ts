/** Checks and repairs of trees that are deeper than any key. See rfc/5, rule 27; rfc/15. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { checkStore, open } from '../../src/open.js'
import { text } from '../kvs/expect.js'
import { flip } from './damage.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-deep-'))
})
afterEach(() => rm(directory, { recursive: true }))

const check = (repair = false) => checkStore({ directory, repair })
const pathOf = (name: string, depth: number) => Array(depth).fill(name).join('/')
const lost = Buffer.alloc(1_000, 'lost')

async function use<T>(act: (store: Kvs) => Promise<T>): Promise<T> {
  await using store = await open({ directory })
  return await act(store)
}

it('damage is told by its key, however long, and mended without its neighbours', async () => {
  const path = pathOf('d'.repeat(250), 4)
  await use(async (store) => {
    await store.put(`low/${path}/damaged`, lost)
    await store.put(`low/${path}/whole`, 'whole')
    await store.put('v', 'value')
    await store.commit({ ops: [{ op: 'mkdir', key: pathOf('up', 100) }] })
    await store.commit({ ops: [{ op: 'move', from: 'low', key: `${pathOf('up', 100)}/low` }] })
  })
  await flip(directory, lost)
  const { findings } = await check(true)
  const key = `${pathOf('up', 100)}/low/${path}/damaged`
  expect(findings.filter(({ where }) => where === 'data')).toMatchObject([
    { key, code: 'ECORRUPT' },
  ])
  await use(async (store) => {
    await store.commit({ ops: [{ op: 'move', from: `${pathOf('up', 100)}/low`, key: 'low' }] })
    expect(text(await store.get(`low/${path}/whole`))).toBe('whole')
    expect(await store.stat(`low/${path}/damaged`)).toBeUndefined()
    const { entries } = await store.list('lost+found')
    expect(entries.length).toBe(1)
    const note = text(await store.get(`lost+found/${entries[0]?.name}`))
    expect(JSON.parse(note)).toMatchObject({ key, kept: { count: 0 } })
  })
})

it('so is a tree of 1,200 directories in each other', async () => {
  const levels = 300
  await use(async (store) => {
    await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
    await store.put('x/damaged', lost)
    await store.put('x/whole', 'whole')
    for (let round = 0; round < 4; round++) {
      await store.commit({
        ops: [
          { op: 'mkdir', key: pathOf('y', levels) },
          { op: 'move', from: 'x', key: `${pathOf('y', levels)}/x` },
          { op: 'move', from: 'y', key: 'x' },
        ],
      })
    }
    await store.upkeep.collect()
    const { keys } = await store.upkeep.import(store.upkeep.export(), { namespace: 'copy' })
    expect(keys).toBe(2)
    await store.namespaces.remove('copy')
    const { entries } = await store.list('x', { recursive: true })
    expect(entries.length).toBe(513)
  })
  expect(await check()).toMatchObject({ clean: true })
  await flip(directory, lost)
  const { findings } = await check(true)
  expect(findings[0]?.key?.length).toBeGreaterThan(2_400)
  expect(findings.map(({ where }) => where)).toEqual(['data'])
  const again = await check()
  expect(again.findings.map(({ where }) => where)).not.toContain('data')
  await use(async (store) => {
    expect(await store.stat('x')).toMatchObject({ count: 1, size: 5 })
    await store.commit({ ops: [{ op: 'unlink', key: 'x', recursive: true }] })
  })
}, 60_000)

it('what 2^40 keys share is looked at once, told by the shortest key, and mended for all', async () => {
  const levels = 40
  await use(async (store) => {
    await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
    await store.put('0/damaged', lost)
    await store.put('0/whole', 'whole')
    for (let level = 1; level <= levels; level++) {
      const from = `${level - 1}`
      await store.commit({
        ops: [
          { op: 'mkdir', key: `${level}` },
          { op: 'copy', from, key: `${level}/a` },
          { op: 'copy', from, key: `${level}/b` },
        ],
      })
    }
    await store.upkeep.collect()
  })
  await flip(directory, lost)
  const { findings, found } = await check()
  const ofData = findings.filter(({ where }) => where === 'data')
  expect(ofData).toMatchObject([{ key: '0/damaged', code: 'ECORRUPT' }])
  // 1 at its own place, and 2^n below each of the others.
  expect(ofData[0]?.others).toBe(2 ** (levels + 1) - 2)
  expect(found).toBe(findings.length)
  const { repaired = [] } = await check(true)
  expect(repaired[0]?.moved).toHaveLength(1)
  await use(async (store) => {
    const deepest = `${levels}/${'a/b/'.repeat(levels / 2)}`
    expect(text(await store.get(`${deepest}whole`))).toBe('whole')
    expect(await store.stat(`${deepest}damaged`)).toBeUndefined()
    expect(await store.stat('0/damaged')).toBeUndefined()
  })
  const again = await check()
  expect(again.findings.filter(({ where }) => where === 'data')).toEqual([])
}, 60_000)
