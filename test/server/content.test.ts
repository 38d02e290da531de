/** `/v1/content`, `PUT /v1/treeobj`, and quotas: what they answer, and each error. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { hashBlob } from '../../src/blob/hash.js'
import { expectError, Serving } from './serving.js'

let serving: Serving
const nowhere = `blake3-${'0'.repeat(64)}`
const bytes = { 'content-type': 'application/octet-stream' }
const json = { 'content-type': 'application/json' }

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

const putTreeobj = (path: string, treeobj: unknown, headers: Record<string, string> = {}) =>
  serving.ask('PUT', path, { headers: { ...json, ...headers }, body: JSON.stringify(treeobj) })

describe('/v1/content', () => {
  it('stores a blob and gives it back, with its ref as ETag', async () => {
    const stored = await serving.ask('POST', '/v1/content', { headers: bytes, body: 'a blob' })
    expect(stored).toMatchObject({ status: 201, json: { ref: hashBlob(Buffer.from('a blob')) } })
    const { ref } = stored.json as { ref: string }
    const loaded = await serving.ask('GET', `/v1/content/${ref}`)
    expect(loaded).toMatchObject({
      status: 200,
      headers: {
        ...bytes,
        etag: `"${ref}"`,
        'content-length': '6',
        'x-content-type-options': 'nosniff',
      },
    })
    expect(loaded.body.toString()).toBe('a blob')
  })

  it('answers its errors', async () => {
    const root = await serving.store.root()
    expectError(await serving.ask('GET', `/v1/content/${nowhere}`), 404, 'ENOENT')
    expectError(await serving.ask('GET', `/v1/content/${root.ref}`), 404, 'ENOENT')
    expectError(await serving.ask('GET', '/v1/content/blake3-7'), 400, 'EINVAL', /blobref/)
    expectError(await serving.ask('GET', `/v1/content/${nowhere}?ns=x`), 400, 'EINVAL')
    const body = Buffer.alloc(blobSizeMax + 1)
    expectError(await serving.ask('POST', '/v1/content', { headers: bytes, body }), 413, 'E2BIG')
    const edge = body.subarray(1)
    const stored = await serving.ask('POST', '/v1/content', { headers: bytes, body: edge })
    expect(stored.status).toBe(201)
  })
})

describe('PUT /v1/treeobj', () => {
  it('takes what GET gives, under its conditions', async () => {
    await serving.store.append('log', 'one')
    const shown = await serving.ask('GET', '/v1/treeobj/log')
    const put = await putTreeobj('/v1/treeobj/copy', shown.json, { 'if-none-match': '*' })
    const ref = (await serving.store.stat('log'))?.ref
    expect(put).toMatchObject({
      status: 200,
      json: { result: { ref } },
      headers: { etag: `"${ref}"` },
    })
    const again = await putTreeobj('/v1/treeobj/copy', shown.json, { 'if-none-match': '*' })
    expectError(again, 409, 'ECONFLICT')
    const matched = await putTreeobj('/v1/treeobj/copy', shown.json, { 'if-match': `"${ref}"` })
    expect(matched.status).toBe(200)
  })

  it('answers its errors', async () => {
    const dangling = { ver: 1, type: 'valref', data: [nowhere], sizes: [3] }
    expectError(await putTreeobj('/v1/treeobj/x', { ver: 1 }), 400, 'EINVAL', /treeobj.type/)
    expectError(await putTreeobj('/v1/treeobj/x', undefined), 400, 'EINVAL')
    expectError(await putTreeobj('/v1/treeobj/x', dangling), 404, 'ENOENT', /store it first/)
    expect(serving.log).toEqual([])
    expectError(await putTreeobj('/v1/treeobj/x?ns=jobs', dangling), 403, 'EPERM')
    expectError(await putTreeobj('/v1/treeobj/x?loose', dangling), 400, 'EINVAL', /loose/)
    expect(await putTreeobj('/v1/treeobj/x?dangling', dangling)).toMatchObject({ status: 200 })
    expectError(await serving.ask('GET', '/v1/kv/x'), 500, 'EDANGLING')
    expect((await serving.ask('GET', '/v1/stat/x')).json).toMatchObject({ count: 1, size: 3 })
  })
})

describe('?at', () => {
  it('takes the ref of a root wherever it takes a seq', async () => {
    await serving.store.put('at', 'old')
    const { ref } = await serving.store.root()
    await serving.store.put('at', 'new')
    expect((await serving.ask('GET', `/v1/kv/at?at=${ref}`)).body.toString()).toBe('old')
    const read = { headers: json, body: JSON.stringify({ keys: ['at'], at: ref }) }
    expect((await serving.ask('POST', '/v1/read', read)).json).toMatchObject({
      values: [{ base64: Buffer.from('old').toString('base64') }],
    })
    for (const route of ['stat', 'treeobj']) {
      expect((await serving.ask('GET', `/v1/${route}/at?at=${ref}`)).status).toBe(200)
    }
    expect((await serving.ask('GET', `/v1/list?at=${ref}`)).status).toBe(200)
    expectError(await serving.ask('GET', `/v1/kv/at?at=${nowhere}`), 410, 'ECOMPACTED')
    expectError(await serving.ask('GET', '/v1/kv/at?at=yesterday'), 400, 'EINVAL', /seq or the ref/)
  })
})

describe('a quota', () => {
  it('is 507 with what it would leave', async () => {
    await serving.store.namespaces.create('small')
    await serving.store.namespaces.configure('small', { quota: 3 })
    const put = (body: string) => serving.ask('PUT', '/v1/kv/k?ns=small', { headers: bytes, body })
    expect((await put('abc')).status).toBe(200)
    const refused = await put('abcd')
    expectError(refused, 507, 'EDQUOT')
    expect(refused.json).toMatchObject({ error: { failed: { state: { size: 4, quota: 3 } } } })
    expect((await serving.ask('DELETE', '/v1/kv/k?ns=small')).status).toBe(200)
  })
})
