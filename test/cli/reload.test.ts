/** SIGHUP to a server: it reads its configuration again, or ends with its terminal. See rfc/30, rules 11 and 12. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTerminal } from '../../src/base/posix.js'
import { findServer } from '../../src/local/local.js'
import { CertificateDirectory, ca } from '../server/tls/certificates.js'
import { mainFile, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
let file: string
beforeEach(async () => {
  sandbox = await Sandbox.make()
  await mkdir(sandbox.data, { mode: 0o700 })
  file = join(sandbox.data, 'config.yaml')
})
afterEach(() => sandbox.remove())

/** The status of a request with this header `Host`: 403 if the server does not answer to it. */
async function statusOf(address: string, host: string): Promise<number | undefined> {
  const [hostname, port] = address.split(':')
  const asking = request({ hostname, port, path: '/healthz', headers: { host } })
  asking.end()
  const [answer] = await once(asking, 'response')
  answer.resume()
  return answer.statusCode
}

/** A server in the foreground, and all that it has said on stderr. */
class Served {
  readonly child: ChildProcess
  readonly ended: Promise<unknown>
  said = ''
  record: { readonly listen: readonly string[] } = { listen: [] }

  private constructor(args: readonly string[]) {
    const { child } = sandbox.start(['serve', '--json', ...args])
    this.child = child
    this.ended = once(child, 'exit')
    child.stderr.on('data', (text) => {
      this.said += String(text)
    })
  }

  static async start(...args: readonly string[]): Promise<Served> {
    const served = new Served(args)
    const [line] = await once(served.child.stdout ?? process.stdin, 'data')
    served.record = JSON.parse(String(line))
    return served
  }

  get address(): string {
    return this.record.listen[0] ?? ''
  }

  /** Sends SIGHUP, and resolves to what is said from then on, up to a line with the pattern. */
  async reload(until: RegExp): Promise<string> {
    const from = this.said.length
    this.child.kill('SIGHUP')
    while (!until.test(this.said.slice(from))) {
      if (this.child.exitCode !== null) throw new Error(`it has ended: ${this.said}`)
      await once(this.child.stderr ?? process.stdin, 'data')
    }
    return this.said.slice(from)
  }

  async end(): Promise<void> {
    this.child.kill('SIGTERM')
    expect(await this.ended).toEqual([0, null])
  }
}

describe('SIGHUP without a terminal', () => {
  it('takes hosts, origins and jobs from the file, and says what needs a restart', async () => {
    await writeFile(file, 'listen: [127.0.0.1:0]\nallow-host: [one.example]\njobs: 1\n')
    const served = await Served.start()
    expect(await statusOf(served.address, 'one.example')).toBe(200)
    expect(await statusOf(served.address, 'two.example')).toBe(403)
    for (let at = 0; at < 3; at++) await sandbox.ok(['submit', 'sleep', '60'])
    expect(await runningJobs()).toBe(1)
    await writeFile(file, 'listen: [127.0.0.1:1]\nallow-host: [two.example]\njobs: 3\n')
    const said = await served.reload(/jobs: 1 → 3\n/)
    expect(said).toContain(`the configuration was read again from ${file}\n`)
    expect(said).toContain('listen: 127.0.0.1:0 → 127.0.0.1:1 needs a restart\n')
    expect(said).toContain('allow-host: one.example → two.example\n')
    while ((await statusOf(served.address, 'two.example')) !== 200) await delay(5)
    expect(await statusOf(served.address, 'one.example')).toBe(403)
    while ((await runningJobs()) !== 3) await delay(5)
    await served.end()

    async function runningJobs(): Promise<number> {
      const { running: count } = JSON.parse(await sandbox.ok(['status', '--json'])).jobs
      return count
    }
  })

  it('changes nothing if anything in the file is wrong, says each mistake, and goes on', async () => {
    await writeFile(file, 'listen: [127.0.0.1:0]\nallow-host: [one.example]\n')
    const served = await Served.start()
    await writeFile(file, 'allow-host: [two.example]\njobs: none\nlisten: [127.0.0.1:0]\nx: 1\n')
    const said = await served.reload(/changes nothing: it has mistakes\n/)
    expect(said).toContain(`EMISCONFIGURED: ${file}:2:7: jobs: takes a number, not "none"\n`)
    expect(said).toContain(`EMISCONFIGURED: ${file}:4:1: x: no such field`)
    expect(await statusOf(served.address, 'one.example')).toBe(200)
    expect(await statusOf(served.address, 'two.example')).toBe(403)
    await rm(file)
    // The rules hold for all sources together, and no flag has the address.
    expect(await served.reload(/again.*\n/)).toContain('(there is no file)')
    expect(await sandbox.ok(['status', '--json'])).toContain('"listen":["127.0.0.1:')
    await served.end()
  })

  it('keeps what a flag says, and is one reload for many signals', async () => {
    await writeFile(file, 'allow-host: [file.example]\n')
    const served = await Served.start('--listen', '127.0.0.1:0', '--allow-host', 'flag.example')
    await writeFile(file, 'allow-host: [other.example]\njobs: 2\n')
    for (let at = 0; at < 50; at++) served.child.kill('SIGHUP')
    await served.reload(/was read again/)
    expect(await statusOf(served.address, 'flag.example')).toBe(200)
    expect(await statusOf(served.address, 'other.example')).toBe(403)
    expect(served.said.match(/jobs: 64 → 2\n/g)).toHaveLength(1)
    await served.end()
  })

  it('reads the certificate again', async () => {
    await using certificates = await CertificateDirectory.of('server')
    const { certFile, keyFile } = certificates.files
    await writeFile(file, `listen: [127.0.0.1:0]\ntls: {cert: ${certFile}, key: ${keyFile}}\n`)
    const served = await Served.start()
    const serial = async () => {
      const port = Number(served.address.split(':')[1])
      const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca })
      await once(socket, 'secureConnect')
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      return serialNumber
    }
    const before = await serial()
    await certificates.putCert('other')
    await served.reload(/changes nothing: it has mistakes\n/)
    expect(served.said).toContain(`${file}:2:7: tls.cert: the key in ${keyFile} is not that of`)
    expect(await serial()).toBe(before)
    await certificates.putKey('other')
    await served.reload(/cert\.pem was read again/)
    expect(await serial()).not.toBe(before)
    await served.end()
  })

  it('reaches a server in the background, which logs it', async () => {
    await writeFile(file, 'jobs: 5\n')
    expect((await sandbox.shell('t put key value')).code).toBe(0)
    const { pid } = await sandbox.record()
    await writeFile(file, 'jobs: 6\n')
    process.kill(pid, 'SIGHUP')
    const log = () => readFile(join(sandbox.data, 'server.log'), 'utf8')
    while (!(await log()).includes('jobs: 5 → 6\n')) await delay(5)
    expect(await sandbox.ok(['get', 'key'])).toBe('value')
    expect((await sandbox.record()).pid).toBe(pid)
  })
})

describe('SIGHUP with a terminal', () => {
  it('is a reload while the terminal is there, and the end once it is closed', async () => {
    const terminal = openTerminal({ columns: 80, rows: 24 })
    if (!terminal) throw new Error('this system makes no terminals')
    const { master, slave } = terminal
    const args = ['--ctty', process.execPath, mainFile, 'serve', '--data', sandbox.data]
    const { TAILRACE_URL: _, ...env } = process.env
    const child = spawn('setsid', args, { stdio: [slave, slave, slave], env })
    const ended = once(child, 'exit')
    closeSync(slave)
    while (!(await findServer(sandbox.data))) await delay(5)
    const { pid } = await sandbox.record()
    expect(pid).toBe(child.pid)
    await writeFile(file, 'jobs: 1\n')
    process.kill(pid, 'SIGHUP')
    for (const time of ['60', '61']) await sandbox.ok(['submit', 'sleep', time])
    const jobs = async () => JSON.parse(await sandbox.ok(['status', '--json'])).jobs
    while ((await jobs()).running !== 1) await delay(5)
    expect(child.exitCode).toBe(null)
    closeSync(master)
    expect(await ended).toEqual([0, null])
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(false)
  })
})
