/** What comes before the routes: upgrades, requests that cannot be read, strangers, bodies that stand still,
 *  and the end of every connection. */

import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { deferred } from '../../src/base/deferred.js'
import { readServerRecord } from '../../src/local/directory.js'
import { accessOf } from '../../src/server/access.js'
import { Activity } from '../../src/server/activity.js'
import { authFrameSizeMax, strangerSizeMax } from '../../src/server/connection.js'
import { Front } from '../../src/server/front.js'
import { strangersPipelinedMax } from '../../src/server/judge.js'
import { Meters } from '../../src/server/meters.js'
import { strangerRest } from '../../src/server/refusal.js'
import { subprotocolJson } from '../../src/wire/frames.js'
import { noPrincipals } from './principals.js'
import { Raw, refusalIn } from './raw.js'
import { Serving } from './serving.js'

const websocket = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  `Sec-WebSocket-Protocol: ${subprotocolJson}`,
]

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

it('an upgrade behind a request is answered after it', async () => {
  const { seq } = await serving.store.root()
  await using raw = await Raw.overSocket(serving)
  raw.send([`GET /v1/root?waitSeq=${seq + 1} HTTP/1.1`, 'Host: x'])
  raw.send(['GET /v1/ws HTTP/1.1', 'Host: x', ...websocket])
  expect((await serving.askLocally('GET', '/v1/root')).status).toBe(200)
  await serving.store.put('behind', '1')
  expect(await raw.until(/HTTP\/1.1 101/)).toMatch(/^HTTP\/1.1 200 .*}HTTP\/1.1 101 /s)
})

describe('an offer to upgrade that is not ours', () => {
  const offer = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk']

  it.each([
    ['GET', [], '', /^HTTP\/1\.1 200 .*\r\n\r\nvalue$/s],
    ['PUT', ['Content-Length: 5'], 'value', /^HTTP\/1\.1 200 /],
    ['PUT', ['Transfer-Encoding: chunked'], '5\r\nvalue\r\n0\r\n\r\n', /^HTTP\/1\.1 200 /],
    ['POST', ['Content-Length: 0'], '', /^HTTP\/1\.1 200 /],
    ['DELETE', [], '', /^HTTP\/1\.1 200 /],
    ['HEAD', [], '', /^HTTP\/1\.1 200 /],
  ])('is ignored: %s %j', async (method, headers, body, answer) => {
    await serving.store.put('offered', 'value')
    await using raw = await Raw.overSocket(serving)
    raw.send([`${method} /v1/kv/offered HTTP/1.1`, 'Host: x', ...offer, ...headers], body)
    expect(await raw.end()).toMatch(answer)
    if (method === 'PUT')
      expect((await serving.ask('GET', '/v1/kv/offered')).body.toString()).toBe('value')
  })

  it.each([
    ['a websocket elsewhere', 'GET /v1/kv/offered HTTP/1.1', websocket, '200'],
    ['a websocket by POST', 'POST /v1/ws HTTP/1.1', websocket, '404'],
    [
      'one of several protocols',
      'GET /v1/ws HTTP/1.1',
      ['Connection: Upgrade', 'Upgrade: h2c, x'],
      '400',
    ],
    ['one without a key', 'GET /v1/ws HTTP/1.1', websocket.toSpliced(3, 1), '400'],
    [
      'one of an old version',
      'GET /v1/ws HTTP/1.1',
      websocket.with(2, 'Sec-WebSocket-Version: 8'),
      '400',
    ],
    [
      'one with a broken list',
      'GET /v1/ws HTTP/1.1',
      websocket.with(4, 'Sec-WebSocket-Protocol: ,'),
      '400',
    ],
  ])('%s is answered and closed', async (_, line, headers, status) => {
    await serving.store.put('offered', 'value')
    await using raw = await Raw.overSocket(serving)
    expect(await raw.send([line, 'Host: x', ...headers]).end()).toMatch(`HTTP/1.1 ${status} `)
    if (status !== '200') expect(raw.text).toMatch(/"code":"(EINVAL|ENOENT)"/)
  })
})

describe('of a connection without a token', () => {
  /** Sends at once, and returns the paths of the requests that the server has read, and the answers. */
  async function readOf(
    requests: string,
  ): Promise<{ readonly read: string[]; readonly text: string }> {
    const read: string[] = []
    const route: RequestListener = (_request, response) => response.end()
    const access = accessOf({ addresses: [], scheme: 'http', allowHosts: [], allowOrigins: [] })
    const { server } = new Front(
      {
        ...{ activity: new Activity(() => 0), access: () => access },
        ...{ principals: noPrincipals, needsToken: true, meters: new Meters(() => 0) },
      },
      route,
    )
    server.on('request', ({ url = '' }) => read.push(url))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece
    })
    socket.on('error', () => {}).write(requests)
    await once(socket, 'close')
    server.close()
    return { read, text }
  }
  const head = (line: string, ...headers: readonly string[]) =>
    [`${line} HTTP/1.1`, 'Host: localhost', ...headers, '', ''].join('\r\n')

  it('nothing is parsed behind the head of a request that is refused', async () => {
    const asks = head('GET /healthz').repeat(1_000)
    for (const refused of [head('GET /v1/kv/a'), head('PUT /v1/kv/a', 'Content-Length: 5')]) {
      const { read, text } = await readOf(refused + asks)
      expect(read).toEqual([])
      expect(text.match(/HTTP\/1\.1 401/g)).toHaveLength(1)
    }
  })

  it('requests that need none are read up to a bound', async () => {
    const { read } = await readOf(head('GET /healthz').repeat(1_000))
    expect(read.length).toBeGreaterThan(0)
    expect(read.length).toBeLessThanOrEqual(strangersPipelinedMax)
  })
})

describe('before anybody is admitted', () => {
  const places = ['/v1/%ff', '/v1/kv/%ff', '/v1/ws', `/v1/jobs/${'x'.repeat(2_000)}`, '/nothing']

  it.each(places)('Host, Origin and token come before the path %s', async (path) => {
    for (const upgrade of [[], websocket]) {
      const ask = async (...headers: string[]) => {
        await using raw = await Raw.overTcp(serving)
        return refusalIn(
          await raw.send([`GET ${path} HTTP/1.1`, ...headers, ...upgrade]).until(/\}\}$/),
        )
      }
      const wrong = 'Authorization: Bearer wrong'
      expect(await ask('Host: evil.example', wrong)).toBe('403 EPERM')
      expect(await ask('Host: localhost', 'Origin: http://evil.example', wrong)).toBe('403 EPERM')
      expect(await ask('Host: localhost', wrong)).toBe('401 EUNAUTH')
      expect(await ask('Host: localhost', 'Host: localhost', wrong)).toBe('400 EINVAL')
    }
  })

  it('leaves no socket and no request behind, and the server stops', async () => {
    await using other = await Serving.start()
    const raws: Raw[] = []
    for (const path of places) {
      const raw = await Raw.overSocket(other)
      raws.push(
        raw.send([`GET ${path} HTTP/1.1`, 'Host: x', 'Origin: http://evil.example', ...websocket]),
      )
    }
    for (const raw of raws) {
      expect(refusalIn(await raw.end())).toBe('403 EPERM')
    }
    await other.server.stop()
    expect(await readServerRecord(other.directory)).toBeUndefined()
  })

  it('a body is not waited for: 401 at once, and the connection ends', async () => {
    await using raw = await Raw.overTcp(serving)
    raw.send(['PUT /v1/kv/a HTTP/1.1', 'Host: localhost', 'Content-Length: 1000'], 'half')
    expect(refusalIn(await raw.until(/\}\}$/))).toBe('401 EUNAUTH')
    expect(await raw.end()).toMatch(/\r\nconnection: close\r\n/i)
  })

  it('behind answers that are due a refusal comes in its order, and nothing after it', async () => {
    await serving.store.put('due', 'value')
    await using raw = await Raw.overTcp(serving)
    const token = `Authorization: Bearer ${serving.server.token}`
    const get = ['GET /v1/kv/due HTTP/1.1', 'Host: localhost', token, '', ''].join('\r\n')
    const put = ['PUT /v1/kv/due HTTP/1.1', 'Host: localhost', 'Content-Length: 5']
    raw.send([get + get + put[0], ...put.slice(1)], `wrong${get}`)
    const text = await raw.end()
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 401'])
    expect(raw.failure).toBeUndefined()
  })

  it.each([
    ['GET', /\{"error":.*\}$/],
    ['HEAD', /\r\n\r\n$/],
    ['CONNECT', /\{"error":.*\}$/],
  ])('%s is answered', async (method, body) => {
    await using raw = await Raw.overTcp(serving)
    const text = await raw.send([`${method} /v1/kv/a HTTP/1.1`, 'Host: localhost']).end()
    expect(text).toMatch(/^HTTP\/1\.1 401 EUNAUTH\r\n/)
    expect(text).toMatch(body)
  })

  it('a page that may use the server reads why it is refused', async () => {
    await using raw = await Raw.overTcp(serving)
    const [place = ''] = serving.server.listen
    const origin = `Origin: http://${place}`
    const text = await raw.send(['GET /v1/kv/a HTTP/1.1', 'Host: localhost', origin]).end()
    expect(text).toContain(`access-control-allow-origin: http://${place}\r\n`)
  })

  it('what needs no token takes no body without it', async () => {
    await using raw = await Raw.overTcp(serving)
    raw.send(['GET /healthz HTTP/1.1', 'Host: localhost', 'Transfer-Encoding: chunked'])
    expect(refusalIn(await raw.end())).toBe('401 EUNAUTH')
  })

  it('no body is asked for with 100', async () => {
    await using raw = await Raw.overTcp(serving)
    raw.send([
      'PUT /v1/kv/a HTTP/1.1',
      'Host: localhost',
      'Content-Length: 9',
      'Expect: 100-continue',
    ])
    expect(refusalIn(await raw.end())).toBe('401 EUNAUTH')
  })

  it('of a body at most a bound is read', async () => {
    await using raw = await Raw.overTcp(serving)
    const size = 64 * strangerRest.size
    raw.send(['PUT /v1/kv/a HTTP/1.1', 'Host: localhost', `Content-Length: ${size}`])
    const piece = Buffer.alloc(64 * 1024)
    let sent = 0
    for (; sent < size && !raw.socket.destroyed; sent += piece.length) {
      if (raw.socket.write(piece)) continue
      await Promise.race([once(raw.socket, 'drain'), once(raw.socket, 'close')]).catch(() => {})
    }
    await raw.end()
    // The kernel holds some MiB on both sides.
    expect(raw.socket.bytesWritten).toBeLessThan(size / 2)
  })

  it.each([
    ['a large frame', '['.repeat(authFrameSizeMax + 1)],
    ['what cannot be read', 'auth'],
    ['a deep frame', '['.repeat(authFrameSizeMax)],
  ])('%s on a websocket is refused', async (_, frame) => {
    const socket = new WebSocket(`ws://${serving.server.listen[0]}/v1/ws`, [subprotocolJson])
    await once(socket, 'open')
    socket.send(frame)
    // Behind the refusal nothing is read.
    socket.send(JSON.stringify({ id: 1, op: 'auth', token: serving.server.token }))
    const messages: string[] = []
    socket.on('message', (message) => messages.push(String(message)))
    const [code] = await once(socket, 'close')
    expect(code).toBe(1008)
    expect(messages).toEqual([expect.stringContaining('EUNAUTH')])
  })

  it('more bytes than a token needs end a websocket, whatever they are', async () => {
    const socket = new WebSocket(`ws://${serving.server.listen[0]}/v1/ws`, [subprotocolJson])
    await once(socket, 'open')
    // The head of a frame of 16 MiB, and its first bytes: no message is whole.
    socket.on('error', () => {})
    const closed = deferred<number>()
    socket.once('close', closed.resolve)
    for (let sent = 0; sent <= strangerSizeMax; sent += 100) {
      socket.send('x'.repeat(100), { fin: false })
    }
    expect(await closed.promise).toBe(1006)
  })
})

describe('a request that cannot be read', () => {
  it.each([
    ['no request', ['nonsense'], '400 EINVAL'],
    ['a method that is none', ['BREW /v1/kv/a HTTP/1.1', 'Host: x'], '400 EINVAL'],
    [
      'a method that no route has',
      ['PROPFIND /v1/kv/a HTTP/1.1', 'Host: x', 'Connection: close'],
      '404 ENOENT',
    ],
    ['CONNECT', ['CONNECT x:1 HTTP/1.1', 'Host: x'], '400 EINVAL'],
    ['HTTP/2 without asking', ['PRI * HTTP/2.0', '', 'SM'], '400 EINVAL'],
    ['a header of 20 KB', ['GET / HTTP/1.1', `X: ${'x'.repeat(20_000)}`], '431 E2BIG'],
    ['a path of 20 KB', [`GET /${'x'.repeat(20_000)} HTTP/1.1`], '431 E2BIG'],
    ['no Host', ['GET /v1/kv/a HTTP/1.1', 'Connection: close'], '400 EINVAL'],
    [
      'two Hosts',
      ['GET /v1/kv/a HTTP/1.1', 'Host: x', 'Host: x', 'Connection: close'],
      '400 EINVAL',
    ],
    [
      'a path that is not UTF-8',
      ['GET /v1/kv/%ff HTTP/1.1', 'Host: x', 'Connection: close'],
      '400 EINVAL',
    ],
    [
      'another expectation',
      ['PUT /v1/kv/a HTTP/1.1', 'Host: x', 'Expect: 200-ok', 'Connection: close'],
      '417 EINVAL',
    ],
    [
      'two lengths',
      ['PUT /v1/kv/a HTTP/1.1', 'Host: x', 'Content-Length: 1', 'Content-Length: 2'],
      '400 EINVAL',
    ],
    [
      'both framings',
      ['PUT /v1/kv/a HTTP/1.1', 'Host: x', 'Content-Length: 1', 'Transfer-Encoding: chunked'],
      '400 EINVAL',
    ],
  ])('%s: an envelope', async (_, lines, refusal) => {
    await using raw = await Raw.overSocket(serving)
    const text = await raw.send(lines).end()
    expect(refusalIn(text)).toBe(refusal)
    expect(text).toMatch(/\r\ncontent-type: application\/json/i)
    expect(text).toMatch(/\r\nx-content-type-options: nosniff/i)
    expect(text).toMatch(/\r\ncache-control: no-store/i)
  })

  it('a chunk that is none: an envelope, and nothing is stored', async () => {
    await using raw = await Raw.overSocket(serving)
    const lines = ['PUT /v1/kv/chunks HTTP/1.1', 'Host: x', 'Transfer-Encoding: chunked']
    raw.send(lines, '3\r\nabc\r\nxyz\r\n')
    expect(refusalIn(await raw.end())).toBe('400 EINVAL')
    expect((await serving.ask('GET', '/v1/kv/chunks')).status).toBe(404)
  })

  it('behind an answer that has begun nothing is written into it', async () => {
    await serving.store.append('begun', 'x')
    await using raw = await Raw.overSocket(serving)
    raw.send(['GET /v1/kv/begun?follow HTTP/1.1', 'Host: x'])
    await raw.until(/\r\nx\r\n$/)
    raw.send(['nonsense'])
    expect(await raw.end()).not.toMatch(/EINVAL/)
  })
})

describe('a body that stands still', () => {
  const framings = [
    ['with a length', 'Content-Length: 300000'],
    ['small, with a length', 'Content-Length: 30'],
    ['in chunks', 'Transfer-Encoding: chunked'],
  ] as const

  it.each(framings)('(%s) is 408, and nothing is stored', async (_, framing) => {
    await using other = await Serving.start({ bodyStallMs: 200 })
    for (const [method, path] of [
      ['PUT', '/v1/kv/stalled'],
      ['POST', '/v1/kv/stalled'],
      ['POST', '/v1/txn'],
    ]) {
      await using raw = await Raw.overSocket(other)
      raw.send([`${method} ${path} HTTP/1.1`, 'Host: x', framing], '5\r\nabcde\r\n')
      expect(refusalIn(await raw.end())).toBe('408 ETIMEDOUT')
      expect(raw.text).toMatch(/\r\nconnection: close\r\n/i)
    }
    expect((await other.ask('GET', '/v1/kv/stalled')).status).toBe(404)
  })

  it('is no body that is slow', async () => {
    await using other = await Serving.start({ bodyStallMs: 1_500 })
    await using raw = await Raw.overSocket(other)
    const started = performance.now()
    raw.send(['PUT /v1/kv/slow HTTP/1.1', 'Host: x', 'Transfer-Encoding: chunked'])
    let count = 0
    while (performance.now() - started < 2_000) {
      raw.socket.write('1\r\nx\r\n')
      count++
      await other.askLocally('GET', '/healthz')
    }
    raw.socket.write('0\r\n\r\n')
    await raw.until(/"seq":1/)
    expect((await other.ask('GET', '/v1/kv/slow')).body.length).toBe(count)
  })
})

describe('the end of a server', () => {
  it('is not waited for by who asked nothing, half, or does not read', async () => {
    const other = await Serving.start()
    await other.store.put('large', Buffer.alloc(8_000_000))
    const silent = await Raw.overSocket(other)
    const half = (await Raw.overSocket(other)).send([
      'PUT /v1/kv/a HTTP/1.1',
      'Host: x',
      'Content-Length: 9',
    ])
    const deaf = connect(other.server.socket)
    deaf.on('error', () => {})
    deaf.pause()
    deaf.write('GET /v1/kv/large HTTP/1.1\r\nHost: x\r\n\r\n')
    await other.askLocally('GET', '/healthz')
    await other.server.stop()
    await silent.end()
    await half.end()
    deaf.destroy()
    await other[Symbol.asyncDispose]()
  })

  it('keeps its record until its connections have ended', async () => {
    await using other = await Serving.start()
    const raw = await Raw.overSocket(other)
    const closed = once(raw.socket, 'close')
    const stopped = other.server.stop()
    const first = await Promise.race([stopped.then(() => 'stopped'), closed.then(() => 'closed')])
    expect(first).toBe('closed')
    await stopped
    expect(await readServerRecord(other.directory)).toBeUndefined()
  })
})

describe('a place that is named twice', () => {
  const ask = async (target: string, headers: readonly string[]) => {
    await using raw = await Raw.overTcp(serving)
    raw.send([`GET ${target} HTTP/1.1`, ...headers, 'Connection: close'])
    return refusalIn(await raw.end())
  }
  const host = 'Host: localhost'

  it('in an absolute target counts, whatever the Host header says', async () => {
    const authorization = `Authorization: Bearer ${serving.server.token}`
    const missing = '/v1/kv/not-there'
    expect(await ask(`http://evil.example${missing}`, [host, authorization])).toBe('403 EPERM')
    const user = `http://localhost@evil.example${missing}`
    expect(await ask(user, [host, authorization])).toBe('403 EPERM')
    expect(await ask(`http://localhost:1${missing}`, [host, authorization])).toBe('404 ENOENT')
  })

  it('by two Host or two Authorization headers is EINVAL', async () => {
    const authorization = `Authorization: Bearer ${serving.server.token}`
    expect(await ask('/healthz', [host, host])).toBe('400 EINVAL')
    const other = 'authorization: Bearer x'
    expect(await ask('/v1/status', [host, authorization, other])).toBe('400 EINVAL')
  })
})
