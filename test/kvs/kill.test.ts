/** kill -9 of a process that sweeps while others write, and of one that moves keys between namespaces: what was
 *  acknowledged is there, and a moved key is in one of both. See rfc/14; rfc/18, rule 6. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { checkStore, type EmbeddedStore, open } from '../../src/open.js'
import { bundledPrograms } from '../support/programs.js'
import { text } from './expect.js'

const programs = bundledPrograms({ child: 'test/kvs/kill-child.ts' })
const rounds = 2

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-kill-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** What it said until it was killed, which is when `enough` says so first. */
async function killed(
  args: readonly string[],
  enough: (line: string, count: number) => boolean,
): Promise<string[]> {
  const process_ = spawn(process.execPath, [programs.child, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  let dying = false
  for await (const line of createInterface({ input: process_.stdout })) {
    lines.push(line)
    if (dying || !enough(line, lines.length)) continue
    dying = true
    process_.kill('SIGKILL')
  }
  if (process_.exitCode === null && process_.signalCode === null) await once(process_, 'exit')
  expect(process_.signalCode).toBe('SIGKILL')
  return lines
}

async function isClean(): Promise<void> {
  expect(await checkStore({ directory })).toMatchObject({ clean: true, findings: [] })
}

it('in the middle of a sweep: every acknowledged write is there, whole', async () => {
  {
    await using store = await open({ directory })
    await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
  }
  const last = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    let sweeps = 0
    const lines = await killed(['sweep', directory, `${round}`], (line, count) => {
      if (line === 'sweep') sweeps++
      return line === 'sweep' && sweeps > 2 * (round + 1) && count > 90
    })
    for (const line of lines) {
      const [id = '', count] = line.split(' ')
      if (count !== undefined) last.set(id, Number(count))
    }
    expect(last.size).toBe(3 * (round + 1))
    await isClean()
    await using store = await open({ directory })
    for (const [id, acknowledged] of last) await holdsAll(store, id, acknowledged)
    // A collection that was cut goes on by itself.
    await expect.poll(() => store.collecting).toBe(false)
    for (const [id, acknowledged] of last) await holdsAll(store, id, acknowledged)
  }
}, 60_000)

/** All that a writer was told, and at most one write more. */
async function holdsAll(store: EmbeddedStore, id: string, acknowledged: number): Promise<void> {
  const log = text(await store.get(`${id}/log`))
    .trim()
    .split(' ')
    .map(Number)
  expect(log).toEqual(log.map((_, at) => at))
  expect([acknowledged + 1, acknowledged + 2]).toContain(log.length)
  for (let slot = 0; slot < 5; slot++) {
    const newest = log.findLast((count) => count % 5 === slot)
    if (newest === undefined) continue
    expect(text(await store.get(`${id}/slot${slot}`))).toBe(`${newest} `.repeat(3_000))
  }
}

it('between moves: every key is in exactly one namespace, the acknowledged one', async () => {
  const keys = [0, 1, 2].flatMap((id) => [0, 1, 2, 3, 4].map((each) => `${id}/${each}`))
  {
    await using store = await open({ directory })
    await store.namespaces.create('other')
    await store.commit({
      ops: keys.map((key) => ({ op: 'put', key, value: `${key} `.repeat(200) })),
    })
  }
  const told = new Map<string, number>(keys.map((key) => [key, 0]))
  for (let round = 0; round < rounds; round++) {
    const lines = await killed(['move', directory], (_, count) => count > 60 + 17 * round)
    for (const line of lines) {
      const [key = '', side] = line.split(' ')
      told.set(key, Number(side))
    }
    await isClean()
    await using store = await open({ directory })
    let late = 0
    for (const key of keys) {
      const sides = [await store.get(key), await store.get(key, { namespace: 'other' })]
      const found = sides.flatMap((bytes, side) => (bytes ? [side] : []))
      expect(found.length, key).toBe(1)
      const [side = 0] = found
      expect(text(sides[side])).toBe(`${key} `.repeat(200))
      if (side !== told.get(key)) late++
      told.set(key, side)
    }
    // One of each mover was on its way.
    expect(late).toBeLessThanOrEqual(3)
  }
}, 60_000)
