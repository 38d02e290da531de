/** TLS: who speaks it, its certificates, and what becomes of those who do not end their handshake. See
 *  rfc/13, rules 33 to 35. */

import { once } from 'node:events'
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Watching } from '../../src/api/watch.js'
import { deferred } from '../../src/base/deferred.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { connect } from '../../src/client/node.js'
import { connect as connectPage } from '../../src/client/web.js'
import { readServerRecord } from '../../src/local/directory.js'
import { Certificate, expiryWarningMs } from '../../src/server/certificate.js'
import { Raw, refusalIn } from './raw.js'
import { Serving } from './serving.js'
import { CertificateDirectory, ca, Lines, pem } from './tls/certificates.js'

const years = { server: '2126', other: '2125' }

let certificates: CertificateDirectory
let serving: Serving
let lines: Lines

beforeAll(async () => {
  certificates = await CertificateDirectory.of('server')
  lines = new Lines()
  serving = await Serving.start({ tls: certificates.files, log: lines.log })
})
afterAll(async () => {
  await serving[Symbol.asyncDispose]()
  await certificates[Symbol.asyncDispose]()
})

function portOf({ server }: Serving): number {
  return Number(server.listen[0]?.split(':')[1])
}

/** The year in which the certificate ends that a new connection gets. */
async function yearOf(of: Serving): Promise<string | undefined> {
  const socket = connectTls(portOf(of), '127.0.0.1', { ca })
  await once(socket, 'secureConnect')
  const { valid_to: end } = socket.getPeerCertificate()
  socket.destroy()
  return /\d{4}/.exec(end)?.[0]
}

async function nextText(watched: Watching): Promise<string> {
  for (;;) {
    const { value } = await watched.next()
    if (value?.type === 'append') return Buffer.from(value.data).toString()
  }
}

/** What a client sends without TLS, and gets. */
async function plain(of: Serving, text: string): Promise<string> {
  const socket = connectTcp(portOf(of), '127.0.0.1')
  let got = ''
  socket.setEncoding('latin1').on('data', (piece: string) => {
    got += piece
  })
  socket.on('error', () => {}).write(text)
  await once(socket, 'close')
  return got
}

describe('a client that trusts the certificate', () => {
  it.each(['socket', 'http'] as const)('reads, writes and watches (%s)', async (requests) => {
    const { token } = serving.server
    await using store = await connect(serving.url, { token, ca, requests })
    expect(serving.url).toMatch(/^https:/)
    const key = `log-${requests}`
    await store.append(key, 'one')
    const watched = store.watch(key, { mode: 'append' })
    expect(await nextText(watched)).toBe('one')
    const large = Buffer.alloc(3_000_000, requests)
    await store.put('large', large)
    expect(Buffer.from((await store.get('large')) ?? []).equals(large)).toBe(true)
    await store.append(key, large.subarray(0, 1_000_000))
    let size = 0
    while (size < 1_000_000) size += (await nextText(watched)).length
    expect(size).toBe(1_000_000)
  })

  it('may send chunks, and go on with the connection', async () => {
    await using raw = await Raw.overTls(serving, ca)
    const head = ['Host: localhost', `Authorization: Bearer ${serving.server.token}`]
    const put = ['PUT /v1/kv/chunks HTTP/1.1', ...head, 'Transfer-Encoding: chunked']
    raw.send(put, '5\r\nvalue\r\n0\r\n\r\n').send(put, '1\r\nx\r\n0\r\n\r\n')
    raw.send(['GET /v1/kv/chunks HTTP/1.1', ...head, 'Connection: close'])
    const text = await raw.end()
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(3)
    expect(text).toMatch(/\r\n\r\nx$/)
  })

  it('takes no stream for whole that was cut', async () => {
    await serving.store.append('cut', 'one ')
    await using raw = await Raw.overTls(serving, ca)
    const token = `Authorization: Bearer ${serving.server.token}`
    raw.send(['GET /v1/kv/cut?follow HTTP/1.0', 'Host: localhost', token])
    await raw.until(/one /)
    await serving.store.put('cut', 'other')
    await raw.end()
    expect(raw.failure).toBe('ECONNRESET')
  })

  it('counts as one connection', async () => {
    await using other = await Serving.start({ tls: certificates.files, connectionsMax: 2 })
    await using first = await Raw.overTls(other, ca)
    await first.send(['GET /healthz HTTP/1.1', 'Host: localhost']).until(/\}$/)
    await using second = await Raw.overTls(other, ca)
    await second.send(['GET /healthz HTTP/1.1', 'Host: localhost']).until(/\}$/)
    first.send(['GET /healthz HTTP/1.1', 'Host: localhost', 'Connection: close'])
    expect((await first.end()).match(/HTTP\/1\.1 200/g)).toHaveLength(2)
  })

  it('is a page of https:// if it is one of ours', async () => {
    const ask = async (origin: string) => {
      await using raw = await Raw.overTls(serving, ca)
      const head = ['GET /healthz HTTP/1.1', 'Host: localhost', 'Connection: close']
      return (await raw.send([...head, `Origin: ${origin}`]).end()).slice(9, 12)
    }
    expect(await ask(serving.url)).toBe('200')
    expect(await ask(serving.url.replace('https', 'http'))).toBe('403')
  })
})

describe('a client that does not trust the certificate', () => {
  it('is told at once what to do', async () => {
    const failed = connect(serving.url, { token: serving.server.token })
    await expect(failed).rejects.toMatchObject({
      code: 'EMISCONFIGURED',
      message: expect.stringMatching(/certificate.*TAILRACE_CA/),
    })
    await using late = await connect(serving.url, { storeId: serving.store.storeId })
    const code = 'EMISCONFIGURED'
    await expect(late.put('a', 'x', { exactlyOnce: true })).rejects.toMatchObject({ code })
    await expect(late.watch('a', { mode: 'value' }).next()).rejects.toMatchObject({ code })
  })

  it.each([
    ['elsewhere', /altnames.*name that its certificate has/],
    ['expired', /expired.*renew/],
  ] as const)('since it is %s', async (name, message) => {
    await using bad = await CertificateDirectory.of(name)
    const bads = new Lines()
    await using other = await Serving.start({ tls: bad.files, log: bads.log })
    await expect(connect(other.url, { ca })).rejects.toMatchObject({
      code: 'EMISCONFIGURED',
      message: expect.stringMatching(message),
    })
    expect(bads.all.filter((line) => /has expired.*renew/.test(line))).toHaveLength(
      name === 'expired' ? 1 : 0,
    )
  })

  it.each([
    ['an address without TLS', (url: string) => url.replace('https', 'http'), ca],
    ['what is no certificate', (url: string) => url, 'nonsense'],
  ] as const)('gives no `ca` for %s', async (_, urlOf, given) => {
    const failed = connect(urlOf(serving.url), { ca: given })
    await expect(failed).rejects.toMatchObject({ code: 'EINVAL' })
  })
})

it('a page cannot name who vouches for a server: its browser does', async () => {
  const failed = connectPage(serving.url, { ca: 'any' })
  await expect(failed).rejects.toMatchObject({ code: 'EINVAL' })
})

describe('who speaks no TLS', () => {
  it('is told so over HTTP, and the log is not', async () => {
    const before = lines.all.length
    const body = 'x'.repeat(300_000)
    const put = `PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    expect(refusalIn(await plain(serving, put.slice(0, 200)))).toBe('400 EMISCONFIGURED')
    expect(await plain(serving, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')).toMatch(/https:\/\//)
    await plain(serving, put)
    for (const text of ['BREW / HTTP/1.1\r\n\r\n', '\x16\x03\x01', '\0'.repeat(100)]) {
      const socket = plain(serving, text)
      if (text.length > 3) expect(await socket).not.toMatch(/200/)
    }
    const failed = connect(serving.url.replace('https', 'http'))
    await expect(failed).rejects.toMatchObject({
      code: 'EMISCONFIGURED',
      message: expect.stringContaining('https://'),
    })
    expect(lines.all).toHaveLength(before)
  })

  it('has a bounded time for the handshake', async () => {
    const tls = { ...certificates.files, handshakeMs: 150 }
    await using other = await Serving.start({ tls })
    const silent = connectTcp(portOf(other), '127.0.0.1')
    const slow = connectTcp(portOf(other), '127.0.0.1')
    slow.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0]))
    await Promise.all([once(silent, 'close'), once(slow, 'close')])
    await using store = await connect(other.url, { token: other.server.token, ca })
    await store.put('a', 'x') // others go on
  })

  it('takes few places, and none from who does', async () => {
    await using other = await Serving.start({ tls: certificates.files, connectionsMax: 8 })
    const all = deferred<void>()
    let ended = 0
    // Of eight connections two may be in their handshake.
    for (let count = 0; count < 8; count++) {
      const socket = connectTcp(portOf(other), '127.0.0.1')
      socket.once('close', () => {
        if (++ended === 6) all.resolve()
      })
    }
    await all.promise
    await using store = await connect(other.url, { token: other.server.token, ca })
    await store.put('a', 'x')
  })
})

describe('a new certificate', () => {
  it('is for new connections, and an open watch goes on', async () => {
    await using files = await CertificateDirectory.of('server')
    const log = new Lines()
    await using other = await Serving.start({ tls: files.files, log: log.log })
    await using store = await connect(other.url, { token: other.server.token, ca })
    await store.append('log', 'one')
    const watched = store.watch('log', { mode: 'append' })
    expect(await nextText(watched)).toBe('one')
    let lost = 0
    void (async () => {
      for await (const { online } of store.connection.changes()) if (!online) lost++
    })()
    expect(await yearOf(other)).toBe(years.server)
    // Half of the pair: the certificate does not fit the key that is there.
    await files.putCert('other')
    expect(await log.until(/of before stays in use/)).toContain(files.files.keyFile)
    expect(await yearOf(other)).toBe(years.server)
    await files.putKey('other')
    expect(await log.until(/was read again/)).toContain(years.other)
    expect(await yearOf(other)).toBe(years.other)
    await other.store.append('log', 'two')
    expect(await nextText(watched)).toBe('two')
    expect(lost).toBe(0)
    expect(log.all).toHaveLength(2)
  })

  it.each([
    ['two weeks before its end', expiryWarningMs, [/ expires 2126-01-01/]],
    ['a little before that', expiryWarningMs + 1, []],
    ['at its end', 0, [/ has expired 2126-01-01/]],
  ])('is told to be renewed: %s', async (_, before, told) => {
    await using files = await CertificateDirectory.of('server')
    const log = new Lines()
    const now = () => Date.UTC(2126, 0) - before
    const environment = { ...systemEnvironment, now }
    using _open = await Certificate.open(files.files, {
      ...{ environment, log: log.log },
      replaced: () => {},
    })
    expect(log.all).toEqual(told.map((line) => expect.stringMatching(line)))
  })

  it('may come by another link, as in Kubernetes', async () => {
    await using made = await CertificateDirectory.of('server')
    const at = (name: string) => join(made.directory, name)
    for (const name of ['server', 'other']) {
      await mkdir(at(name))
      await writeFile(join(at(name), 'cert.pem'), await pem(`${name}.pem`))
      await writeFile(join(at(name), 'key.pem'), await pem(`${name}-key.pem`), { mode: 0o600 })
    }
    await symlink('server', at('..data'))
    for (const file of ['cert.pem', 'key.pem']) {
      await rm(at(file))
      await symlink(`..data/${file}`, at(file))
    }
    const log = new Lines()
    await using other = await Serving.start({ tls: made.files, log: log.log })
    await symlink('other', at('..new'))
    await rename(at('..new'), at('..data'))
    await log.until(/was read again/)
    expect(await yearOf(other)).toBe(years.other)
  })
})

describe('no server starts with', () => {
  const start = async (change: (files: CertificateDirectory) => Promise<void>) => {
    await using files = await CertificateDirectory.of('server')
    await change(files)
    await Serving.start({ tls: files.files })
  }

  it.each<readonly [string, string, (files: CertificateDirectory) => Promise<void>, RegExp]>([
    ['no certificate', 'EMISCONFIGURED', (to) => rm(to.files.certFile), /cert\.pem cannot be read/],
    ['no key', 'EMISCONFIGURED', (to) => rm(to.files.keyFile), /key\.pem cannot be read/],
    ['no PEM', 'EMISCONFIGURED', (to) => to.put('cert.pem', 'x'), /cert\.pem has no certificate/],
    [
      'no key in PEM',
      'EMISCONFIGURED',
      (to) => to.put('key.pem', 'x'),
      /key\.pem has no private key/,
    ],
    [
      'another key',
      'EMISCONFIGURED',
      (to) => to.putKey('other'),
      /key\.pem is not that of.*cert\.pem/,
    ],
    [
      'a key that others read',
      'EPERM',
      async (to) => to.put('key.pem', await pem('server-key.pem'), 0o644),
      /key\.pem.*chmod 600/,
    ],
  ])('%s', async (_, code, change, message) => {
    const failure = { code, message: expect.stringMatching(message) }
    await expect(start(change)).rejects.toMatchObject(failure)
  })

  it('TLS for an address that others reach is not refused, and all say https', async () => {
    await using other = await Serving.start({ tls: certificates.files, listen: ['0.0.0.0:0'] })
    const url = `https://localhost:${portOf(other)}`
    await using store = await connect(url, { token: other.server.token, ca })
    await store.put('a', 'x')
    const record = await readServerRecord(other.directory)
    const urls = [`https://0.0.0.0:${portOf(other)}`]
    expect(record).toMatchObject({ listen: [`0.0.0.0:${portOf(other)}`], urls })
    const asked = request(`${url}/v1/status`, {
      ca,
      headers: { authorization: `Bearer ${other.server.token}` },
    }).end()
    const [answer] = await once(asked, 'response')
    let text = ''
    for await (const piece of answer) text += piece
    expect(JSON.parse(text)).toMatchObject({ urls })
  })
})
