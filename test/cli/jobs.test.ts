/** `submit`, `jobs`, `wait` and `signal`. See rfc/11. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

describe('submit, wait, jobs, signal', () => {
  it('a job is submitted, awaited, and shown again from its first byte', async () => {
    const script = 'cat; echo out; echo err >&2; exit 4'
    const id = (await sandbox.ok(['submit', '--', 'sh', '-c', script], { input: 'unseen' })).trim()
    expect((await sandbox.call(['wait', id])).code).toBe(4)
    for (let times = 0; times < 2; times++) {
      const { code, stdout, stderr } = await sandbox.call(['attach', id])
      expect({ code, stdout, stderr }).toEqual({ code: 4, stdout: 'out\n', stderr: 'err\n' })
    }
    const names = (await sandbox.ok(['attach', id, '--events']))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).name)
    expect(names).toEqual(['submit', 'start', 'finish'])
    const { jobs } = JSON.parse(await sandbox.ok(['jobs', '--json', '--limit', '1']))
    expect(jobs).toMatchObject([{ id, state: 'finished', status: 4 }])
    expect(await sandbox.ok(['jobs'])).toMatch(new RegExp(`^${id} +finished +4 `, 'm'))
  })

  it('wait says which of many failed; jobs shows some of them, and says so', async () => {
    const submit = async (...args: string[]) => (await sandbox.ok(['submit', ...args])).trim()
    const ok = await submit('true')
    const three = await submit('--name', 'three', '--', 'sh', '-c', 'exit 3')
    const killed = await submit('--', 'sh', '-c', 'kill -9 $$')
    const waited = await sandbox.call(['wait', ok, three, killed])
    expect(waited.code).toBe(3)
    expect(waited.stderr.split('\n').sort().slice(1)).toEqual([
      `tailrace: job ${three}: ended with exit code 3`,
      `tailrace: job ${killed}: ended with signal SIGKILL`,
    ])
    expect((await sandbox.call(['wait', killed, ok])).code).toBe(137)
    expect((await sandbox.call(['wait', ok, ok])).code).toBe(0)
    const views = (await sandbox.call(['wait', '--json', killed, three])).stdout.trim().split('\n')
    expect(views.map((line) => JSON.parse(line).id).sort()).toEqual([three, killed].sort())

    const listed = await sandbox.call(['jobs', '--state', 'failed', '--limit', '1'])
    expect(listed.stdout).toMatch(new RegExp(`^ID .*\\n${killed} .*\\n$`))
    expect(listed.stderr).toMatch(/^tailrace: 1 of \d+ jobs, .+ in all; --all shows the rest\n$/)
    const byName = JSON.parse(await sandbox.ok(['jobs', '--name', 'three', '--all', '--json']))
    expect(byName.jobs).toMatchObject([{ id: three, name: 'three' }])
  })

  it('finished jobs are removed, one that runs is not', async () => {
    const running = (await sandbox.ok(['submit', 'sleep', '60'])).trim()
    const a = (await sandbox.ok(['submit', 'echo', 'hunter2'])).trim()
    const b = (await sandbox.ok(['submit', 'echo', 'hunter3'])).trim()
    await sandbox.ok(['wait', a, b])
    const refused = await sandbox.call(['jobs', 'rm', a, running])
    expect(refused).toMatchObject({ code: 4, stdout: '' })
    expect(refused.stderr).toMatch(
      new RegExp(`^tailrace: ECONFLICT: the job ${running} is running`),
    )
    expect(await sandbox.ok(['jobs', 'rm', '--dry-run', a])).toMatch(/^f\w+ .*echo hunter2\n$/)
    expect(await sandbox.ok(['jobs', 'rm', '--output', a])).toBe(`${a}\n`)
    const attached = await sandbox.call(['attach', a])
    expect(attached).toMatchObject({ code: 3, stdout: '' })
    expect(attached.stderr).toMatch(/^tailrace: ENOENT: .*output/)
    expect(JSON.parse(await sandbox.ok(['jobs', 'rm', a, '--json']))).toEqual({
      removed: [a],
      dryRun: false,
    })
    expect(await sandbox.ok(['jobs', 'rm', '--older-than', '0'])).toContain(`${b}\n`)
    for (const args of [
      ['attach', b],
      ['wait', b],
      ['jobs', 'rm', b],
    ]) {
      expect((await sandbox.call(args)).stderr).toMatch(/^tailrace: ENOENT: /)
    }
    const { jobs } = JSON.parse(await sandbox.ok(['jobs', '--json']))
    expect(jobs.map(({ id }: { id: string }) => id)).toEqual([running])
    await sandbox.ok(['signal', running, 'KILL'])
  })

  it('of an id that is not there is ENOENT', async () => {
    for (const args of [
      ['attach', 'nope'],
      ['wait', 'nope'],
      ['signal', 'nope'],
    ]) {
      const { code, stderr } = await sandbox.call(args)
      expect(stderr).toMatch(/^tailrace: ENOENT: .+\n$/)
      expect(code).toBe(3)
    }
  })
})
