/** `top` and `metrics`. See rfc/29, rules 1 and 13. */

import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

it.each(['top', 'metrics'])('%s starts no server, and says so', async (name) => {
  const { code, stdout, stderr } = await sandbox.call([name])
  expect([code, stdout]).toEqual([5, ''])
  expect(stderr).toMatch(/^no server runs on .+; tailrace serve starts one\n$/)
})

it('metrics prints the text of Prometheus, with a token of that right too', async () => {
  const { child, ended } = sandbox.start(['serve', '--listen', '127.0.0.1:0', '--json'])
  const all = ended()
  const [line] = await once(child.stdout, 'data')
  const url = `http://${JSON.parse(String(line)).listen[0]}`
  const { token } = JSON.parse(await sandbox.ok(['token', 'create', 'p', 'metrics', '--json']))
  const env = { TAILRACE_URL: url, TAILRACE_TOKEN: token }
  expect(await sandbox.ok(['metrics'], { env })).toMatch(/^tailrace_build_info\{version=".+"\} 1$/m)
  expect((await sandbox.call(['get', 'a'], { env })).stderr).toContain('EPERM')
  const other = JSON.parse(await sandbox.ok(['token', 'create', 'o', 'read', '--json']))
  const refused = await sandbox.call(['top'], { env: { ...env, TAILRACE_TOKEN: other.token } })
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/EPERM.+right metrics/)])
  child.kill('SIGTERM')
  await all
})

describe('top', () => {
  it('shows rates of what was done between two looks', async () => {
    await sandbox.ok(['put', 'a', 'first'])
    const top = sandbox.start(['top', '--json', '--interval', '2s', '--count', '2'])
    const over = top.ended()
    // The first line comes after the second look; what is done after it is in the second line.
    const [first] = await once(top.child.stdout, 'data')
    expect(JSON.parse(String(first)).commits.transactions).toBe(0)
    while (top.child.exitCode === null) await sandbox.ok(['put', 'a', 'again'])
    const { code, stdout } = await over
    const second = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
    expect(code).toBe(0)
    expect(second.commits.transactions).toBeGreaterThan(0)
    expect(second.requests.byName).toContainEqual({ name: 'txn', rate: expect.any(Number) })
    expect(second.store).toMatchObject({ writable: true, collecting: false })
  })

  it('is a block of lines for people', async () => {
    await sandbox.ok(['put', 'a', 'b'])
    const lines = (await sandbox.ok(['top', '--once', '--interval', '100ms'])).trimEnd().split('\n')
    const titles = lines.map((line) => line.slice(0, 12).trimEnd()).filter((title) => title !== '')
    const all = [
      'server',
      'process',
      'requests',
      'commits',
      'watches',
      'websockets',
      'jobs',
      'store',
    ]
    expect(titles).toEqual(all)
    const wrong = await sandbox.call(['top', '--once', '--count', '2'])
    expect(wrong.code).toBe(2)
  })
})
