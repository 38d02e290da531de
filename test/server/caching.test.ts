/** What caches may do with an answer. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
  await serving.store.put('page', '<script>', { contentType: 'text/html' })
  await serving.store.put('dir/a', 'x')
  await serving.store.put('large', Buffer.alloc(1_000_000))
})
afterAll(() => serving[Symbol.asyncDispose]())

async function cachingOf(method: string, path: string, headers = {}): Promise<unknown> {
  return (await serving.ask(method, path, { headers })).headers['cache-control']
}

describe('Cache-Control', () => {
  it.each(['/v1/kv/page', '/v1/kv/large', '/v1/kv/page?at=1'])(
    'of %s: looked at anew',
    async (path) => {
      expect(await cachingOf('GET', path)).toBe('no-cache')
      expect(await cachingOf('GET', path, { range: 'bytes=0-1' })).toBe('no-cache')
    },
  )

  it('of HEAD and of 304 as well', async () => {
    expect(await cachingOf('HEAD', '/v1/kv/page')).toBe('no-cache')
    expect(await cachingOf('GET', '/v1/kv/page', { 'if-none-match': '*' })).toBe('no-cache')
  })

  it('of what a hash names: for ever', async () => {
    const { ref } = await serving.store.root()
    const blob = await serving.store.blobs.store(Buffer.from('blob'))
    for (const path of [`/v1/kv/page?at=${ref}`, `/v1/kv/large?at=${ref}`, `/v1/content/${blob}`]) {
      expect(await cachingOf('GET', path)).toMatch(/immutable/)
    }
    expect(await cachingOf('GET', `/v1/kv/nothing?at=${ref}`)).toBe('no-store')
  })

  it.each([
    ['GET', '/v1/kv/nothing'],
    ['GET', '/v1/kv/dir'],
    ['GET', '/nothing'],
    ['GET', '/v1/kv/%ff'],
    ['GET', '/v1/list/'],
    ['GET', '/v1/root'],
    ['GET', '/v1/status'],
    ['GET', '/v1/jobs'],
    ['GET', '/v1/export'],
    ['POST', '/v1/kv/appended'],
  ])('of %s %s: not kept', async (method, path) => {
    expect(await cachingOf(method, path)).toMatch(/^no-store/)
  })
})
