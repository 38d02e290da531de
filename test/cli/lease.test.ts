/** `tailrace lease` and keys that expire, as a person or a script meets them. See rfc/9, rfc/13. */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { processStart } from '../../src/base/processes.js'
import { mainFile, Sandbox } from './harness.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

const held = async (key: string) => (await sandbox.call(['lease', 'show', key])).stdout.trim()

describe('lease', () => {
  it('take, show, renew, release; who comes late is ECONFLICT or EFENCED', async () => {
    const taken = await sandbox.call(['lease', 'take', 'k', '--ttl', '1m', '--owner', 'me'])
    expect(taken).toMatchObject({ code: 0, stderr: '' })
    const token = taken.stdout.trim()
    expect(token).toMatch(/^[0-9a-f]{32}:1$/)
    const [incarnation, seq] = [token.slice(0, 32), 1]
    const shown = await sandbox.call(['lease', 'show', 'k', '--json'])
    expect(JSON.parse(shown.stdout)).toEqual({
      held: true,
      token: { incarnation, seq },
      owner: 'me',
    })
    const refused = await sandbox.call(['lease', 'take', 'k'])
    expect(refused).toMatchObject({ code: 4, stderr: expect.stringMatching(/ ECONFLICT: /) })
    const renewed = await sandbox.call(['lease', 'renew', 'k', token, '--ttl', '2m', '--json'])
    expect(JSON.parse(renewed.stdout)).toMatchObject({
      results: [{ token: { incarnation, seq } }],
    })
    expect(await held('k')).toBe(`held ${token} me`)
    expect(await sandbox.call(['lease', 'release', 'k', token])).toMatchObject({
      code: 0,
      stdout: '',
    })
    expect(await sandbox.call(['lease', 'show', 'k'])).toMatchObject({ code: 1, stdout: 'free\n' })
    const late = await sandbox.call(['lease', 'release', 'k', token])
    expect(late).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
    for (const wrong of ['x', `${incarnation}`, `${token}x`]) {
      expect((await sandbox.call(['lease', 'renew', 'k', wrong])).code).toBe(2)
    }
    expect((await sandbox.call(['lease', 'take', 'k', '--ttl', '30'])).code).toBe(2)
  })

  it('take --wait is woken by the release; a token guards a txn', async () => {
    const first = (await sandbox.call(['lease', 'take', 'k'])).stdout.trim()
    const waiting = sandbox.start(['lease', 'take', 'k', '--wait', '--json'])
    const ended = waiting.ended()
    await expect
      .poll(async () => JSON.parse((await sandbox.call(['status', '--json'])).stdout).watchers)
      .toBe(1)
    await sandbox.call(['lease', 'release', 'k', first])
    const { code, stdout } = await ended
    expect(code).toBe(0)
    const { token } = JSON.parse(stdout).results[0]
    const put = (seq: number) =>
      sandbox.call(['txn', '-'], {
        input: JSON.stringify({
          guards: [{ lease: 'k', token: { ...token, seq } }],
          ops: [{ op: 'put', key: 'v', value: `${seq}` }],
        }),
      })
    expect((await put(token.seq)).code).toBe(0)
    expect(await put(1)).toMatchObject({ code: 4, stderr: expect.stringMatching(/ECONFLICT/) })
    expect((await sandbox.call(['get', 'v'])).stdout).toBe(`${token.seq}`)
  })

  it('run holds the lease for longer than its ttl, and gives it back with the exit code', async () => {
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

  it('run hands its token to writes with --if-lease, which are refused once it is lost', async () => {
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

  it('run ends its command when the lease is lost, and one that cannot run loses it', async () => {
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

  it('run that waited for its lease for longer than the ttl has all of it', async () => {
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

  it('run ends all that its command started when the lease is lost', async () => {
    const args = ['lease', 'run', 'k', '--ttl', '2s', '--', 'sh', '-c', `${background} & wait`]
    const running = sandbox.start(args)
    const ended = running.ended()
    await once(running.child.stdout, 'data')
    const [, token = ''] = (await held('k')).split(' ')
    await sandbox.call(['lease', 'release', 'k', token])
    expect(await ended).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
  })

  it('run that is stopped loses its command with its lease', async () => {
    const args = ['lease', 'run', 'k', '--ttl', '1s', '--', 'sh', '-c', 'echo $$; exec sleep 100']
    const running = sandbox.start(args)
    const ended = running.ended()
    const [pid] = await once(running.child.stdout, 'data')
    running.child.kill('SIGSTOP')
    await expect.poll(() => processStart(Number(String(pid)))).toBeUndefined()
    running.child.kill('SIGCONT')
    expect(await ended).toMatchObject({ code: 4, stderr: expect.stringMatching(/ EFENCED: /) })
  })

  it('run takes its command along when it is killed, and when its keeper is', async () => {
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

  it('run hands a signal on, and ends as its command did', async () => {
    const running = sandbox.start(['lease', 'run', 'k', '--', 'sleep', '100'])
    const ended = running.ended()
    await expect.poll(() => held('k')).toMatch(/^held/)
    running.child.kill('SIGTERM')
    expect((await ended).code).toBe(128 + 15)
    expect(await held('k')).toBe('free')
  })

  it('watch --lease tells of it, beside the values', async () => {
    await sandbox.call(['put', 'k', 'v'])
    const args = ['watch', 'k', '--mode', 'value', '--lease', '--no-follow']
    expect((await sandbox.call(args)).stdout).toBe('lease: free\nv\n')
    const token = (await sandbox.call(['lease', 'take', 'k', '--owner', 'me'])).stdout.trim()
    expect((await sandbox.call(args)).stdout).toBe(`lease: held ${token} me\nv\n`)
    const [line = ''] = (await sandbox.call([...args, '--json'])).stdout.split('\n')
    expect(JSON.parse(line)).toMatchObject({ type: 'lease', held: true, owner: 'me' })
    expect((await sandbox.call(['watch', 'k', '--lease'])).code).toBe(2)
  })
})

describe('--ttl', () => {
  it('makes keys that go by themselves, and who watches hears it', async () => {
    for (const args of [
      ['put', 'a', 'v', '--ttl', '300ms'],
      ['append', 'b', 'v', '--ttl', '0.3s', '--sliding'],
      ['append', 'c', '-', '--lines', '--ttl', '300ms'],
      ['append', 'd', '-', '--stream', '--ttl', '300ms'],
    ]) {
      expect(await sandbox.call(args, { input: 'x\ny\n' })).toMatchObject({ code: 0, stderr: '' })
    }
    for (const key of ['a', 'b', 'c', 'd']) {
      const watched = await sandbox.call(['watch', key])
      expect(watched).toMatchObject({ code: 3, stderr: expect.stringMatching(/ ENOENT: /) })
    }
    expect((await sandbox.call(['ls'])).stdout).toBe('')
  })

  it('and --sliding that mean nothing are refused', async () => {
    expect((await sandbox.call(['put', 'a', 'v', '--sliding'])).code).toBe(2)
    expect((await sandbox.call(['put', 'a', 'v', '--ttl', '7 days'])).code).toBe(2)
    const zero = await sandbox.call(['put', 'a', 'v', '--ttl', '0'])
    expect(zero).toMatchObject({ code: 1, stderr: expect.stringMatching(/ EINVAL: /) })
  })
})
