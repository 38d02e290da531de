/** What means nothing where it stands is refused, never dropped: rfc/12, rule 5. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Peer } from './peer.js'
import { expectError, Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
  await serving.store.append('log', 'abc')
})
afterAll(() => serving[Symbol.asyncDispose]())

it.each([
  'kv/log?follow&at=1',
  'kv/log?follow&to=1',
  'kv/log?follow&from=0&index=0',
  'kv/log?index=0&to=1',
  'kv/log?at=1&waitCreate',
  'kv/log?heartbeat=1000',
  'kv/log?waitEvent=x',
  'eventlog/log?at=1&follow',
  'eventlog/log?from=0',
  'jobs?ns=primary',
  'jobs/1?namespace=jobs',
  'jobs/1/output?ns=jobs',
  'jobs/1/events?ns=jobs',
  'pins?ns=primary',
  'ns?ns=primary',
  'status?ns=primary',
  'content/x?at=1',
  'root?at=1',
  'ws?token=x',
])('GET /v1/%s', async (path) => {
  expectError(await serving.ask('GET', `/v1/${path}`), 400, 'EINVAL')
})

it.each([
  ['POST', '/v1/jobs', { 'idempotency-key': 'x' }],
  ['POST', '/v1/ns', { 'idempotency-key': 'x' }],
  ['POST', '/v1/ns', { 'idempotency-since': '1' }],
  ['POST', '/v1/jobs', { 'tailrace-guards': '[]' }],
  ['POST', '/v1/content', { 'producer-id': 'x' }],
  ['PUT', '/v1/kv/log', { 'if-unmodified-since': 'Sat, 28 Nov 2026 00:00:00 GMT' }],
  ['POST', '/v1/kv/log', { 'x-http-method-override': 'DELETE' }],
  ['POST', '/v1/import', { 'idempotency-key': 'x' }],
  ['POST', '/v1/import', { 'if-match': '*' }],
  ['POST', '/v1/txn', { 'if-none-match': '*' }],
  ['POST', '/v1/eventlog/log', { 'if-match': '"x"' }],
  ['PUT', '/v1/pins/a', { 'if-none-match': '*' }],
  ['DELETE', '/v1/ns/a', { 'if-match': '"x"' }],
  ['PATCH', '/v1/ns/primary', { 'if-match': '"x"' }],
])('%s %s with %j', async (method, path, headers) => {
  const answer = await serving.ask(method, path, {
    headers,
    body: method === 'DELETE' ? undefined : '{}',
  })
  expectError(answer, 400, 'EINVAL', /means nothing/)
})

it('Range beside another part of a value', async () => {
  for (const query of ['from=1', 'index=0', 'to=2']) {
    const headers = { range: 'bytes=0-1' }
    expectError(await serving.ask('GET', `/v1/kv/log?${query}`, { headers }), 400, 'EINVAL')
  }
})

describe('a watch frame', () => {
  it.each([
    { mode: 'value', from: 1 },
    { mode: 'value', from: { offset: 0 } },
    { mode: 'append', uniq: true },
    { mode: 'append', lease: true },
  ])('%j', async (fields) => {
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', key: 'log', ...fields })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'EINVAL' })
  })
})
