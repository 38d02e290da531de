/** From a command line to a store: which server it is, started where none runs, and the time that a command has. */

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fileIdentity } from '../../src/base/file-identity.js'
import { isAlive } from '../../src/local/local.js'
import { LyingProxy } from '../client/lying-proxy.js'
import { type Serving, serve } from '../client/serving.js'
import { mainFile, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

describe('a command that needs a server', () => {
  it('starts one, that the next command finds', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const { pid } = await sandbox.record()
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
    expect((await sandbox.record()).pid).toBe(pid)
    expect((await stat(sandbox.data)).mode & 0o777).toBe(0o700)
    expect((await stat(join(sandbox.data, 'server.log'))).mode & 0o777).toBe(0o600)
  })

  it('and several others at once: all use the same', async () => {
    const keys = ['a', 'b', 'c', 'd', 'e']
    await Promise.all(keys.map((key) => sandbox.ok(['put', `many/${key}`, key])))
    expect(await sandbox.ok(['ls', 'many'])).toBe('a\nb\nc\nd\ne\n')
    const { pid } = await sandbox.record()
    expect(JSON.parse(await sandbox.ok(['status', '--json']))).toMatchObject({ running: true, pid })
  })

  it('waits for one that is just ending, and starts another', async () => {
    await sandbox.ok(['put', 'large', '-'], { input: Buffer.alloc(20_000_000) })
    await sandbox.ok(['put', 'key', 'value'])
    const { socket, pid } = await sandbox.record()
    // Who takes no answer is waited for a second.
    const deaf = connect(socket)
    deaf.on('error', () => {})
    deaf.pause()
    deaf.write('GET /v1/kv/large HTTP/1.1\r\nHost: x\r\n\r\n')
    const stop = httpRequest({ socketPath: socket, method: 'POST', path: '/v1/stop' })
    stop.end()
    const [response] = await once(stop, 'response')
    response.resume()
    await once(response, 'end')
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
    expect((await sandbox.record()).pid).not.toBe(pid)
    deaf.destroy()
  })

  it('finds what a killed server left, and what it had acknowledged', async () => {
    await sandbox.ok(['put', 'key', 'kept'])
    const record = await sandbox.record()
    process.kill(record.pid, 'SIGKILL')
    while (isAlive(record)) await delay(5)
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(true)
    expect(await sandbox.ok(['get', 'key'])).toBe('kept')
    expect((await sandbox.record()).pid).not.toBe(record.pid)
  })

  it('on a copy of the directory is served by a server of the copy', async () => {
    await sandbox.ok(['put', 'who', 'the original'])
    const copy = `${sandbox.data}-copy`
    await cp(sandbox.data, copy, { recursive: true, filter: (path) => !path.endsWith('.sock') })
    const env = { TAILRACE_DATA: copy }
    expect((await sandbox.call(['status'], { env })).code).toBe(5)
    await sandbox.ok(['put', 'who', 'the copy'], { env })
    expect(await sandbox.ok(['get', 'who'])).toBe('the original')
    expect(await sandbox.ok(['get', 'who'], { env })).toBe('the copy')
    await sandbox.ok(['stop'], { env })
    expect(await sandbox.ok(['get', 'who'])).toBe('the original')
  })

  it('on a directory that was moved while it was served finds its server, and a new one has its own', async () => {
    await sandbox.ok(['put', 'who', 'moved'])
    const env = { TAILRACE_DATA: `${sandbox.data}-moved` }
    await rename(sandbox.data, env.TAILRACE_DATA)
    expect(await sandbox.ok(['get', 'who'], { env })).toBe('moved')
    await sandbox.ok(['put', 'who', 'new'])
    // The end of the first leaves what is at its old place alone.
    await sandbox.ok(['stop'], { env })
    expect(await sandbox.ok(['get', 'who'])).toBe('new')
  })

  it('takes no pid of another process for a server', async () => {
    await mkdir(sandbox.data)
    const directory = await fileIdentity(sandbox.data)
    const record = { pid: process.pid, startTime: '1', socket: '/nowhere', listen: [], directory }
    await writeFile(join(sandbox.data, 'server.json'), JSON.stringify(record))
    await sandbox.ok(['put', 'key', 'value'])
    expect((await sandbox.record()).pid).not.toBe(process.pid)
  })

  it('of another version than the running server says so, and stop still ends it', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const file = join(sandbox.data, 'server.json')
    await writeFile(file, JSON.stringify({ ...(await sandbox.record()), version: '0.0.1' }))
    const { code, stderr } = await sandbox.call(['get', 'key'])
    expect(stderr).toMatch(/^tailrace: EMISCONFIGURED: .*0\.0\.1.*\n$/)
    expect(code).toBe(1)
    await sandbox.ok(['stop'])
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
  })

  it('leaves the server that it starts no descriptor of its own', async () => {
    // As flock(1) is used: the lock is free when the command has ended.
    const script = `exec 200>lock; flock -n 200; "$0" "$1" put key value; exec 200>&-; flock -n lock echo free`
    const { stdout } = await promisify(execFile)(
      'bash',
      ['-c', script, process.execPath, mainFile],
      {
        cwd: sandbox.directory,
        env: { ...process.env, TAILRACE_DATA: sandbox.data },
      },
    )
    expect(stdout).toBe('free\n')
    expect((await sandbox.record()).pid).toBeGreaterThan(0)
  })

  it('whose store is damaged says so, and that fsck tells more', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    await sandbox.ok(['stop'])
    await truncate(join(sandbox.data, 'store', 'data.mdb'), 20_000)
    const { code, stderr } = await sandbox.call(['get', 'key'])
    expect(stderr).toMatch(/^tailrace: ECORRUPT: .*data\.mdb was cut.*"tailrace fsck --data .+\n$/)
    expect(code).toBe(1)
    await rm(join(sandbox.data, 'store'), { recursive: true })
    expect((await sandbox.call(['get', 'key'])).stderr).toMatch(/^tailrace: ECORRUPT: .*lost/)
    const check = await sandbox.call(['fsck'])
    expect(check.stdout).toMatch(/^store: ECORRUPT: .*lost/)
    expect(check.code).toBe(1)
    expect(existsSync(join(sandbox.data, 'store'))).toBe(false)
  })

  it('whose server cannot start says why', async () => {
    await mkdir(sandbox.data)
    await writeFile(join(sandbox.data, 'format.json'), '{"format":99,"storeId":"x"}')
    const { code, stderr } = await sandbox.call(['get', 'key'])
    expect(stderr).toMatch(/^tailrace: EMISCONFIGURED: .+\n$/)
    expect(code).toBe(1)
  })
})

describe('a data directory that others could have changed', () => {
  it('is EPERM for every command, before anything of it is used', async () => {
    await mkdir(sandbox.data)
    await chmod(sandbox.data, 0o777)
    await writeFile(join(sandbox.data, 'token'), `${'a'.repeat(64)}\n`)
    for (const args of [['put', 'key', 'value'], ['get', 'key'], ['serve'], ['status']]) {
      const { code, stderr } = await sandbox.call(args)
      expect(stderr).toMatch(/^tailrace: EPERM: .*others may write in .+\n$/)
      expect(code).toBe(1)
    }
    expect(await readdir(sandbox.data)).toEqual(['token'])
    await chmod(sandbox.data, 0o700) // what is left of it is removed
  })
})

describe('a wrong data directory', () => {
  const reads = [
    ['get', 'key'],
    ['ls'],
    ['stat', 'key'],
    ['watch', 'key', '--no-follow'],
    ['jobs'],
    ['export', '-o', 'file'],
    ['ns', 'list'],
    ['rm', 'key'],
    ['token'],
    ['fsck'],
  ]
  it.each(reads)('is ENOENT for %s %s, which makes nothing there', async (...args) => {
    const { code, stderr } = await sandbox.call(args)
    expect(stderr).toMatch(/^tailrace: ENOENT: there is no store in .*data: .+\n$/)
    expect(code).toBe(3)
    expect(existsSync(sandbox.data)).toBe(false)
  })

  it.each([
    ['watch', 'key', '--wait-create'],
    ['tail', '-f', 'key', '--wait-create'],
  ])('is made by %s %s %s, which waits for its key', async (...args) => {
    const { child, ended } = sandbox.start(args)
    const all = ended()
    const watched = once(child.stdout, 'data')
    await sandbox.ok(['put', 'key', 'value'])
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
    expect(String(await watched)).toContain('value')
    child.kill()
    await all
  })
})

describe('http://, refused', () => {
  it('is ECLOSED where nobody listens, and no server is started', async () => {
    const { code, stderr } = await sandbox.call(['get', 'key', '--url', 'http://127.0.0.1:9'])
    expect(stderr).toMatch(/^tailrace: ECLOSED: .+\n$/)
    expect(code).toBe(5)
    expect(existsSync(sandbox.data)).toBe(false)
  })
})

describe('a command with --timeout', () => {
  let serving: Serving
  let proxy: LyingProxy

  beforeEach(async () => {
    serving = await serve()
    proxy = await LyingProxy.start(serving.server.socket)
  })
  afterEach(async () => {
    await proxy[Symbol.asyncDispose]()
    await serving[Symbol.asyncDispose]()
  })

  const timedOut = { code: 5, stderr: expect.stringContaining('ETIMEDOUT') }
  const mute = { status: 0, mute: true } as const

  it('ends at a server that says nothing, whatever it is to do there', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const place = `--url=http://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const commands = [
      ['get', 'k'],
      ['put', 'k', 'v'],
      ['watch', 'k'],
      ['run', '--', 'true'],
      ['status'],
      ['stop'],
    ]
    const calls = commands.map(([name = '', ...rest]) =>
      sandbox.call([name, '--timeout=300ms', place, ...rest]),
    )
    for (const ended of await Promise.all(calls)) expect(ended).toMatchObject(timedOut)
    silent.close()
  })

  it('that follows, waits or runs a job ends, and the job with it', async () => {
    await serving.store.put('k', 'v')
    const place = ['--timeout=1s', `--url=${serving.target}`]
    const [watch, run] = await Promise.all([
      sandbox.call(['watch', 'k', '--mode=value', ...place]),
      sandbox.call(['run', ...place, '--', 'sleep', '1000']),
    ])
    expect(watch).toMatchObject({ ...timedOut, stdout: expect.stringContaining('v') })
    expect(run).toMatchObject(timedOut)
    const [job] = (await serving.store.jobs.list()).jobs
    expect(await serving.store.jobs.wait(job?.id ?? '')).toMatchObject({ signal: 'SIGTERM' })
  })

  it('says EUNKNOWN where a write may have been done', async () => {
    proxy.lie(1, { ...mute, only: /^POST/ })
    const put = ['put', 'k', 'v', '--timeout=1s', `--url=${proxy.target}`]
    expect(await sandbox.call(put)).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('EUNKNOWN'),
    })
  })

  it.each(['0', '10', '-1s', '30d', 'soon'])('of %s is a wrong command line', async (time) => {
    expect((await sandbox.call(['get', 'k', `--timeout=${time}`])).code).toBe(2)
  })
})
