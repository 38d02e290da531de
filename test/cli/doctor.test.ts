/** `doctor`: each check on a directory or a machine that it has to complain about. See rfc/30, rules 13 to 15. */

import { execFileSync } from 'node:child_process'
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Diagnosis } from '../../src/cli/doctor-check.js'
import {
  judgeClock,
  judgeFileSystem,
  judgeSpace,
  judgeSyncs,
} from '../../src/cli/doctor-directory.js'
import {
  judgeContainer,
  judgeHash,
  judgeMemory,
  judgeNode,
  judgeOpenFiles,
  judgePlatform,
  memoryLimit,
} from '../../src/cli/doctor-machine.js'
import { judgeCertificate } from '../../src/cli/doctor-server.js'
import { checks, diagnosesOf, examine } from '../../src/cli/doctor-table.js'
import { oldestNode } from '../../src/local/installation.js'
import { isAlive } from '../../src/local/local.js'
import { open } from '../../src/open.js'
import { connectionsMax, connectionsWithin } from '../../src/server/front.js'
import * as serverChecks from '../../src/server/server.js'
import { CertificateDirectory } from '../server/tls/certificates.js'
import { Sandbox } from '../support/sandbox.js'

const day = 24 * 60 * 60 * 1000

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

/** The diagnoses of one check on the sandbox's directory. */
async function look(name: string, data = sandbox.data): Promise<readonly Diagnosis[]> {
  const check = checks.find((each) => each.name === name)
  if (!check) throw new Error(`there is no check ${name}`)
  return diagnosesOf(check, await examine({ data }, {}, serverChecks))
}

/** The level of a check, and its text. */
async function level(name: string, data?: string): Promise<string> {
  return (await look(name, data)).map((one) => `${one.level} ${one.text}`).join('\n')
}

async function makeStore(): Promise<void> {
  await using store = await open({ directory: sandbox.data })
  for (let at = 0; at < 20; at++) await store.put(`key${at}`, `value ${at}`.repeat(50))
}

async function segment(): Promise<string> {
  const journal = join(sandbox.data, 'store/journal')
  const [name = ''] = await readdir(journal)
  return join(journal, name)
}

/** All that is in the data directory: names, modes, and bytes. */
async function contents(): Promise<readonly unknown[]> {
  const names = (await readdir(sandbox.data, { recursive: true })).sort()
  return Promise.all(
    names.map(async (name) => {
      const path = join(sandbox.data, name)
      const there = await stat(path)
      const { mode, size, mtimeMs } = there
      const bytes = there.isFile() ? await readFile(path, 'latin1') : ''
      return [name, mode, size, mtimeMs, bytes]
    }),
  )
}

describe('doctor', () => {
  it('of a store that is well says ok line by line, ends with 0, and changes nothing', async () => {
    await makeStore()
    const before = await contents()
    const { code, stdout } = await sandbox.call(['doctor'])
    expect(await contents()).toEqual(before)
    expect(stdout).not.toContain('FAIL')
    expect(stdout.split('\n').map((line) => line.slice(5, 16).trim())).toEqual([
      ...checks.map(({ name }) => name),
      '',
    ])
    expect(stdout).toMatch(/^ok {3}store {7}format 2; its last records are whole/m)
    expect(code).toBe(0)
  })

  it('of a directory that is not there warns, and makes none', async () => {
    const { code, stdout } = await sandbox.call(['doctor', '--json'])
    expect(code).toBe(0)
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ ok: true, directory: sandbox.data })
    expect(report.findings).toContainEqual({
      ...{ check: 'directory', level: 'warn', text: `${sandbox.data} is not there` },
      advice: expect.stringContaining('--data'),
    })
    expect(await readdir(sandbox.directory)).toEqual([])
  })

  it('ends with 1 if anything fails, and says what to do', async () => {
    await makeStore()
    await truncate(join(sandbox.data, 'store/data.mdb'), 20_000)
    const { code, stdout } = await sandbox.call(['doctor'])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^FAIL store {7}store\/data\.mdb was cut → restore a copy of /m)
    const json = await sandbox.call(['doctor', '--json'])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout).ok).toBe(false)
  })

  it('has all its checks in rfc/30', async () => {
    const page = fileURLToPath(new URL('../../rfc/30-configuration.md', import.meta.url))
    const rfc = await readFile(page, 'utf8')
    for (const { name } of checks) expect(rfc).toContain(`    | \`${name}\` | `)
  })

  it('goes on behind a check that throws, and one that hangs', async () => {
    const examined = await examine({ data: sandbox.data }, {}, serverChecks)
    const broken = { name: 'x', look: () => Promise.reject(new Error('the disk is gone')) }
    expect(await diagnosesOf(broken, examined)).toMatchObject([
      { level: 'FAIL', text: expect.stringContaining('the disk is gone') },
    ])
    const hung = { name: 'x', look: () => new Response(new ReadableStream()).text().then(() => []) }
    expect(await diagnosesOf(hung, examined, 20)).toMatchObject([
      { level: 'FAIL', text: 'it took longer than 20 ms' },
    ])
  })
})

describe('directory', () => {
  it('fails where others may write, or may open the token', async () => {
    await makeStore()
    await writeFile(join(sandbox.data, 'token'), 'x', { mode: 0o600 })
    expect(await level('directory')).toBe(`ok ${sandbox.data}`)
    await chmod(sandbox.data, 0o777)
    expect(await level('directory')).toMatch(/^FAIL others may write in /)
    await chmod(sandbox.data, 0o755)
    expect(await level('directory')).toMatch(/^ok /)
    await chmod(join(sandbox.data, 'store'), 0o755)
    expect(await level('directory')).toMatch(/^warn others may look into /)
    await chmod(join(sandbox.data, 'token'), 0o644)
    expect(await level('directory')).toMatch(/^FAIL others may open .*token/)
    await chmod(sandbox.data, 0o700)
    expect(await level('directory')).toMatch(/^ok /)
    expect((await stat(join(sandbox.data, 'token'))).mode & 0o777).toBe(0o644) // nothing is mended
  })

  it('fails for a file, and nothing can be synced there', async () => {
    await writeFile(sandbox.data, '')
    expect(await level('directory')).toMatch(/^FAIL .* is not a directory$/)
    expect(await level('sync')).toMatch(/^FAIL a file cannot be written and synced: /)
    await rm(sandbox.data)
  })

  it('is measured by syncs that leave nothing', async () => {
    await mkdir(sandbox.data, { mode: 0o700 })
    expect(await level('sync')).toMatch(/^(ok|warn) a write of 4096 bytes is durable after /)
    expect(await readdir(sandbox.data)).toEqual([])
  })

  it('warns of a log that cannot be written', async () => {
    await mkdir(join(sandbox.data, 'server.log'), { recursive: true, mode: 0o700 })
    expect(await level('log')).toMatch(/^warn .*server\.log cannot be written: /)
    await rm(join(sandbox.data, 'server.log'), { recursive: true })
    await writeFile(join(sandbox.data, 'server.log'), '')
    expect(await level('log')).toMatch(/^ok /)
    await truncate(join(sandbox.data, 'server.log'), 9 * 1024 * 1024)
    expect(await level('log')).toMatch(/^warn .*server\.log has 9\.0M$/)
  })

  it('fails where something in it is newer than the clock', async () => {
    await makeStore()
    expect(await level('clock')).toMatch(/^ok /)
    const later = Date.now() / 1_000 + 3_600
    await utimes(await segment(), later, later)
    expect(await level('clock')).toMatch(
      /^FAIL the clock says .*, and the directory has something of /,
    )
  })
})

describe('store', () => {
  it('warns of a record that was not written to its end, which the next opening cuts off', async () => {
    await makeStore()
    const path = await segment()
    const { size } = await stat(path)
    await appendFile(path, Buffer.alloc(77, 5))
    const torn = `warn ${path} ends in 77 bytes of a record that was not written to its end`
    expect(await level('store')).toBe(torn)
    expect((await stat(path)).size).toBe(size + 77)
    await (await open({ directory: sandbox.data }))[Symbol.asyncDispose]()
    expect(await level('store')).toMatch(/^ok /)
    await truncate(path, (await stat(path)).size - 1)
    expect(await level('store')).toMatch(/^warn .* ends in \d+ bytes of a record/)
  })

  it('fails for damage before the end, and in the header', async () => {
    await makeStore()
    const path = await segment()
    const bytes = await readFile(path)
    const mark = bytes.subarray(64, 72)
    const second = bytes.indexOf(mark, 72)
    expect(second).toBeGreaterThan(0)
    bytes[second + 9] = (bytes[second + 9] ?? 0) ^ 1
    await writeFile(path, bytes)
    expect(await level('store')).toBe(`FAIL ${path} is damaged at byte ${second}`)
    bytes[3] = 0
    await writeFile(path, bytes)
    expect(await level('store')).toBe(`FAIL ${path} is damaged at byte 0`)
  })

  it.each([
    ['a newer format', 'format.json', '{"format":99,"storeId":"x"}', /^FAIL .* has format 99; /],
    ['what is no store', 'store/data.mdb', 'x'.repeat(9_000), /^FAIL store\/data.mdb is no store$/],
    ['an emptied file', 'store/data.mdb', '', /^FAIL store\/data.mdb was never finished, or /],
    ['a file that is gone', 'store/data.mdb', undefined, /^FAIL store\/data.mdb is missing$/],
    ['a journal that is gone', 'store/journal', undefined, /^FAIL store\/journal has no segment$/],
  ])('fails for %s', async (_, name, text, expected) => {
    await makeStore()
    const path = join(sandbox.data, name)
    await rm(path, { recursive: true })
    if (text !== undefined) await writeFile(path, text)
    expect(await level('store')).toMatch(expected)
  })

  it('warns of an older format', async () => {
    await makeStore()
    const path = join(sandbox.data, 'format.json')
    const format = JSON.parse(await readFile(path, 'utf8'))
    await writeFile(path, JSON.stringify({ ...format, format: 1 }))
    expect(await level('store')).toMatch(/^warn format 1; this program writes 2$/)
  })

  it('looks at no file while a program has the store open', async () => {
    await using _store = await open({ directory: sandbox.data })
    await appendFile(await segment(), 'torn')
    expect(await level('store')).toBe(`ok format 2, in use by process ${process.pid}`)
  })
})

describe('server', () => {
  it('is asked while it runs; one that hangs, or is of another version or store, fails', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const record = await sandbox.record()
    expect(await level('server')).toBe(`ok pid ${record.pid}, version ${record.version}`)
    expect(await level('health')).toMatch(/^ok it answers after \d+ ms$/)
    const file = join(sandbox.data, 'server.json')
    await writeFile(file, JSON.stringify({ ...record, version: '0.0.9', storeId: 'x' }))
    expect(await level('server')).toMatch(/^FAIL .*version 0\.0\.9, and this program is /)
    expect(await level('health')).toMatch(/^FAIL the socket is of another store /)
    await writeFile(file, JSON.stringify(record))
    process.kill(record.pid, 'SIGSTOP')
    expect(await level('health')).toMatch(/^FAIL it does not answer: /)
    process.kill(record.pid, 'SIGCONT')
    expect(await level('health')).toMatch(/^ok /)
  }, 30_000)

  it('that was killed leaves a record and a socket, each a warning', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const record = await sandbox.record()
    process.kill(record.pid, 'SIGKILL')
    while (isAlive(record)) await delay(5)
    expect(await level('server')).toBe(`warn server.json is of pid ${record.pid}, which has ended`)
    await rm(join(sandbox.data, 'server.json'))
    expect(await level('server')).toBe('warn tailrace.sock is there, and no server')
    await rm(join(sandbox.data, 'tailrace.sock'))
    expect(await level('server')).toBe('ok none runs')
  })
})

describe('config and certificate', () => {
  beforeEach(() => mkdir(sandbox.data, { mode: 0o700 }))
  const configure = (text: string) => writeFile(join(sandbox.data, 'config.yaml'), text)

  it('fail with each mistake of the file, and with what a start would refuse', async () => {
    await configure('jobs: 0\nlisten: [x]\n')
    const file = join(sandbox.data, 'config.yaml')
    expect(await level('config')).toBe(
      `FAIL ${file}:1:7: jobs: takes an integer of at least 1, not "0"\n` +
        `FAIL ${file}:2:10: listen[0]: takes HOST:PORT or systemd, not "x"`,
    )
    await configure('listen: [0.0.0.0:0]\n')
    expect(await level('config')).toMatch(/^FAIL .*:1:1: listen: 0\.0\.0\.0:0 can be reached/)
    await configure('jobs: 1\n')
    await chmod(file, 0o666)
    expect(await level('config')).toMatch(/^FAIL others may write /)
    await chmod(file, 0o600)
    expect(await level('config')).toBe(`ok ${file}`)
  })

  it.each([
    ['server', 'server', /^ok the certificate expires 2126-/],
    ['expired', 'expired', /^FAIL the certificate has expired 2021-01-01/],
    ['server', 'other', /^FAIL the key in .* is not that of the certificate in /],
  ] as const)('judge the certificate %s with the key %s', async (cert, key, expected) => {
    await using certificates = await CertificateDirectory.of(cert)
    await certificates.putKey(key)
    const { certFile, keyFile } = certificates.files
    await configure(`listen: [0.0.0.0:0]\ntls: {cert: ${certFile}, key: ${keyFile}}\n`)
    expect(await level('certificate')).toMatch(expected)
    expect(await level('inotify')).toMatch(/^ok changes in /)
    await rm(certFile)
    expect(await level('certificate')).toMatch(/^FAIL .* cannot be read: /)
    await rm(certificates.directory, { recursive: true })
    expect(await level('inotify')).toMatch(/^warn changes in .* are not seen: /)
  })
})

describe('judges', () => {
  const levelOf = ([diagnosis]: readonly Diagnosis[]) => diagnosis?.level

  it('of a file system warn of networks, memory, and layers', () => {
    for (const type of [0x6969, 0xff534d42, 0x01021997, 0x01021994, 0x65735546, 0x794c7630])
      expect([type, levelOf(judgeFileSystem(type))]).toEqual([type, 'warn'])
    for (const type of [0xef53, 0x58465342, 0x9123683e, 0x2fc12fc1])
      expect([type, levelOf(judgeFileSystem(type))]).toEqual([type, 'ok'])
  })

  it('of space know both edges of each bound', () => {
    const gib = 1024 ** 3
    const disk = { size: 100 * gib, free: 50 * gib, files: 100, freeFiles: 50, freeSpaceMin: 4096 }
    const judged = (change: Partial<typeof disk>) => levelOf(judgeSpace({ ...disk, ...change }))
    expect(judged({})).toBe('ok')
    expect(judged({ free: 10 * gib })).toBe('ok')
    expect(judged({ free: 10 * gib - 1 })).toBe('warn')
    expect(judged({ size: 2 * gib, free: gib })).toBe('ok')
    expect(judged({ size: 2 * gib, free: gib - 1 })).toBe('warn')
    expect(judged({ free: 4096 })).toBe('warn')
    expect(judged({ free: 4095 })).toBe('FAIL')
    expect(judged({ freeFiles: 10 })).toBe('ok')
    expect(judged({ freeFiles: 9 })).toBe('warn')
    expect(judged({ freeFiles: 0 })).toBe('FAIL')
    expect(judged({ files: 0, freeFiles: 0 })).toBe('ok') // btrfs counts none
  })

  it('of syncs take the median', () => {
    expect(levelOf(judgeSyncs([900, 50, 1, 50, 1]))).toBe('ok')
    expect(levelOf(judgeSyncs([51, 51, 1, 1, 51]))).toBe('warn')
  })

  it('of the clock know its years, the directory, and steps back', () => {
    const now = Date.UTC(2026, 6, 1)
    expect(levelOf(judgeClock(now, now, [1, 1, 2]))).toBe('ok')
    expect(levelOf(judgeClock(now, now + 2_000, []))).toBe('ok')
    expect(levelOf(judgeClock(now, now + 2_001, []))).toBe('FAIL')
    expect(levelOf(judgeClock(now, undefined, [2, 1]))).toBe('FAIL')
    expect(levelOf(judgeClock(0, undefined, []))).toBe('FAIL')
    expect(levelOf(judgeClock(Date.UTC(2101, 0, 1), undefined, []))).toBe('FAIL')
  })

  it('of a certificate know both edges of 14 days', () => {
    const now = Date.UTC(2026, 6, 1)
    const judged = (begins: number, expires: number) =>
      levelOf(judgeCertificate({ begins: now + begins, expires: now + expires }, now))
    expect(judged(0, 14 * day)).toBe('ok')
    expect(judged(0, 14 * day - 1)).toBe('warn')
    expect(judged(0, 1)).toBe('warn')
    expect(judged(0, 0)).toBe('FAIL')
    expect(judged(1, 14 * day)).toBe('FAIL')
  })

  it('of the machine know old Nodes, few files, little memory and missing parts', () => {
    expect(levelOf(judgeNode('19.9.0', oldestNode()))).toBe('FAIL')
    expect(levelOf(judgeNode('20.0.0', oldestNode()))).toBe('ok')
    expect(levelOf(judgePlatform('win32', 'x64'))).toBe('FAIL')
    expect(levelOf(judgePlatform('darwin', 'arm64'))).toBe('warn')
    expect(levelOf(judgeHash(false))).toBe('warn')
    const front = { connectionsMax, connectionsWithin }
    expect(levelOf(judgeOpenFiles(1_024, front))).toBe('warn')
    expect(levelOf(judgeOpenFiles(connectionsMax + 511, front))).toBe('warn')
    expect(levelOf(judgeOpenFiles(connectionsMax + 512, front))).toBe('ok')
    expect(levelOf(judgeOpenFiles(undefined, front))).toBe('ok')
    expect(levelOf(judgeMemory(256 * 1024 ** 2 - 1))).toBe('warn')
    expect(levelOf(judgeMemory(256 * 1024 ** 2))).toBe('ok')
    const signs = { isDocker: false, isPodman: false, isKubernetes: false }
    expect(judgeContainer(signs)).toEqual([{ level: 'ok', text: 'none' }])
    expect(judgeContainer({ ...signs, isPodman: true })[0]?.text).toContain('a container')
  })

  it('of memory take the smallest bound of all cgroups above', () => {
    const reading = (files: Readonly<Record<string, string>>) => (path: string) => {
      const text = files[path]
      if (text === undefined) throw new Error(`there is no ${path}`)
      return text
    }
    const cgroup = { '/proc/self/cgroup': '0::/a/b\n' }
    expect(memoryLimit(reading({}))).toBe(undefined)
    expect(memoryLimit(reading({ ...cgroup, '/sys/fs/cgroup/a/b/memory.max': 'max\n' }))).toBe(
      undefined,
    )
    const both = {
      '/sys/fs/cgroup/a/memory.max': '100\n',
      '/sys/fs/cgroup/a/b/memory.max': '200\n',
    }
    expect(memoryLimit(reading({ ...cgroup, ...both }))).toBe(100)
    const old = '/sys/fs/cgroup/memory/memory.limit_in_bytes'
    expect(memoryLimit(reading({ [old]: '9223372036854771712\n' }))).toBe(undefined)
    expect(memoryLimit(reading({ [old]: '1000\n' }))).toBe(1_000)
  })

  it('of open files see the bound of this process', () => {
    const script = `ulimit -n 900; exec ${process.execPath} ${join('dist', 'cli', 'main.js')} doctor --data ${sandbox.data}`
    const root = fileURLToPath(new URL('../../', import.meta.url))
    const shown = execFileSync('bash', ['-c', script], { cwd: root, encoding: 'utf8' })
    expect(shown).toMatch(/^warn files {7}900 open files: 450 connections over TCP of 4096 → /m)
  })
})
