/** `run` and `attach`: output, exit code, signals and stdin of a job. See rfc/11. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { realpath } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isDefunct, processStart } from '../../src/base/processes.js'
import { CuttingProxy } from '../client/cutting-proxy.js'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
})
afterAll(() => sandbox.remove())

describe('run', () => {
  it('keeps stdout and stderr apart and the exit code', async () => {
    const { code, stdout, stderr } = await sandbox.call([
      'run',
      'sh',
      '-c',
      'echo out; echo err >&2; exit 3',
    ])
    expect({ code, stdout, stderr }).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' })
  })

  it('takes the command with and without --, its options untouched', async () => {
    expect(await sandbox.ok(['run', '--', 'echo', '-n', '--help'])).toBe('--help')
    expect(await sandbox.ok(['run', 'echo', '-n', '--json'])).toBe('--json')
  })

  it("runs in the caller's directory with the caller's environment and --env", async () => {
    const script = 'pwd; echo $FROM_CALLER $SET'
    const args = ['run', '--env', 'SET=a=b', '--', 'sh', '-c', script]
    const stdout = await sandbox.ok(args, { env: { FROM_CALLER: 'here' } })
    expect(stdout).toBe(`${await realpath(sandbox.directory)}\nhere a=b\n`)
  })

  it('forwards stdin when asked, binary and of any size, and passes on its end', async () => {
    const input = randomBytes(1_000_000)
    const { code, bytes } = await sandbox.call(['run', '-i', 'cat'], { input })
    expect(code).toBe(0)
    expect(bytes.equals(input)).toBe(true)
    expect(await sandbox.ok(['run', '--no-stdin', 'cat'], { input: 'unseen' })).toBe('')
  })

  it('leaves stdin to the loop that it stands in', async () => {
    const loop = `printf '1\\n2\\n3\\n' | while read x; do t run -- sh -c "cat; echo got $x"; done`
    expect((await sandbox.shell(loop)).stdout).toBe('got 1\ngot 2\ngot 3\n')
  })

  it('gives the job a terminal with --pty, whose input is typed', async () => {
    const script = 'test -t 0 && stty size; stty -echo; cat'
    const args = ['run', '-i', '--pty', '--', 'sh', '-c', script]
    const { code, stdout } = await sandbox.call(args, { input: '' })
    expect({ code, stdout }).toEqual({ code: 0, stdout: '24 80\r\n' })
    expect(await sandbox.ok(['run', '--pty', 'printf', '\\033[31m'])).toBe('\x1b[31m')
  })

  it('ends what a job left in sessions and groups of their own, but for what is to stay', async () => {
    // Until it has become `sleep`, it has the environment of the shell, and so the job's mark.
    const ready = 'until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done'
    const left = `sleep 100 >/dev/null 2>&1 </dev/null & echo $!; ${ready}`
    const script = `set -m; setsid ${left}; ${left}; env -u TAILRACE_JOB setsid ${left}`
    const pids = (text: string) => text.trim().split('\n').map(Number)
    const lives = (pid: number) => processStart(pid) !== undefined && !isDefunct(pid)
    const [daemon = 0, group = 0, unmarked = 0] = pids(
      await sandbox.ok(['run', 'sh', '-c', script]),
    )
    await expect.poll(() => [daemon, group, unmarked].map(lives)).toEqual([false, false, true])
    const kept = pids(await sandbox.ok(['run', '--keep-children', 'sh', '-c', script]))
    expect(kept.map(lives)).toEqual([true, true, true])
    for (const pid of [unmarked, ...kept]) process.kill(pid, 'SIGKILL')
    // They fell to the server, which takes their ends.
    await expect.poll(() => kept.map(processStart)).toEqual([undefined, undefined, undefined])
  })

  it('shows the last line without a newline', async () => {
    expect(await sandbox.ok(['run', 'printf', 'a\\nb'])).toBe('a\nb')
  })

  it('of a job that a signal ended gives 128 + its number', async () => {
    expect((await sandbox.call(['run', 'sh', '-c', 'kill -TERM $$'])).code).toBe(143)
  })

  it('of a command that is not there ends with 127 and says so', async () => {
    const { code, stdout, stderr } = await sandbox.call(['run', 'no-such-command-here'])
    expect({ code, stdout }).toEqual({ code: 127, stdout: '' })
    expect(stderr).toMatch(/^tailrace: .*no-such-command-here.*\n$/)
  })

  it('passes Ctrl-C to the job, and ends as the job does', async () => {
    const script = 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done'
    const { child, ended } = sandbox.start(['run', '--', 'sh', '-c', script])
    const all = ended()
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    expect(await all).toMatchObject({ code: 5, stdout: 'ready\ncaught\n' })
  })

  it('kills a job that a first Ctrl-C did not end', async () => {
    const script = 'trap "echo no" INT; echo ready; while :; do sleep 0.05; done'
    const { child, ended } = sandbox.start(['run', '--', 'sh', '-c', script])
    const all = ended()
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    expect(await all).toMatchObject({ code: 137, stdout: 'ready\nno\n' })
  })

  it('whose reader goes away ends the job', async () => {
    const { child } = sandbox.start(['run', '-v', '--', 'yes'])
    const [said] = await once(child.stderr, 'data')
    const id = String(said).trim().split(' ').at(-1) ?? ''
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
    const waited = await sandbox.call(['wait', id, '--json'])
    expect(JSON.parse(waited.stdout)).toMatchObject({ state: 'finished', signal: 'SIGTERM' })
  })

  it('that gets a signal before its submission is answered passes it on to the job', async () => {
    const { socket } = await sandbox.record()
    await using proxy = await CuttingProxy.start(sandbox.directory, socket)
    proxy.holdWrites()
    const running = sandbox.start(['run', '--url', proxy.target, '--', 'sleep', '100'])
    const ended = running.ended()
    await expect.poll(() => proxy.writesHeld).toBeGreaterThan(0)
    running.child.kill('SIGTERM')
    proxy.releaseWrites()
    expect((await ended).code).toBe(128 + 15)
  })
})

describe('attach', () => {
  it('a running job is attached from its first byte, and signalled', async () => {
    const script = 'echo first; while :; do sleep 0.05; done'
    const id = (await sandbox.ok(['submit', 'sh', '-c', script])).trim()
    const { child, ended } = sandbox.start(['attach', id])
    const all = ended()
    const [first] = await once(child.stdout, 'data')
    expect(String(first)).toBe('first\n')
    await sandbox.ok(['signal', id, 'TERM'])
    expect((await all).code).toBe(143)
    expect((await sandbox.call(['wait', id])).code).toBe(143)
    expect((await sandbox.call(['signal', id])).stderr).toMatch(/^tailrace: ECONFLICT: /)
  })

  it('a running job is attached near its end, then followed', async () => {
    const fifo = `${sandbox.directory}/fifo`
    const script = `mkfifo ${fifo}; seq 5; echo last >&2; read line < ${fifo}; echo more`
    const id = (await sandbox.ok(['submit', '--', 'sh', '-c', script])).trim()
    const before = sandbox.start(['attach', id])
    await once(before.child.stderr, 'data') // what it prints before it waits is all there
    before.child.kill()
    await before.ended()
    const { child, ended } = sandbox.start(['attach', '--tail', '2', id])
    const all = ended()
    await once(child.stdout, 'data')
    await sandbox.ok(['run', '--', 'sh', '-c', `echo go > ${fifo}`])
    const { stdout, stderr, code } = await all
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '5\nmore\n', stderr: 'last\n' })
    expect(await sandbox.ok(['attach', '--tail', '1', id])).toBe('more\n')
    expect(await sandbox.ok(['attach', '--since', '1d', id])).toBe('1\n2\n3\n4\n5\nmore\n')
    expect(await sandbox.ok(['attach', '--since', '0s', id])).toBe('')
    const tail = await sandbox.call(['tail', '-n', '3', '--namespace', 'jobs', `${id}/output`])
    expect(tail).toMatchObject({ code: 2, stdout: '' })
    expect(tail.stderr).toContain(`tailrace attach --tail 10 ${id}`)
  })

  it('Ctrl-C of attach leaves the job alone', async () => {
    const id = (await sandbox.ok(['submit', 'sh', '-c', 'echo here; sleep 60'])).trim()
    const { child, ended } = sandbox.start(['attach', id])
    const all = ended()
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    expect((await all).code).toBe(130)
    const { jobs } = JSON.parse(await sandbox.ok(['jobs', '--json', '--limit', '1']))
    expect(jobs).toMatchObject([{ id, state: 'running' }])
    await sandbox.ok(['signal', id, 'KILL'])
  })
})
