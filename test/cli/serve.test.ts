/** `serve`: its addresses and its ends; and what a server that is killed leaves. See rfc/13; for the kill, rfc/4, rfc/7. */

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { isDefunct, processStart } from '../../src/base/processes.js'
import { connect } from '../../src/client/node.js'
import type { TailraceError } from '../../src/error.js'
import { CertificateDirectory, ca } from '../server/tls/certificates.js'
import { Sandbox } from '../support/sandbox.js'

const clients = 16
const acknowledgedMin = 800

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

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

  it('ends on SIGTERM: its job says so, and nothing of it goes on', async () => {
    const { child, ended } = sandbox.start(['serve'])
    const all = ended()
    await once(child.stdout, 'data')
    const script = 'trap "" HUP; sh -c "trap \'\' TERM; echo $$; exec sleep 100" & wait'
    const job = sandbox.start(['run', '-v', '--', 'sh', '-c', script])
    const [said] = await once(job.child.stderr, 'data')
    const id = String(said).trim().split(' ').at(-1) ?? ''
    const [pid] = await once(job.child.stdout, 'data')
    child.kill('SIGTERM')
    expect((await all).code).toBe(0)
    expect(existsSync(join(sandbox.data, 'server.json'))).toBe(false)
    const left = Number(String(pid))
    expect(processStart(left) !== undefined && !isDefunct(left)).toBe(false)
    const { stdout } = await sandbox.call(['wait', id, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ id, exception: { type: 'server-stop' } })
  })

  it('of a directory that is served already is EBUSY, with the pid', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    const { pid } = await sandbox.record()
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

  it('over TLS is reached by commands that are told who vouches for it', async () => {
    await using certificates = await CertificateDirectory.of('server')
    const { certFile, keyFile } = certificates.files
    const listen = ['serve', '--listen', '127.0.0.1:0']
    const { child, ended } = sandbox.start([
      ...[...listen, '--tls-cert', certFile, '--tls-key', keyFile],
    ])
    const all = ended()
    let said = ''
    while (!said.includes('token:')) said += String((await once(child.stdout, 'data'))[0])
    const url = /https:\/\/\S+/.exec(said)?.[0] ?? ''
    const token = (await sandbox.ok(['token'])).trim()
    await certificates.put('ca.pem', ca)
    const trusted = join(certificates.directory, 'ca.pem')
    const named = { TAILRACE_URL: url, TAILRACE_TOKEN: token, TAILRACE_CA: trusted }
    await sandbox.ok(['put', 'key', 'over tls'], { env: named })
    expect(await sandbox.ok(['get', 'key'], { env: named })).toBe('over tls')
    const status = JSON.parse(await sandbox.ok(['status', '--json'], { env: named }))
    expect(status).toMatchObject({ running: true, urls: [url] })
    const completed = await sandbox.ok(['__complete', '--', 'get', ''], { env: named })
    expect(completed).toBe('words\nkey\n')
    for (const command of [['get', 'key'], ['status']]) {
      const { TAILRACE_CA: _, ...strange } = named
      const refused = await sandbox.call(command, { env: strange })
      expect(refused.stderr).toMatch(/^tailrace: EMISCONFIGURED: .*TAILRACE_CA.*\n$/)
      const missing = await sandbox.call(command, { env: { ...named, TAILRACE_CA: '/none' } })
      expect(missing.stderr).toMatch(/^tailrace: EMISCONFIGURED: .*TAILRACE_CA.*\n$/)
    }
    child.kill('SIGTERM')
    expect((await all).code).toBe(0)
    for (const half of [
      [...listen, '--tls-cert', certFile],
      [...listen, '--tls-key', keyFile],
      ['serve', '--tls-cert', certFile, '--tls-key', keyFile],
      [...listen, '--tls-cert', certFile, '--tls-key', keyFile, '--insecure-listen'],
    ]) {
      expect((await sandbox.call(half)).code).toBe(2)
    }
  })

  it('keeps its log', async () => {
    await sandbox.ok(['put', 'key', 'value'])
    await sandbox.ok(['stop'])
    expect(await readFile(join(sandbox.data, 'server.log'), 'utf8')).not.toMatch(
      /Error|tailrace: E/,
    )
  })
})

it('everything acknowledged survives kill -9 of the server, and a watch goes on', async () => {
  await sandbox.ok(['append', 'log', 'first\n'])
  const server = await sandbox.record()
  const target = `unix:${server.socket}`
  await using watcher = await connect(target)
  const watched = watcher.watch('log', { mode: 'append' })
  const stores = await Promise.all(Array.from({ length: clients }, () => connect(target)))
  const acknowledged = new Map<number, string>()
  const lost: string[] = []
  const write = async (store: Store, writer: number) => {
    for (let count = 0; ; count++) {
      const line = `${writer}/${count}`
      try {
        const { result } = await store.append('log', `${line}\n`)
        acknowledged.set(result.index ?? -1, line)
      } catch (error) {
        lost.push((error as TailraceError).code)
        return
      }
      if (acknowledged.size === acknowledgedMin) process.kill(server.pid, 'SIGKILL')
    }
  }
  await Promise.all(stores.map(write))
  await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
  // What was on its way is not known to be there; what could not be sent is not.
  expect(lost).toHaveLength(clients)
  for (const code of lost) expect(['EUNKNOWN', 'ECLOSED']).toContain(code)

  const lines = (await sandbox.ok(['get', 'log'])).trimEnd().split('\n')
  for (const [index, line] of acknowledged) expect(lines[index]).toBe(line)
  expect(new Set(lines).size).toBe(lines.length)
  expect((await sandbox.record()).pid).not.toBe(server.pid)

  await sandbox.ok(['append', 'log', 'last\n', '--seal'])
  const delivered: string[] = []
  for await (const event of watched) {
    if (event.type !== 'append') continue
    expect(event.index).toBe(delivered.length)
    delivered.push(Buffer.from(event.data).toString().trimEnd())
  }
  expect(delivered).toEqual([...lines, 'last'])
}, 60_000)
