/** Trimmed logs over plain HTTP: what is left, what is told of what is gone. */

import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

type Answer = {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

async function ask(
  path: string,
  options: { method?: string; body?: unknown; range?: string } = {},
): Promise<Answer> {
  const { method = 'GET', body, range } = options
  const request = httpRequest({
    socketPath: serving.server.socket,
    path,
    method,
    headers: {
      host: 'x',
      ...(range === undefined ? {} : { range }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
  })
  request.end(body === undefined ? undefined : JSON.stringify(body))
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const bytes = await buffer(response)
  return { status: response.statusCode ?? 0, headers: response.headers, body: bytes }
}

async function log(
  key: string,
  pieces: readonly (string | Buffer)[],
  before: number,
): Promise<void> {
  for (const piece of pieces) await serving.store.append(key, piece)
  await serving.store.commit({ ops: [{ op: 'trim', key, before }] })
}

describe('a trimmed log over HTTP', () => {
  it('is trimmed by a transaction, which answers the base', async () => {
    await log('log', ['a', 'bb', 'ccc'], 0)
    const answer = await ask('/v1/txn', {
      method: 'POST',
      body: { ops: [{ op: 'trim', key: 'log', keep: 1 }] },
    })
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      results: [{ base: { count: 2, size: 3 }, count: 3 }],
    })
    const both = { op: 'trim', key: 'log', keep: 1, before: 1 }
    expect((await ask('/v1/txn', { method: 'POST', body: { ops: [both] } })).status).toBe(400)
    const none = { op: 'trim', key: 'log' }
    expect((await ask('/v1/txn', { method: 'POST', body: { ops: [none] } })).status).toBe(400)
    const beyond = await ask('/v1/txn', {
      method: 'POST',
      body: { ops: [{ op: 'trim', key: 'log', before: 4 }] },
    })
    expect(JSON.parse(beyond.body.toString()).error).toMatchObject({
      code: 'EINVAL',
      failed: { op: 0, state: { count: 3, base: { count: 2, size: 3 } } },
    })
  })

  it('GET and HEAD have the length of what is left, small or streamed', async () => {
    const large = [0, 1, 2].map((n) => Buffer.alloc(blobSizeMax, n))
    await log('small', ['a', 'bb', 'ccc'], 1)
    await log('large', large, 1)
    const small = await ask('/v1/kv/small')
    expect(small.body.toString()).toBe('bbccc')
    expect(small.headers['content-length']).toBe('5')
    expect(small.headers['tailrace-count']).toBe('3')
    expect(JSON.parse(String(small.headers['tailrace-stat']))).toMatchObject({
      size: 6,
      base: { count: 1, size: 1 },
    })
    expect((await ask('/v1/kv/small', { method: 'HEAD' })).headers['content-length']).toBe('5')
    const streamed = await ask('/v1/kv/large')
    expect(streamed.headers['content-length']).toBe(String(2 * blobSizeMax))
    expect(streamed.body.equals(Buffer.concat(large.slice(1)))).toBe(true)
  })

  it('?from, ?to and ?index count from the first byte that there ever was; below the base is 410', async () => {
    await log('parts', ['a', 'bb', 'ccc'], 1)
    expect((await ask('/v1/kv/parts?from=1')).body.toString()).toBe('bbccc')
    expect((await ask('/v1/kv/parts?from=2&to=4')).body.toString()).toBe('bc')
    expect((await ask('/v1/kv/parts?to=2')).body.toString()).toBe('b')
    expect((await ask('/v1/kv/parts?index=1')).body.toString()).toBe('bb')
    for (const query of ['from=0', 'to=0', 'index=0', 'from=0&to=5']) {
      const answer = await ask(`/v1/kv/parts?${query}`)
      expect(answer.status).toBe(410)
      expect(answer.headers['tailrace-error']).toBe('ECOMPACTED')
      expect(JSON.parse(answer.body.toString()).error).toMatchObject({
        code: 'ECOMPACTED',
        failed: { state: { base: { count: 1, size: 1 } } },
      })
    }
  })

  it('a Range counts in what is left', async () => {
    await log('ranged', ['aaaa', 'bbbb', 'cccc'], 1)
    const answer = await ask('/v1/kv/ranged', { range: 'bytes=2-5' })
    expect(answer.status).toBe(206)
    expect(answer.body.toString()).toBe('bbcc')
    expect(answer.headers['content-range']).toBe('bytes 2-5/8')
    expect((await ask('/v1/kv/ranged', { range: 'bytes=-3' })).body.toString()).toBe('ccc')
    expect((await ask('/v1/kv/ranged', { range: 'bytes=8-' })).status).toBe(416)
  })

  it('?follow begins at the base, and refuses what is below it before the first byte', async () => {
    await log('followed', ['a', 'bb', 'ccc'], 1)
    await serving.store.commit({ ops: [{ op: 'seal', key: 'followed' }] })
    expect((await ask('/v1/kv/followed?follow')).body.toString()).toBe('bbccc')
    expect((await ask('/v1/kv/followed?follow&from=2')).body.toString()).toBe('bccc')
    expect((await ask('/v1/kv/followed?follow&index=2')).body.toString()).toBe('ccc')
    for (const query of ['from=0', 'index=0']) {
      const answer = await ask(`/v1/kv/followed?follow&${query}`)
      expect(answer.status).toBe(410)
      expect(answer.headers['tailrace-error']).toBe('ECOMPACTED')
    }
  })
})
