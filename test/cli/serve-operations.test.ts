/** What a supervisor asks of `serve`: its log, a stop that waits for jobs, sockets of systemd. See rfc/29,
 *  rules 7 to 12. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server as NetServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { mainFile, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

/** A server in the foreground that listens. */
async function serve(...args: readonly string[]) {
  const { child, ended } = sandbox.start(['serve', '--json', ...args])
  const over = ended()
  const [line] = await once(child.stdout, 'data')
  const record = JSON.parse(String(line)) as { readonly listen: readonly string[] }
  return { child, over, record }
}

describe('the log of a server', () => {
  it('is the file that is named, in JSON, with each request where that is asked for', async () => {
    const log = join(sandbox.directory, 'log')
    const form = ['--log-level', 'debug', '--log-format', 'json']
    const server = await serve('--log-file', log, ...form)
    expect((await sandbox.call(['get', 'nothing'])).code).toBe(3)
    server.child.kill('SIGTERM')
    const { code, stderr } = await server.over
    expect([code, stderr]).toEqual([0, ''])
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
    const asked = lines.map((line) => JSON.parse(line)).find(({ outcome }) => outcome === 404)
    expect(asked).toMatchObject({ level: 'debug', message: 'GET /v1/kv/nothing', token: 'owner' })
    expect((await stat(log)).mode & 0o777).toBe(0o600)
  })

  it('is standard error by default, without requests', async () => {
    const server = await serve()
    expect((await sandbox.call(['get', 'nothing'])).code).toBe(3)
    server.child.kill('SIGTERM')
    expect((await server.over).stderr).toBe('')
  })

  it('changes its level at a reload', async () => {
    const file = join(sandbox.directory, 'config.yaml')
    await writeFile(file, 'log: {level: debug}\n')
    const server = await serve('--config', file)
    await writeFile(file, 'log: {level: error}\n')
    server.child.kill('SIGHUP')
    let said = ''
    while (!/log.level: debug → error/.test(said)) {
      said += String((await once(server.child.stderr, 'data'))[0])
    }
    await sandbox.call(['get', 'nothing'])
    server.child.kill('SIGTERM')
    expect((await server.over).stderr).not.toContain('/v1/kv/nothing')
  })

  it.each([
    [
      'a file that cannot be opened',
      ['--log-file', '/nowhere/log'],
      /^tailrace: EMISCONFIGURED: the log \/nowhere\/log cannot be opened/,
    ],
    [
      'a size that is too small',
      ['--log-file', 'log', '--log-size', '4K'],
      /takes a size from 512K, not "4K"/,
    ],
    ['a size without a file', ['--log-size', '1M'], /--log-size goes with --log-file/],
    ['a strange level', ['--log-level', 'loud'], /error, warn, info, debug/],
  ])('%s is refused', async (_, args, message) => {
    const { code, stderr } = await sandbox.call(['serve', ...args])
    expect(code).not.toBe(0)
    expect(stderr).toMatch(message)
  })
})

describe('a stop that waits for jobs', () => {
  it('ends after the last job, and takes no more', async () => {
    const server = await serve('--stop-jobs', '10m')
    const job = sandbox.start(['run', '-i', '--', 'cat'])
    const all = job.ended()
    job.child.stdin.write('one\n')
    await once(job.child.stdout, 'data')
    server.child.kill('SIGTERM')
    let said = ''
    while (!/waits up to/.test(said)) said += String((await once(server.child.stderr, 'data'))[0])
    const refused = await sandbox.call(['submit', 'true'])
    expect([refused.code, refused.stderr]).toEqual([5, expect.stringMatching(/ECLOSED/)])
    job.child.stdin.end('two\n')
    expect(await all).toMatchObject({ code: 0, stdout: 'one\ntwo\n' })
    expect((await server.over).code).toBe(0)
  })

  it('ends jobs at a second signal', async () => {
    const server = await serve('--stop-jobs', '10m')
    const job = sandbox.start(['run', '--', 'sh', '-c', 'echo runs; exec sleep 1000'])
    const all = job.ended()
    await once(job.child.stdout, 'data')
    server.child.kill('SIGTERM')
    await once(server.child.stderr, 'data')
    server.child.kill('SIGTERM')
    expect((await server.over).code).toBe(0)
    expect((await all).code).not.toBe(0)
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(false)
  })
})

describe('sockets of systemd', () => {
  it('are served where --listen says systemd, and are told to no child', async () => {
    const listening = createServer().listen({ host: '127.0.0.1', port: 0 })
    await once(listening, 'listening')
    const { _handle: handle } = listening as NetServer & { _handle: { readonly fd: number } }
    const address = listening.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const args = ['serve', '--json', '--listen', 'systemd', '--data', sandbox.data]
    const script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
    const child = spawn('sh', ['-c', script, process.execPath, mainFile, ...args], {
      stdio: ['ignore', 'pipe', 'inherit', handle.fd],
    })
    const [line] = await once(child.stdout ?? process.stdin, 'data')
    listening.close()
    expect(JSON.parse(String(line)).listen).toEqual([`127.0.0.1:${port}`])
    const url = `http://127.0.0.1:${port}`
    await sandbox.ok(['put', 'key', 'over a passed socket', '--url', url])
    const job = ['run', '--', 'sh', '-c', 'echo "$LISTEN_FDS"; ls /proc/self/fd']
    expect(await sandbox.ok(job)).toBe('\n0\n1\n2\n3\n') // 3: the directory that ls reads
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('that were not passed are EMISCONFIGURED', async () => {
    const { code, stderr } = await sandbox.call(['serve', '--listen', 'systemd'])
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/EMISCONFIGURED: systemd has passed no/),
    ])
  })
})
