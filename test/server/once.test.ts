/** Writes that are done once, over HTTP and over the websocket: rfc/12, rule 20. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Peer } from './peer.js'
import { expectError, Serving } from './serving.js'

let serving: Serving
beforeAll(async () => {
  serving = await Serving.start({ allowOrigins: ['https://page.example'] })
})
afterAll(() => serving[Symbol.asyncDispose]())

/** As curl sends it: the bytes as they are. */
const utf8 = (text: string) => Buffer.from(text).toString('latin1')
const key = (name: string) => ({ 'idempotency-key': utf8(name) })
const seqOf = async () => (await serving.store.root()).seq

describe('Idempotency-Key', () => {
  it('on POST /v1/txn', async () => {
    const body = JSON.stringify({ ops: [{ op: 'append', key: 'txn/log', value: 'x' }] })
    const post = (headers: Record<string, string>, sent = body) =>
      serving.ask('POST', '/v1/txn', { body: sent, headers })
    const first = await post(key('txn'))
    const seq = await seqOf()
    const again = await post(key('txn'))
    expect(again.json).toEqual({ ...(first.json as object), repeated: true })
    expect(await seqOf()).toBe(seq)
    const other = await post(key('txn'), body.replace('"x"', '"y"'))
    expectError(other, 400, 'EINVAL', /idempotency key/)
    expectError(await post(key('')), 400, 'EINVAL')
    expectError(await post(key('x'.repeat(256))), 400, 'EINVAL')
  })

  it('on PUT: small, streamed, and with the conditions that are guards', async () => {
    const sizes = [10, 300_000, 2_000_000]
    for (const size of sizes) {
      const body = Buffer.alloc(size, 'a')
      const put = (headers: Record<string, string> = {}) =>
        serving.ask('PUT', `/v1/kv/put/${size}`, {
          body,
          headers: { ...key(`${size}`), ...headers },
        })
      const absent = { 'if-none-match': '*' }
      const first = await put(absent)
      expect(first.status).toBe(200)
      const again = await put(absent)
      expect(again.json).toEqual({ ...(first.json as object), repeated: true })
      expect(again.headers.etag).toBe(first.headers.etag)
      expectError(await put(), 400, 'EINVAL', /idempotency key/)
      for (const match of ['*', `"${'x'}", "y"`]) {
        expectError(await put({ 'if-match': match }), 400, 'EINVAL', /If-Match is one ETag/)
      }
    }
  })

  it('on POST /v1/kv, and on DELETE, which finds no fault with what it has removed', async () => {
    const post = () =>
      serving.ask('POST', '/v1/kv/post/log?seal=true', { body: 'x', headers: key('post ü') })
    const first = await post()
    expect((await post()).json).toEqual({ ...(first.json as object), repeated: true })
    const remove = (headers = {}) => serving.ask('DELETE', '/v1/kv/post/log', { headers })
    const removed = await remove(key('delete'))
    expect(removed.status).toBe(200)
    expect((await remove(key('delete'))).json).toEqual({
      ...(removed.json as object),
      repeated: true,
    })
    expectError(await remove(), 404, 'ENOENT')
    expectError(
      await serving.ask('DELETE', '/v1/kv/post', { headers: key('delete') }),
      400,
      'EINVAL',
    )
  })

  it('on POST /v1/eventlog, whose events say their time', async () => {
    const post = (event: object) =>
      serving.ask('POST', '/v1/eventlog/events', {
        body: JSON.stringify(event),
        headers: key('event'),
      })
    const first = await post({ name: 'start', timestamp: 1 })
    expect((await post({ name: 'start', timestamp: 1 })).json).toEqual({
      ...(first.json as object),
      repeated: true,
    })
    expectError(await post({ name: 'start' }), 400, 'EINVAL')
    expect((await serving.store.stat('events'))?.count).toBe(1)
  })

  it('may be sent by pages, as producers may', async () => {
    const asked = await serving.ask('OPTIONS', '/v1/txn', {
      headers: { origin: 'https://page.example', 'access-control-request-method': 'POST' },
    })
    const allowed = asked.headers['access-control-allow-headers']
    for (const name of [
      'idempotency-key',
      'idempotency-since',
      'producer-id',
      'producer-epoch',
      'producer-seq',
    ]) {
      expect(allowed).toContain(name)
    }
  })
})

describe('Idempotency-Since', () => {
  const put = (headers: Record<string, string>) =>
    serving.ask('PUT', '/v1/kv/since', { body: 'x', headers })
  const since = (seq: string) => put({ ...key('since'), 'idempotency-since': seq })

  it('goes with a key: EUNKNOWN above the seq of the namespace', async () => {
    const { seq } = await serving.store.root()
    const unknown = await since(`${seq + 1}`)
    expectError(unknown, 500, 'EUNKNOWN')
    expect(unknown.json).toMatchObject({ error: { failed: { state: { floor: 0 } } } })
    expect(await serving.store.stat('since')).toBeUndefined()
    const done = await since(`${seq}`)
    expect(done.json).toMatchObject({ seq: seq + 1 })
    expect((await since(`${seq}`)).json).toEqual({ ...(done.json as object), repeated: true })
  })

  it('without a key, and of another form, it is EINVAL', async () => {
    expectError(await put({ 'idempotency-since': '0' }), 400, 'EINVAL', /Idempotency-Key/)
    for (const wrong of ['-1', '1.5', '', 'x', '99999999999999999']) {
      expectError(await since(wrong), 400, 'EINVAL', /idempotency-since/)
    }
  })
})

describe('Producer headers', () => {
  const post = (id?: string, epoch?: string, seq?: string) => {
    const headers = { 'producer-id': id && utf8(id), 'producer-epoch': epoch, 'producer-seq': seq }
    const given = Object.entries(headers).filter(([, value]) => value !== undefined)
    return serving.ask('POST', '/v1/kv/produced', {
      body: `${seq};`,
      headers: Object.fromEntries(given) as Record<string, string>,
    })
  }

  it('number an append', async () => {
    const first = await post('p ü', '0', '0')
    expect(first.json).toMatchObject({ result: { index: 0, count: 1 } })
    expect((await post('p ü', '0', '0')).json).toMatchObject({
      result: { index: 0, count: 1, repeated: true },
    })
    const gap = await post('p ü', '0', '2')
    expectError(gap, 409, 'ECONFLICT')
    expect(gap.json).toMatchObject({
      error: { failed: { op: 0, state: { producer: 'p ü', epoch: 0, next: 1 } } },
    })
    expect((await post('p ü', '1', '0')).status).toBe(200)
    expectError(await post('p ü', '0', '1'), 409, 'EFENCED')
    expect((await serving.store.stat('produced'))?.count).toBe(2)
  })

  it('go with appends alone: no other write passes for one that is done once', async () => {
    const headers = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
    const writes = [
      ['PUT', '/v1/kv/unnumbered', 'x'],
      ['DELETE', '/v1/kv/unnumbered', undefined],
      ['POST', '/v1/txn', '{"ops":[]}'],
      ['POST', '/v1/eventlog/unnumbered', '{"name":"start"}'],
      ['PUT', '/v1/treeobj/unnumbered', '{"ver":1,"type":"dir","data":{}}'],
    ] as const
    for (const [method, path, body] of writes) {
      const asked = await serving.ask(method, path, { headers, ...(body ? { body } : {}) })
      expectError(asked, 400, 'EINVAL', /producer-id .*Idempotency-Key/)
    }
    expect(await serving.store.stat('unnumbered')).toBeUndefined()
  })

  it('are all there or none, and are what they should be', async () => {
    const wrong = [
      ['p'],
      ['p', '0'],
      ['p', undefined, '0'],
      [undefined, '0', '0'],
      ['p', '-1', '0'],
      ['p', '0', '1.5'],
      ['p', '0', 'x'],
      ['p', '9007199254740992', '0'],
      ['a/b', '0', '0'],
      ['..', '0', '0'],
      ['x'.repeat(129), '0', '0'],
    ]
    for (const [id, epoch, seq] of wrong) {
      expectError(await post(id, epoch, seq), 400, 'EINVAL')
    }
  })
})

describe('idempotencyKey of a txn frame', () => {
  let peer: Peer
  beforeEach(async () => {
    peer = await Peer.connect(serving)
  })
  afterEach(() => peer[Symbol.asyncDispose]())

  it('answers the second as the first', async () => {
    const body = { ops: [{ op: 'append', key: 'framed', value: 'x' }] }
    const ask = async (id: number, more: object = {}) => {
      peer.send({ id, op: 'txn', body, idempotencyKey: 'frame', ...more })
      return peer.next()
    }
    const first = await ask(1)
    expect(first).toMatchObject({ type: 'result', body: { results: [{ index: 0, count: 1 }] } })
    expect(await ask(2)).toEqual({
      id: 2,
      type: 'result',
      body: { ...(first as unknown as { body: object }).body, repeated: true },
    })
    expect(await ask(3, { body: { ops: [] } })).toMatchObject({ type: 'error', code: 'EINVAL' })
    expect(await ask(4, { idempotencyKey: '' })).toMatchObject({ type: 'error', code: 'EINVAL' })
    expect(await ask(5, { idempotencyKey: 5 })).toMatchObject({ type: 'error', code: 'EINVAL' })
    for (const more of [
      { idempotencyKey: undefined, idempotencySince: 0 },
      { idempotencySince: -1 },
    ]) {
      expect(await ask(7, more)).toMatchObject({ type: 'error', code: 'EINVAL' })
    }
    const { seq } = await serving.store.root()
    const since = { idempotencyKey: 'framed anew', idempotencySince: seq + 1 }
    expect(await ask(8, since)).toMatchObject({
      type: 'error',
      code: 'EUNKNOWN',
      failed: { state: { floor: 0 } },
    })
    expect(await ask(9, { ...since, idempotencySince: seq })).toMatchObject({ type: 'result' })
    expect(await ask(6, { op: 'read', body: { keys: [] } })).toMatchObject({
      type: 'error',
      code: 'EINVAL',
    })
  })
})
