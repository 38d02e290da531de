/** `eventlog`: events in and out. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

describe('eventlog', () => {
  it('appends, prints, follows to the seal, and waits for an event', async () => {
    failed(await sandbox.call(['eventlog', 'wait-event', 'ev', 'finish']), 'ENOENT')
    const waiting = sandbox.start(['eventlog', 'wait-event', '--wait-create', 'ev', 'finish'])
    const waited = waiting.ended()
    const stamp = ['--timestamp', '1.5']
    await sandbox.ok(['eventlog', 'append', 'ev', 'start', '{"pid":7}', ...stamp])
    await sandbox.ok(['eventlog', 'append', 'ev', 'finish', ...stamp, '--seal'])
    const start = '{"timestamp":1.5,"name":"start","context":{"pid":7}}\n'
    const finish = '{"timestamp":1.5,"name":"finish"}\n'
    expect(await waited).toMatchObject({ code: 0, stdout: finish })
    expect(await sandbox.ok(['eventlog', 'get', 'ev'])).toBe(start + finish)
    expect(await sandbox.ok(['eventlog', 'follow', 'ev'])).toBe(start + finish)
    failed(await sandbox.call(['eventlog', 'wait-event', 'ev', 'never']), 'ENOENT')
    const never = ['eventlog', 'wait-event', '--wait-create', '--timeout', '100ms', 'none', 'x']
    expect((await sandbox.call(never)).stderr).toMatch(/^tailrace: ETIMEDOUT: /)
    failed(await sandbox.call(['eventlog', 'get', 'no/log']), 'ENOENT')
    expect((await sandbox.call(['eventlog', 'append', 'ev2', 'x', '{'])).code).toBe(2)
  })
})
