/** A reader that goes away ends what follows a key that says nothing any more: without the end, these would wait
 *  for the next byte for ever. */

import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
  await sandbox.ok(['append', 'log', 'first\n'])
  await sandbox.ok(['eventlog', 'append', 'events', 'first'])
})
afterAll(() => sandbox.remove())

describe('a reader of a pipe that takes one line ends', () => {
  it.each([
    ['watch log'],
    ['watch log --mode value'],
    ['tail -f log'],
    ['eventlog follow events'],
    ['attach $(t submit -- sh -c "echo first; sleep 100")'],
    ['run -- sh -c "echo first; sleep 100"'],
  ])('%s', async (command) => {
    const { stdout, stderr } = await sandbox.shell(`t ${command} | head -1; echo \${PIPESTATUS[0]}`)
    expect(stdout).toMatch(/first.*\n0\n$/)
    expect(stderr).toBe('')
  })
})

it('a reader that never read a byte, of a socket, ends what it followed', async () => {
  const { child } = sandbox.start(['watch', 'nothing', '--wait-create'])
  child.stdout.destroy()
  expect(await once(child, 'exit')).toEqual([0, null])
})

it('an interrupt ends a follower while its reader is there', async () => {
  const { child, ended } = sandbox.start(['tail', '-f', 'log'])
  const all = ended()
  await once(child.stdout, 'data')
  child.kill('SIGINT')
  expect(await all).toMatchObject({ code: 130, stdout: 'first\n' })
})
