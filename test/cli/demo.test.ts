/** The demo, on a hundredth of its bytes: it ends well and leaves nothing. */

import { readdir } from 'node:fs/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

it('demo compares every byte, counts every append, and removes its store', async () => {
  const stdout = await sandbox.ok(['demo', '--scale', '40', '--json'], {
    env: { TMPDIR: sandbox.directory },
  })
  const result = JSON.parse(stdout)
  expect(result.jobs).toMatchObject([
    { command: 'lptest 80 50000', bytes: 4_050_000 },
    { command: 'lptest 2000000 2', bytes: 4_000_002 },
  ])
  for (const job of result.jobs) {
    expect(job.responses).toBe(job.appends)
    expect(job.replayResponses).toBe(job.appends)
    expect(job.appends).toBeGreaterThan(4_000_000 / 262_120)
  }
  expect(result.root.ref).toMatch(/^blake3-/)
  expect(await readdir(sandbox.directory)).toEqual([])
})

it('demo prints a summary for people', async () => {
  const env = { TMPDIR: sandbox.directory }
  const { code, stdout, stderr } = await sandbox.call(['demo', '--scale', '40'], { env })
  expect(code).toBe(0)
  expect(stderr).toBe('')
  for (const part of ['live', 'again', 'responses', 'server memory', 'root', 'Try next:']) {
    expect(stdout).toContain(part)
  }
})
