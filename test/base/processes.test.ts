/** A process's start tells it from a later one with its pid. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { processStart } from '../../src/base/processes.js'

test('processStart() of this process is the same each time', () => {
  expect(processStart(process.pid)).toMatch(/^[0-9a-f-]{36}\.\d+$/)
  expect(processStart(process.pid)).toBe(processStart(process.pid))
})

test('processStart() of a process whose name has brackets and spaces is read behind them', async () => {
  const child = spawn(
    process.execPath,
    ['-e', "process.title = ') S 1 (' ; console.log(1); setInterval(() => {}, 1000)"],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  )
  try {
    await once(child.stdout, 'data')
    const start = processStart(child.pid ?? 0)
    expect(start).toMatch(/^[0-9a-f-]{36}\.\d+$/)
    const ticks = (of?: string) => Number(of?.split('.')[1])
    expect(ticks(start)).toBeGreaterThan(ticks(processStart(process.pid)))
  } finally {
    child.kill()
    await once(child, 'exit')
  }
  expect(processStart(child.pid ?? 0)).toBeUndefined()
})

test('processStart() of no process is undefined', () => {
  expect(processStart(2 ** 22 + 1)).toBeUndefined()
})
