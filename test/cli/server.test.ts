/** The commands about the server itself: `version`, `status` and `stop`. */

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isAlive } from '../../src/local/local.js'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

describe('version', () => {
  it('says the versions of the program and of Node, and of the server where one runs', async () => {
    const other = await Sandbox.make()
    try {
      const alone = JSON.parse(await other.ok(['version', '--json']))
      expect(alone).toMatchObject({ node: process.versions.node })
      expect(alone).not.toHaveProperty('server')
      await other.ok(['put', 'k', 'v'])
      expect(await other.ok(['version'])).toContain(`server ${alone.tailrace}\n`)
    } finally {
      await other.remove()
    }
  })
})

describe('status and stop', () => {
  it('without a server say so and start none', async () => {
    const status = await sandbox.call(['status', '--json'])
    expect(status.code).toBe(5)
    expect(JSON.parse(status.stdout)).toEqual({
      running: false,
      directory: sandbox.data,
      store: false,
    })
    expect((await sandbox.call(['stop'])).code).toBe(0)
    expect(existsSync(sandbox.data)).toBe(false)
  })

  it('stop ends the process and leaves no record and no socket', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const record = await sandbox.record()
    expect(await sandbox.ok(['status'])).toContain(String(record.pid))
    await sandbox.ok(['stop'])
    expect(isAlive(record)).toBe(false)
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(false)
    expect(existsSync(record.socket)).toBe(false)
  })

  it('stop does not end running jobs, unless forced; the job says so', async () => {
    const id = (await sandbox.ok(['submit', 'sleep', '60'])).trim()
    const refused = await sandbox.call(['stop'])
    expect(refused.stderr).toMatch(/^tailrace: EBUSY: .+\n$/)
    expect(refused.code).toBe(4)
    await sandbox.ok(['stop', '--force'])
    const { code, stdout } = await sandbox.call(['wait', id, '--json'])
    expect(code).not.toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ id, exception: { type: 'server-stop' } })
  })

  it('a follower of a stopped server ends with ECLOSED', async () => {
    await sandbox.ok(['append', 'log', 'x'])
    const { child, ended } = sandbox.start(['watch', 'log'])
    const all = ended()
    await once(child.stdout, 'data')
    await sandbox.ok(['stop'])
    const { code, stderr } = await all
    expect(stderr).toMatch(/^tailrace: ECLOSED: .+\n$/)
    expect(code).toBe(5)
  })
})
