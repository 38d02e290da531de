/** stat, treeobj, list, root, ns, txn and read: what they answer, and each error. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readSizeMax } from '../../src/api/kvs.js'
import { expectError, Serving } from './serving.js'

let serving: Serving
const ref = expect.stringMatching(/^blake3-[0-9a-f]{64}$/)
const seq = expect.any(Number)

beforeAll(async () => {
  serving = await Serving.start()
  await serving.store.commit({
    ops: [
      { op: 'put', key: 'dir/a', value: 'aa', contentType: 'text/plain' },
      { op: 'append', key: 'dir/log', value: 'one' },
      { op: 'append', key: 'dir/log', value: 'two!', seal: true },
      { op: 'mkdir', key: 'dir/sub/empty' },
      { op: 'symlink', key: 'link', target: 'dir/a' },
      { op: 'symlink', key: 'loop', target: 'loop' },
    ],
  })
})
afterAll(() => serving[Symbol.asyncDispose]())

async function get(path: string): Promise<unknown> {
  const answer = await serving.ask('GET', path)
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe('application/json; charset=utf-8')
  return answer.json
}

describe('stat', () => {
  it('tells type, count, size, seal and attrs', async () => {
    const common = { ref, seq, sealed: false }
    expect(await get('/v1/stat/dir/a')).toEqual({
      ...common,
      type: 'val',
      count: 1,
      size: 2,
      attrs: { contentType: 'text/plain' },
    })
    expect(await get('/v1/stat/dir/log')).toMatchObject({
      type: 'valref',
      count: 2,
      size: 7,
      sealed: true,
    })
    expect(await get('/v1/stat/dir')).toEqual({ ...common, type: 'dir', count: 2, size: 9 })
    expect(await get('/v1/stat')).toMatchObject({ type: 'dir' })
    expect(await get('/v1/stat/link')).toMatchObject({ type: 'val', size: 2 })
    expect(await get('/v1/stat/link?nofollow')).toMatchObject({ type: 'symlink', target: 'dir/a' })
  })

  it('answers its errors', async () => {
    expectError(await serving.ask('GET', '/v1/stat/nothing'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/stat/a?ns=none'), 404, 'ENONS')
    expectError(await serving.ask('GET', '/v1/stat/loop'), 422, 'ELOOP')
    expectError(await serving.ask('GET', '/v1/stat/a?index=1'), 400, 'EINVAL', /index/)
  })
})

describe('treeobj', () => {
  it('is RFC 11 JSON, paged', async () => {
    expect(await get('/v1/treeobj/dir/a')).toMatchObject({ ver: 1, type: 'val', data: 'YWE=' })
    const whole = await get('/v1/treeobj/dir/log')
    expect(whole).toMatchObject({
      ver: 1,
      type: 'valref',
      data: [ref, ref],
      sizes: [3, 4],
      count: 2,
    })
    const { data } = whole as { data: string[] }
    expect(await get('/v1/treeobj/dir/log?limit=1')).toMatchObject({
      data: [data[0]],
      next: expect.any(Number),
    })
    const { next } = (await get('/v1/treeobj/dir/log?limit=1')) as { next: number }
    expect(await get(`/v1/treeobj/dir/log?after=${next}`)).toMatchObject({ data: [data[1]] })
    expectError(await serving.ask('GET', '/v1/treeobj/nothing'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/treeobj/dir/log?limit=0'), 400, 'EINVAL', /limit/)
  })
})

describe('list', () => {
  it('pages through names', async () => {
    expect(await get('/v1/list/dir')).toEqual({
      entries: [
        { name: 'a', type: 'val', count: 1, size: 2 },
        { name: 'log', type: 'valref', count: 2, size: 7 },
        { name: 'sub', type: 'dir', count: 0, size: 0 },
      ],
      more: false,
      seq,
    })
    expect(await get('/v1/list/dir?limit=1&after=a')).toMatchObject({
      entries: [{ name: 'log' }],
      more: true,
    })
    const all = (await get('/v1/list?recursive')) as { entries: { name: string }[] }
    expect(all.entries.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['dir/a', 'dir/log', 'link']),
    )
    expectError(await serving.ask('GET', '/v1/list/nothing'), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/list/dir/a'), 409, 'ENOTDIR')
    expectError(await serving.ask('GET', '/v1/list/dir?limit=10001'), 400, 'EINVAL', /limit/)
  })
})

describe('root and ns', () => {
  it('root tells where the namespace is, and waits', async () => {
    const now = (await get('/v1/root')) as { seq: number }
    expect(now).toEqual({
      namespace: 'primary',
      seq,
      ref,
      incarnation: expect.any(String),
      time: seq,
    })
    const waiting = get(`/v1/root?waitSeq=${now.seq + 1}`)
    await serving.store.put('moved', 'x')
    expect(await waiting).toMatchObject({ seq: now.seq + 1 })
    expectError(await serving.ask('GET', '/v1/root?ns=none'), 404, 'ENONS')
  })

  it('namespaces are made, listed and removed', async () => {
    const made = await serving.ask('POST', '/v1/ns', { body: '{"name":"mine"}' })
    expect(made.status).toBe(201)
    expect(made.json).toMatchObject({ name: 'mine', seq: 0, keys: 0, size: 0 })
    const { namespaces } = (await get('/v1/ns')) as { namespaces: { name: string }[] }
    expect(namespaces.map(({ name }) => name)).toEqual([
      'cache',
      'flows',
      'jobs',
      'mine',
      'primary',
      'system',
    ])
    expectError(await serving.ask('POST', '/v1/ns', { body: '{"name":"mine"}' }), 409, 'EEXIST')
    expect((await serving.ask('PUT', '/v1/kv/a?ns=mine', { body: 'x' })).status).toBe(200)
    const removed = await serving.ask('DELETE', '/v1/ns/mine')
    expect([removed.status, removed.json]).toEqual([200, {}])
    expectError(await serving.ask('DELETE', '/v1/ns/mine'), 404, 'ENONS')
  })

  it('answers what may not be', async () => {
    for (const body of [
      '',
      '{}',
      '{',
      '{"name":1}',
      '{"name":"a","x":1}',
      '{"name":"A"}',
      '\xff',
    ]) {
      expectError(
        await serving.ask('POST', '/v1/ns', { body: Buffer.from(body, 'latin1') }),
        400,
        'EINVAL',
      )
    }
    for (const name of ['jobs', 'cache', 'flows', 'system']) {
      expectError(await serving.ask('DELETE', `/v1/ns/${name}`), 403, 'EPERM')
      expectError(
        await serving.ask('POST', '/v1/ns', { body: JSON.stringify({ name }) }),
        403,
        'EPERM',
      )
    }
    expectError(await serving.ask('DELETE', '/v1/ns/primary'), 403, 'EPERM')
  })
})

describe('txn and read', () => {
  const ask = (path: string, body: unknown) =>
    serving.ask('POST', path, { body: JSON.stringify(body) })

  it('commits many keys at once and reads them at one root', async () => {
    const answer = await ask('/v1/txn', {
      guards: [{ key: 't/a', absent: true }],
      ops: [
        { op: 'put', key: 't/a', value: 'text' },
        { op: 'append', key: 't/log', value: { base64: '/w==' } },
      ],
    })
    expect(answer.json).toEqual({ seq, ref, results: [{ ref }, { index: 0, count: 1 }] })
    expect((await ask('/v1/read', { keys: ['t/log', 't/none', 't/a'] })).json).toEqual({
      seq,
      values: [{ base64: '/w==' }, null, { base64: 'dGV4dA==' }],
    })
  })

  it('says what failed, and changes nothing', async () => {
    const ops = [
      { op: 'put', key: 'never', value: '' },
      { op: 'put', key: 'dir', value: '' },
    ]
    const answer = await ask('/v1/txn', { ops })
    expect(answer.status).toBe(409)
    expect(answer.json).toMatchObject({ error: { code: 'EISDIR', failed: { op: 1 } } })
    const conflict = await ask('/v1/txn', { guards: [{ seq: 0 }], ops: [] })
    expect(conflict.json).toMatchObject({ error: { code: 'ECONFLICT', failed: { guard: 0 } } })
    expectError(await serving.ask('GET', '/v1/kv/never'), 404, 'ENOENT')
  })

  it('answers its errors', async () => {
    expectError(await ask('/v1/txn', { ops: [{ op: 'copy' }] }), 400, 'EINVAL', /op/)
    expectError(await ask('/v1/txn?ns=jobs', { ops: [] }), 403, 'EPERM')
    expectError(await ask('/v1/txn?ns=none', { ops: [] }), 404, 'ENONS')
    expectError(
      await ask('/v1/txn', { ops: Array(4097).fill({ op: 'mkdir', key: 'a' }) }),
      413,
      'E2BIG',
    )
    expectError(await ask('/v1/read', { keys: 'a' }), 400, 'EINVAL')
    expectError(await ask('/v1/read', { keys: ['dir'] }), 409, 'EISDIR')
    await serving.store.put('quarter', Buffer.alloc(250_000))
    const fitting = Math.floor(readSizeMax / 250_000)
    expect((await ask('/v1/read', { keys: Array(fitting).fill('quarter') })).status).toBe(200)
    const more = await ask('/v1/read', { keys: Array(fitting + 1).fill('quarter') })
    expectError(more, 413, 'E2BIG', /fewer keys/)
  })
})
