/** roots, diff, log, pins and the settings of namespaces: what they answer over HTTP, and each error. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Code } from '../../src/error.js'
import { statusOf } from '../../src/wire/status.js'
import { type Answer, expectError, Serving } from './serving.js'

let serving: Serving
let seq = 0
beforeAll(async () => {
  serving = await Serving.start()
  await serving.store.put('dir/k', 'one')
  seq = (await serving.store.put('dir/k', 'three')).seq
})
afterAll(() => serving[Symbol.asyncDispose]())

async function get(path: string): Promise<unknown> {
  const answer = await serving.ask('GET', path)
  expect(answer.status).toBe(200)
  return answer.json
}

function refused(answer: Answer, code: Code): void {
  expectError(answer, statusOf(code), code)
}

describe('roots, diff and log', () => {
  it('answer what the store does', async () => {
    const { store } = serving
    expect(await get('/v1/roots')).toEqual(await store.history.roots())
    expect(await get('/v1/roots?newest&before=2&limit=1')).toEqual(
      await store.history.roots({ newest: true, before: 2, limit: 1 }),
    )
    const { ref } = await store.root()
    expect(await get(`/v1/diff?from=0&to=${ref}`)).toEqual(await store.history.diff({ from: 0 }))
    expect(await get('/v1/diff?from=0&prefix=dir&after=dir&limit=1')).toEqual(
      await store.history.diff({ from: 0, prefix: 'dir', after: 'dir', limit: 1 }),
    )
    expect(await get('/v1/log/dir/k')).toEqual(await store.history.log('dir/k'))
    expect(await get('/v1/log')).toEqual(await store.history.log('/'))
  })

  it('refuse what they cannot answer', async () => {
    const paths = [
      ['/v1/diff', 'EINVAL'],
      ['/v1/diff?from=x', 'EINVAL'],
      ['/v1/diff?from=99', 'EINVAL'],
      ['/v1/diff?from=0&ns=nowhere', 'ENONS'],
      [`/v1/diff?from=blake3-${'0'.repeat(64)}`, 'ECOMPACTED'],
      ['/v1/roots?limit=0', 'EINVAL'],
      ['/v1/roots?since=1', 'EINVAL'],
      ['/v1/roots?ns=nowhere', 'ENONS'],
      ['/v1/log/dir/k?limit=x', 'EINVAL'],
      ['/v1/ns/nowhere', 'ENONS'],
      ['/v1/ns/No', 'EINVAL'],
    ] as const
    for (const [path, code] of paths) refused(await serving.ask('GET', path), code)
  })
})

describe('pins', () => {
  it('are made, listed and taken away', async () => {
    const made = await serving.ask('PUT', '/v1/pins/now')
    expect(made).toMatchObject({ status: 200, json: { name: 'now', namespace: 'primary', seq } })
    const body = JSON.stringify({ at: seq - 1 })
    const older = await serving.ask('PUT', '/v1/pins/older', { body })
    expect(older.json).toMatchObject({ seq: seq - 1 })
    expect(await get('/v1/pins')).toEqual({ pins: [made.json, older.json] })
    refused(await serving.ask('PUT', '/v1/pins/now', { body }), 'EEXIST')
    refused(await serving.ask('PUT', '/v1/pins/a%20b'), 'EINVAL')
    refused(await serving.ask('PUT', '/v1/pins/x', { body: '{"seq": 1}' }), 'EINVAL')
    expect((await serving.ask('DELETE', '/v1/pins/older')).json).toEqual({})
    refused(await serving.ask('DELETE', '/v1/pins/older'), 'ENOENT')
    refused(await serving.ask('PUT', '/v1/kv/pins/now?ns=system', { body: 'x' }), 'EPERM')
  })
})

describe('settings', () => {
  it('change by a patch, and are shown', async () => {
    const change = JSON.stringify({ historyCount: 5, quota: 100_000 })
    const { json } = await serving.ask('PATCH', '/v1/ns/primary', { body: change })
    expect(json).toMatchObject({ historyCount: 5, historyAgeMs: 3_600_000, quota: 100_000 })
    expect(await get('/v1/ns/primary')).toMatchObject({ name: 'primary', settings: json })
    const back = await serving.ask('PATCH', '/v1/ns/primary', { body: '{"quota": null}' })
    expect(back.json).not.toHaveProperty('quota')
  })

  it('refuse what is no setting', async () => {
    for (const body of ['{"historyCount": 0}', '{"history": 1}', '{"quota": -1}', '[]']) {
      refused(await serving.ask('PATCH', '/v1/ns/primary', { body }), 'EINVAL')
    }
    refused(await serving.ask('PATCH', '/v1/ns/nowhere', { body: '{}' }), 'ENONS')
  })
})
