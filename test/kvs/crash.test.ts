/** kill -9 of a process whose 16 writers append, through the whole embedded store: what was
 *  acknowledged is there after the restart, in order, once, and nothing dangles. See rfc/4, rfc/17. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { open } from '../../src/open.js'
import { bundledPrograms } from '../support/programs.js'

const programs = bundledPrograms({ writers: 'test/kvs/append-writers.ts' })
const acknowledgedMin = 400

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-crash-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

it('every acknowledged append of 16 writers is there after kill -9, in order, once', async () => {
  const acknowledged: { index: number; line: string }[] = []
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, [programs.writers, directory, `${round}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const wanted = acknowledged.length + acknowledgedMin
    for await (const line of createInterface({ input: child.stdout })) {
      const [index, ...rest] = line.split(' ')
      acknowledged.push({ index: Number(index), line: rest.join(' ') })
      if (acknowledged.length === wanted) child.kill('SIGKILL')
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    expect(child.signalCode).toBe('SIGKILL')

    await using store = await open({ directory })
    const log = Buffer.from((await store.get('log')) ?? []).toString()
    const lines = log.trimEnd().split('\n')
    for (const { index, line } of acknowledged) expect(lines[index]).toBe(line)
    expect(new Set(lines).size).toBe(lines.length)
    // What was not acknowledged may be there or not, but each writer's lines are in its order.
    const last = new Map<string, number>()
    for (const line of lines) {
      const [run, writer, count] = line.split('/')
      const id = `${run}/${writer}`
      expect(Number(count)).toBeGreaterThan(last.get(id) ?? -1)
      last.set(id, Number(count))
    }
    expect((await store.stat('log'))?.count).toBe(lines.length)
  }
}, 60_000)
