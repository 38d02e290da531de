/** `lease run`: a command while a lease is held. See rfc/9; for its end, rfc/13, rule 18. */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { processStart } from '../../src/base/processes.js'
import { CuttingProxy } from '../client/cutting-proxy.js'
import { mainFile, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.makeServed()
})
afterEach(() => sandbox.remove())

const held = async (key: string) => (await sandbox.call(['lease', 'show', key])).stdout.trim()

describe('lease run', () => {
  it('holds the lease for longer than its ttl, and gives it back with the exit code', async () => {
    const command = 'echo "$TAILRACE_LEASE"; read line; exit 7'
    const running = sandbox.start(['lease', 'run', 'k', '--ttl', '1s', '--', 'sh', '-c', command])
    const ended = running.ended()
    await expect.poll(() => held('k')).toMatch(/^held/)
    const before = await held('k')
    const { seq } = JSON.parse((await sandbox.call(['root', '--json'])).stdout)
    // Each renewal is a transaction: so many of them are more than the ttl.
    await sandbox.call(['root', '--wait-seq', `${seq + 5}`])
    expect(await held('k')).toBe(before)
    running.child.stdin.end('go\n')
    const { code, stdout } = await ended
    expect(code).toBe(7)
    expect(before).toContain(stdout.trim())
    expect(await held('k')).toBe('free')
  })

  it('hands its token to writes with --if-lease, which are refused once it is lost', async () => {
    const put = 'echo result | "$0" "$1" put result - --if-lease k'
    const run = ['lease', 'run', 'k', '--', 'sh', '-c', put, process.execPath, mainFile]
    expect(await sandbox.call(run)).toMatchObject({ code: 0, stderr: '' })
    const token = (await sandbox.call(['lease', 'take', 'k'])).stdout.trim()
    const env = { TAILRACE_LEASE: token }
    const held = ['append', 'result', 'more\n', '--if-lease', 'k']
    expect(await sandbox.call(held, { env })).toMatchObject({ code: 0 })
    await sandbox.call(['lease', 'release', 'k', token])
    const late = [
      ['append', 'result', '-', '--lines', '--if-lease', 'k', '--lease-token', token],
      ['rm', 'result', '--if-lease', 'k', '--lease-token', token],
    ]
    for (const args of late) {
      const refused = await sandbox.call(args, { input: 'late\n' })
      expect(refused).toMatchObject({ code: 4, stderr: expect.stringMatching(/ ECONFLICT: /) })
    }
    expect((await sandbox.call(['get', 'result'])).stdout).toBe('result\nmore\n')
    for (const args of [
      ['--if-lease', 'k'],
      ['--lease-token', token],
    ]) {
      expect((await sandbox.call(['put', 'result', 'v', ...args])).code).toBe(2)
    }
  })

  it('ends its command when the lease is lost, and one that cannot run loses it', async () => {
    const running = sandbox.start(['lease', 'run', 'k', '--ttl', '2s', '--', 'cat'])
    const ended = running.ended()
    await expect.poll(() => held('k')).toMatch(/^held/)
    const [, token = ''] = (await held('k')).split(' ')
    await sandbox.call(['lease', 'release', 'k', token])
    expect(await ended).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
    const none = await sandbox.call(['lease', 'run', 'k', '--', '/no/such/command'])
    expect(none).toMatchObject({ code: 3, stderr: expect.stringMatching(/ ENOENT: /) })
    expect(await held('k')).toBe('free')
    await sandbox.call(['lease', 'take', 'k'])
    const impatient = await sandbox.call(['lease', 'run', 'k', '--no-wait', '--', 'true'])
    expect(impatient).toMatchObject({ code: 4, stderr: expect.stringMatching(/ ECONFLICT: /) })
  })

  it('that waited for its lease for longer than the ttl has all of it', async () => {
    const token = (await sandbox.call(['lease', 'take', 'k', '--ttl', '1h'])).stdout.trim()
    const command = 'echo started; read line; echo done'
    const running = sandbox.start(['lease', 'run', 'k', '--ttl', '2s', '--', 'sh', '-c', command])
    const waits = performance.now()
    const ended = running.ended()
    await expect
      .poll(async () => JSON.parse((await sandbox.call(['status', '--json'])).stdout).watchers)
      .toBe(1)
    await expect.poll(() => performance.now() - waits, { timeout: 5_000 }).toBeGreaterThan(1_500)
    await sandbox.call(['lease', 'release', 'k', token])
    await once(running.child.stdout, 'data')
    const { seq } = JSON.parse((await sandbox.call(['root', '--json'])).stdout)
    await sandbox.call(['root', '--wait-seq', `${seq + 2}`]) // two renewals
    running.child.stdin.end('go\n')
    expect(await ended).toMatchObject({ code: 0, stdout: 'started\ndone\n', stderr: '' })
  })

  // Who holds stdout keeps the call from being closed: when it is, all that the command started has ended.
  const background = '(sleep 100 & setsid sleep 100 & echo begun; exec sleep 100)'

  it('ends all that its command started when the lease is lost', async () => {
    const args = ['lease', 'run', 'k', '--ttl', '2s', '--', 'sh', '-c', `${background} & wait`]
    const running = sandbox.start(args)
    const ended = running.ended()
    await once(running.child.stdout, 'data')
    const [, token = ''] = (await held('k')).split(' ')
    await sandbox.call(['lease', 'release', 'k', token])
    expect(await ended).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
  })

  it('that is stopped loses its command with its lease', async () => {
    const args = ['lease', 'run', 'k', '--ttl', '1s', '--', 'sh', '-c', 'echo $$; exec sleep 100']
    const running = sandbox.start(args)
    const ended = running.ended()
    const [pid] = await once(running.child.stdout, 'data')
    running.child.kill('SIGSTOP')
    await expect.poll(() => processStart(Number(String(pid)))).toBeUndefined()
    running.child.kill('SIGCONT')
    expect(await ended).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
  })

  it('takes its command along when it is killed, and when its keeper is', async () => {
    for (const victim of ['itself', 'keeper']) {
      const running = sandbox.start(['lease', 'run', 'k', '--', 'sh', '-c', `${background} & wait`])
      const ended = running.ended()
      await once(running.child.stdout, 'data')
      const { pid = 0 } = running.child
      const [keeper = 0] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
      process.kill(victim === 'itself' ? pid : Number(keeper), 'SIGKILL')
      expect((await ended).code).toBe(victim === 'itself' ? null : 1)
      const [, token = ''] = (await held('k')).split(' ')
      if (token) await sandbox.call(['lease', 'release', 'k', token])
    }
  })

  it('hands a signal on, and ends as its command did', async () => {
    const running = sandbox.start(['lease', 'run', 'k', '--', 'sleep', '100'])
    const ended = running.ended()
    await expect.poll(() => held('k')).toMatch(/^held/)
    running.child.kill('SIGTERM')
    expect((await ended).code).toBe(128 + 15)
    expect(await held('k')).toBe('free')
  })
  it('that gets a signal while it waits ends with it, and takes no lease', async () => {
    const token = (await sandbox.call(['lease', 'take', 'k', '--ttl', '1h'])).stdout.trim()
    const running = sandbox.start(['lease', 'run', 'k', '--', 'echo', 'ran'])
    const ended = running.ended()
    await expect
      .poll(async () => JSON.parse((await sandbox.call(['status', '--json'])).stdout).watchers)
      .toBe(1)
    running.child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 128 + 15, stdout: '', stderr: '' })
    expect(await held('k')).toContain(token)
  })

  it('that gets a signal before its take is answered gives the lease back', async () => {
    const { socket } = await sandbox.record()
    await using proxy = await CuttingProxy.start(sandbox.directory, socket)
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      proxy.holdWrites()
      const url = ['--url', proxy.target]
      const running = sandbox.start(['lease', 'run', 'k', ...url, '--', 'sleep', '100'])
      const ended = running.ended()
      await expect.poll(() => proxy.writesHeld).toBeGreaterThan(0)
      running.child.kill(name)
      proxy.releaseWrites()
      const code = 128 + constants.signals[name]
      expect(await ended).toMatchObject({ code, stdout: '', stderr: '' })
      expect(await held('k')).toBe('free')
    }
  })

  it('ends at once at the second signal that comes before its command', async () => {
    const { socket } = await sandbox.record()
    await using proxy = await CuttingProxy.start(sandbox.directory, socket)
    proxy.holdWrites()
    const running = sandbox.start(['lease', 'run', 'k', '--url', proxy.target, '--', 'true'])
    const ended = running.ended()
    await expect.poll(() => proxy.writesHeld).toBeGreaterThan(0)
    running.child.kill('SIGTERM')
    running.child.kill('SIGHUP')
    expect(await ended).toMatchObject({ code: null })
  })
})
