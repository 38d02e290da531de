/** `/v1/kv`: put, get, append, delete, over TCP and over the Unix socket, as curl would. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { expectError, Serving } from './serving.js'

let serving: Serving
const ref = expect.stringMatching(/^blake3-[0-9a-f]{64}$/)

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

describe('PUT and GET', () => {
  it.each([0, 1, 256, 257, blobSizeMax, blobSizeMax + 1, 3 * blobSizeMax + 5])(
    'bring %i bytes there and back',
    async (size) => {
      const body = randomBytes(size)
      const put = await serving.ask('PUT', `/v1/kv/sizes/${size}`, { body })
      expect(put.status).toBe(200)
      expect(put.json).toEqual({ seq: expect.any(Number), ref, result: { ref } })
      const { result, seq } = put.json as { seq: number; result: { ref: string } }
      expect(put.headers.etag).toBe(`"${result.ref}"`)

      const got = await serving.ask('GET', `/v1/kv/sizes/${size}`)
      expect(got.status).toBe(200)
      expect(got.body.equals(body)).toBe(true)
      expect(got.headers).toMatchObject({
        etag: `"${result.ref}"`,
        'tailrace-seq': String(seq),
        'tailrace-count': String(Math.max(1, Math.ceil(size / blobSizeMax))),
        'content-type': 'application/octet-stream',
        'content-length': String(size),
      })

      const head = await serving.ask('HEAD', `/v1/kv/sizes/${size}`)
      expect(head.status).toBe(200)
      expect(head.body.length).toBe(0)
      for (const name of [
        'etag',
        'tailrace-seq',
        'tailrace-count',
        'content-type',
        'content-length',
      ]) {
        expect(head.headers[name], name).toBe(got.headers[name])
      }
    },
  )

  it('name any key that is percent-encoded', async () => {
    const component = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter(usable)
    const keys = fc.array(component, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'))
    await fc.assert(
      fc.asyncProperty(keys, async (key) => {
        const path = `/v1/kv/${encodeURIComponent(key)}`
        expect((await serving.askLocally('PUT', `${path}?ns=primary`, { body: key })).status).toBe(
          200,
        )
        expect(await serving.store.get(key)).toEqual(Buffer.from(key))
        expect((await serving.askLocally('GET', path)).body.toString()).toBe(key)
        await serving.store.commit({
          ops: [{ op: 'unlink', key: key.split('/')[0] ?? '', recursive: true }],
        })
      }),
      { numRuns: 25 },
    )
  })

  it.each([
    ['%00', 'NUL'],
    ['a/../b', 'component'],
    ['%2e', 'component'],
    ['x'.repeat(256), '255'],
    ['%ff', ''],
    ['%zz', ''],
  ])('refuse the key %s', async (key, message) => {
    for (const method of ['GET', 'PUT', 'POST']) {
      const body = method === 'GET' ? undefined : 'x'
      const answer = await serving.askLocally(method, `/v1/kv/${key}`, { body })
      expectError(answer, 400, 'EINVAL', new RegExp(message))
    }
  })

  it('answer ENOENT, EISDIR, ENOTDIR, ENONS', async () => {
    await serving.ask('PUT', '/v1/kv/dir/value', { body: 'x' })
    expectError(await serving.ask('GET', '/v1/kv/nothing'), 404, 'ENOENT', /"nothing"/)
    expectError(await serving.ask('GET', '/v1/kv/dir'), 409, 'EISDIR')
    expectError(await serving.ask('PUT', '/v1/kv/dir', { body: 'x' }), 409, 'EISDIR')
    expectError(await serving.ask('PUT', '/v1/kv/dir/value/x', { body: 'x' }), 409, 'ENOTDIR')
    expectError(await serving.ask('GET', '/v1/kv/a?ns=none'), 404, 'ENONS')
    expectError(await serving.ask('PUT', '/v1/kv/a?ns=none', { body: 'x' }), 404, 'ENONS')
    for (const [path, status, code] of [
      ['nothing', 404, 'ENOENT'],
      ['dir', 409, 'EISDIR'],
    ] as const) {
      const head = await serving.ask('HEAD', `/v1/kv/${path}`)
      expect([head.status, head.headers['tailrace-error'], head.body.length]).toEqual([
        status,
        code,
        0,
      ])
    }
  })

  it('keep a content type that says something', async () => {
    for (const [sent, kept] of [
      ['text/plain; charset=utf-8', 'text/plain; charset=utf-8'],
      ['application/json', 'application/json'],
      ['application/octet-stream', 'application/octet-stream'],
      ['application/x-www-form-urlencoded', 'application/octet-stream'],
    ] as const) {
      await serving.ask('PUT', '/v1/kv/typed', { body: '{', headers: { 'content-type': sent } })
      const got = await serving.ask('GET', '/v1/kv/typed')
      expect(got.headers['content-type']).toBe(kept)
      expect(got.headers['x-content-type-options']).toBe('nosniff')
      expect(got.body.toString()).toBe('{')
    }
  })

  it('hold their conditions', async () => {
    const path = '/v1/kv/conditional'
    const none = { 'if-none-match': '*' }
    const first = await serving.ask('PUT', path, { body: '1', headers: none })
    expect(first.status).toBe(200)
    const again = await serving.ask('PUT', path, { body: '2', headers: none })
    expect(again.status).toBe(409)
    expect(again.json).toMatchObject({ error: { code: 'ECONFLICT', failed: { guard: 0 } } })
    const match = { 'if-match': String(first.headers.etag) }
    expect((await serving.ask('PUT', path, { body: '3', headers: match })).status).toBe(200)
    expect((await serving.ask('PUT', path, { body: '4', headers: match })).status).toBe(409)
    expect((await serving.ask('POST', path, { body: '4', headers: match })).status).toBe(409)
    expect((await serving.ask('DELETE', path, { headers: match })).status).toBe(409)
    expect((await serving.ask('GET', path)).body.toString()).toBe('3')
    for (const headers of [{ 'if-match': 'bare' }, { 'if-none-match': '"a",' }]) {
      expectError(await serving.ask('PUT', path, { body: '5', headers }), 400, 'EINVAL', /If-/)
    }
  })

  it('read one blob, or from a byte on, or an older root', async () => {
    const put = await serving.ask('POST', '/v1/kv/parts', { body: 'aaa' })
    await serving.ask('POST', '/v1/kv/parts', { body: 'bb' })
    const { seq } = put.json as { seq: number }
    const read = async (query: string) => {
      const answer = await serving.ask('GET', `/v1/kv/parts?${query}`)
      expect(Number(answer.headers['content-length'])).toBe(answer.body.length)
      return answer.body.toString()
    }
    expect(await read('index=0')).toBe('aaa')
    expect(await read('index=1')).toBe('bb')
    expect(await read('from=2')).toBe('abb')
    expect(await read(`at=${seq}`)).toBe('aaa')
    expect(await read(`minSeq=${seq}`)).toBe('aaabb')
    expectError(await serving.ask('GET', '/v1/kv/parts?index=2'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/kv/parts?at=999999'), 400, 'EINVAL')
  })

  it('stream from a byte on, above one blob', async () => {
    const body = randomBytes(3 * blobSizeMax)
    await serving.ask('PUT', '/v1/kv/long', { body })
    const got = await serving.ask('GET', `/v1/kv/long?from=${blobSizeMax - 1}`)
    expect(got.headers['content-length']).toBe(String(2 * blobSizeMax + 1))
    expect(got.body.equals(body.subarray(blobSizeMax - 1))).toBe(true)
  })

  it('refuse parameters that mean nothing', async () => {
    for (const query of [
      'folow=true',
      'at=x',
      'at=1.5',
      'at=',
      'at=1&at=2',
      'follow=yes',
      'index=0&from=0',
      'at=0&waitCreate',
      'at=0&follow',
      'ns=a&namespace=a',
      'ns=a&ns=b',
    ]) {
      expectError(await serving.ask('GET', `/v1/kv/parts?${query}`), 400, 'EINVAL')
    }
    expectError(await serving.ask('PUT', '/v1/kv/parts?seal', { body: 'x' }), 400, 'EINVAL', /seal/)
  })

  it('?waitCreate answers once the key is there', async () => {
    const waiting = serving.ask('GET', '/v1/kv/later?waitCreate=true')
    await serving.ask('PUT', '/v1/kv/later', { body: 'now' })
    expect((await waiting).body.toString()).toBe('now')
  })

  it('?minSeq answers once the namespace is there', async () => {
    const { seq } = await serving.store.root()
    const waiting = serving.ask('GET', `/v1/kv/counted?minSeq=${seq + 1}`)
    await serving.ask('PUT', '/v1/kv/counted', { body: 'x' })
    expect((await waiting).body.toString()).toBe('x')
  })
})

describe('POST and DELETE', () => {
  it('append, seal, and remove', async () => {
    const post = await serving.ask('POST', '/v1/kv/log', { body: 'one' })
    expect(post.json).toEqual({ seq: expect.any(Number), ref, result: { index: 0, count: 1 } })
    const second = await serving.ask('POST', '/v1/kv/log?seal=true', { body: '' })
    expect(second.json).toMatchObject({ result: { index: 1, count: 2 } })
    expectError(await serving.ask('POST', '/v1/kv/log', { body: 'x' }), 409, 'ESEALED')
    const gone = await serving.ask('DELETE', '/v1/kv/log')
    expect(gone.json).toEqual({ seq: expect.any(Number), ref, result: {} })
    expectError(await serving.ask('DELETE', '/v1/kv/log'), 404, 'ENOENT')
  })

  it('remove a directory only when asked to', async () => {
    await serving.ask('PUT', '/v1/kv/full/a', { body: 'x' })
    expectError(await serving.ask('DELETE', '/v1/kv/full'), 409, 'ENOTEMPTY')
    expect((await serving.ask('DELETE', '/v1/kv/full?recursive')).status).toBe(200)
    expectError(await serving.ask('GET', '/v1/kv/full/a'), 404, 'ENOENT')
  })

  it.each(['jobs', 'cache', 'flows', 'system'])('refuse the namespace %s', async (name) => {
    for (const method of ['PUT', 'POST', 'DELETE']) {
      const answer = await serving.ask(method, `/v1/kv/a?namespace=${name}`, { body: 'x' })
      expectError(answer, 403, 'EPERM', /reserved/)
    }
    expectError(await serving.ask('GET', `/v1/kv/a?namespace=${name}`), 404, 'ENOENT')
  })
})

describe('as curl does it', () => {
  it('a chunked PUT is one value', async () => {
    const request = httpRequest({
      socketPath: serving.server.socket,
      method: 'PUT',
      path: '/v1/kv/chunked',
    })
    for (const part of ['a', 'bc', 'def']) request.write(part)
    request.end()
    const [response] = await once(request, 'response')
    expect(response.statusCode).toBe(200)
    response.resume()
    expect(await serving.store.get('chunked')).toEqual(Buffer.from('abcdef'))
  })

  it('Expect: 100-continue is answered before the body', async () => {
    const headers = { expect: '100-continue', 'content-length': '5' }
    const request = httpRequest({
      socketPath: serving.server.socket,
      method: 'PUT',
      path: '/v1/kv/expected',
      headers,
    })
    request.flushHeaders()
    await once(request, 'continue')
    request.end('hello')
    const [response] = await once(request, 'response')
    response.resume()
    expect(response.statusCode).toBe(200)
    expect(await serving.store.get('expected')).toEqual(Buffer.from('hello'))
  })

  it.each([
    ['with a length', 'Content-Length: 1000000\r\n', 'x'.repeat(1000)],
    ['with a small length', 'Content-Length: 100\r\n', 'xx'],
    [
      'in chunks',
      'Transfer-Encoding: chunked\r\n',
      `${(300_000).toString(16)}\r\n${'x'.repeat(300_000)}\r\n5\r\nxx`,
    ],
  ])('a PUT that is cut, %s, leaves the old value', async (_, header, body) => {
    await serving.ask('PUT', '/v1/kv/cut', { body: 'old' })
    const { seq } = await serving.store.root()
    const socket = connect(serving.server.socket)
    socket.write(`PUT /v1/kv/cut HTTP/1.1\r\nHost: x\r\n${header}\r\n${body}`, () =>
      socket.destroy(),
    )
    await once(socket, 'close')
    await serving.ask('PUT', '/v1/kv/after', { body: 'x' })
    expect((await serving.store.root()).seq).toBe(seq + 1)
    expect((await serving.ask('GET', '/v1/kv/cut')).body.toString()).toBe('old')
    expect(serving.log).toEqual([])
  })
})

function usable(component: string): boolean {
  return (
    component !== '.' && component !== '..' && !/[/\0]/.test(component) && component.isWellFormed()
  )
}
