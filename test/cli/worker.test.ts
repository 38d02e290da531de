/** `tailrace worker`, and runs that use workers that have joined, built as users have them. See rfc/25, rule 28. */

import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Sandbox } from '../support/sandbox.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

const pipeline = `
import { map, target } from 'tailrace/flow'
export const rows = target('rows', [3], (count) => Array.from({ length: count }, (_, at) => at))
export const squares = map('squares', [rows], (row) => {
  console.log('square', row)
  return row * row
})
export const total = target('total', [squares], (all) => all.reduce((sum, each) => sum + each, 0), { label: 'big' })
`

let sandbox: Sandbox

beforeEach(async () => {
  sandbox = await Sandbox.makeServed()
  await mkdir(join(sandbox.directory, 'node_modules'))
  await symlink(root, join(sandbox.directory, 'node_modules', 'tailrace'))
  await writeFile(join(sandbox.directory, 'package.json'), '{"type":"module"}')
  await writeFile(join(sandbox.directory, 'flow.mjs'), pipeline)
})
afterEach(() => sandbox.remove())

it('makes targets of runs that use it, is listed, and leaves at SIGTERM', async () => {
  const worker = sandbox.start(['worker', 'flow.mjs', '--label', 'big', '--slots', '2'])
  const workerEnded = worker.ended()
  worker.child.stdin.end()
  const ran = await sandbox.call(['flow', 'run', 'flow.mjs', '--remote'])
  expect([ran.code, ran.stdout]).toEqual([0, ''])
  expect(ran.stderr).toContain('5 made, 0 found, 0 failed')
  expect(ran.stderr).not.toMatch(/^square/m)
  const { workers } = JSON.parse(await sandbox.ok(['worker', 'ls', '--json']))
  expect(workers).toMatchObject([{ labels: ['big'], slots: 2, pid: worker.child.pid }])
  expect(await sandbox.ok(['worker', 'ls'])).toMatch(/^w[0-9a-v]{15} .*pid \d+ .*2 slots .*big/)
  worker.child.kill('SIGTERM')
  const { code, stderr } = await workerEnded
  expect(code).toBe(0)
  expect(stderr).toMatch(/waits for runs\n.*works for .*\n(square \d\n)+.*was given back, \d calls/)
  expect(stderr).toMatch(/leaves\n$/)
  expect(JSON.parse(await sandbox.ok(['worker', 'ls', '--json']))).toEqual({ workers: [] })
})
