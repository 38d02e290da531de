/** The server of a data directory: found, started, shared, stopped, and what a crash leaves. */

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import {
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fileIdentity } from '../../src/base/file-identity.js'
import { isDefunct, processStart } from '../../src/base/processes.js'
import { readServerRecord } from '../../src/local/directory.js'
import { isAlive } from '../../src/local/local.js'
import { mainFile, Sandbox } from './harness.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

async function recordNow() {
  const record = await readServerRecord(sandbox.data)
  if (!record) throw new Error('no server.json')
  return record
}

describe('a command that needs a server', () => {
  it('starts one, that the next command finds', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const { pid } = await recordNow()
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
    expect((await recordNow()).pid).toBe(pid)
    expect((await stat(sandbox.data)).mode & 0o777).toBe(0o700)
    expect((await stat(join(sandbox.data, 'server.log'))).mode & 0o777).toBe(0o600)
  })

  it('and several others at once: all use the same', async () => {
    const keys = ['a', 'b', 'c', 'd', 'e']
    await Promise.all(keys.map((key) => sandbox.ok(['put', `many/${key}`, key])))
    expect(await sandbox.ok(['ls', 'many'])).toBe('a\nb\nc\nd\ne\n')
    const { pid } = await recordNow()
    expect(JSON.parse(await sandbox.ok(['status', '--json']))).toMatchObject({ running: true, pid })
  })

  it('waits for one that is just ending, and starts another', async () => {
    await sandbox.ok(['put', 'large', '-'], { input: Buffer.alloc(20_000_000) })
    await sandbox.ok(['put', 'key', 'value'])
    const { socket, pid } = await recordNow()
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
    expect((await recordNow()).pid).not.toBe(pid)
    deaf.destroy()
  })

  it('finds what a killed server left, and what it had acknowledged', async () => {
    await sandbox.ok(['put', 'key', 'kept'])
    const record = await recordNow()
    process.kill(record.pid, 'SIGKILL')
    while (isAlive(record)) await delay(5)
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(true)
    expect(await sandbox.ok(['get', 'key'])).toBe('kept')
    expect((await recordNow()).pid).not.toBe(record.pid)
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
    expect((await recordNow()).pid).not.toBe(process.pid)
  })

  it('of another version than the running server says so, and stop still ends it', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const file = join(sandbox.data, 'server.json')
    await writeFile(file, JSON.stringify({ ...(await recordNow()), version: '0.0.1' }))
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
    expect((await recordNow()).pid).toBeGreaterThan(0)
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

  it('is no longer one once something is written there', async () => {
    const { child, ended } = sandbox.start(['watch', 'key', '--wait-create'])
    const all = ended()
    const watched = once(child.stdout, 'data')
    await sandbox.ok(['put', 'key', 'value'])
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
    expect(String(await watched)).toContain('value')
    child.kill()
    await all
  })
})

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
    const record = await recordNow()
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

describe('serve', () => {
  it('in the foreground serves TCP with the token, and ends with 0 on SIGTERM', async () => {
    const { child, ended } = sandbox.start(['serve', '--listen', '127.0.0.1:0', '--json'])
    const all = ended()
    const [line] = await once(child.stdout, 'data')
    const url = `http://${JSON.parse(String(line)).listen[0]}`
    const token = (await sandbox.ok(['token'])).trim()
    expect(token).toMatch(/^[0-9a-f]{64}$/)
    const strange = { TAILRACE_DATA: join(sandbox.directory, 'elsewhere') }
    const named = { ...strange, TAILRACE_URL: url, TAILRACE_TOKEN: token }
    await sandbox.ok(['put', 'key', 'over tcp'], { env: named })
    expect(await sandbox.ok(['get', 'key', '--url', url])).toBe('over tcp') // the directory's token
    const refused = await sandbox.call(['get', 'key', '--url', url], { env: strange })
    expect(refused.stderr).toMatch(/^tailrace: EUNAUTH: .+\n$/)
    expect(existsSync(strange.TAILRACE_DATA)).toBe(false)
    child.kill('SIGTERM')
    expect((await all).code).toBe(0)
  })

  it('ends on SIGHUP as on SIGTERM: its job says so, and nothing of it goes on', async () => {
    const { child, ended } = sandbox.start(['serve'])
    const all = ended()
    await once(child.stdout, 'data')
    const script = 'trap "" HUP; sh -c "trap \'\' TERM; echo $$; exec sleep 100" & wait'
    const job = sandbox.start(['run', '-v', '--', 'sh', '-c', script])
    const [said] = await once(job.child.stderr, 'data')
    const id = String(said).trim().split(' ').at(-1) ?? ''
    const [pid] = await once(job.child.stdout, 'data')
    child.kill('SIGHUP')
    expect((await all).code).toBe(0)
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(false)
    const left = Number(String(pid))
    expect(processStart(left) !== undefined && !isDefunct(left)).toBe(false)
    const { stdout } = await sandbox.call(['wait', id, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ id, exception: { type: 'server-stop' } })
  })

  it('of a directory that is served already is EBUSY, with the pid', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const { pid } = await recordNow()
    const { code, stderr } = await sandbox.call(['serve'])
    expect(stderr).toMatch(/^tailrace: EBUSY: .+\n$/)
    expect(stderr).toContain(String(pid))
    expect(code).toBe(4)
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
  })

  it('ends by itself when idle', async () => {
    const { ended } = sandbox.start(['serve', '--idle-exit', '50'])
    expect((await ended()).code).toBe(0)
  })

  it('refuses an address that others can reach', async () => {
    const { code, stderr } = await sandbox.call(['serve', '--listen', '0.0.0.0:0'])
    expect(stderr).toMatch(/^tailrace: EMISCONFIGURED: .+\n$/)
    expect(code).toBe(1)
  })

  it('keeps its log', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    await sandbox.ok(['stop'])
    expect(await readFile(join(sandbox.data, 'server.log'), 'utf8')).not.toMatch(
      /Error|tailrace: E/,
    )
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
