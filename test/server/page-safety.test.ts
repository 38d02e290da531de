/** What a browser may do with an answer: stored bytes are no page of the server's. See rfc/12, rule 38. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Raw } from './raw.js'
import { type Answer, Serving } from './serving.js'

const common = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
}

let serving: Serving
let job: string
let blob: string

beforeAll(async () => {
  serving = await Serving.start()
  const { store } = serving
  await store.put('page', '<script>1</script>', { contentType: 'text/html' })
  await store.put('large', Buffer.alloc(1_000_000), { contentType: 'text/html' })
  await store.append('log', '<script>')
  await store.append('log', '2', { seal: true })
  await serving.ask('POST', '/v1/eventlog/events?seal=true', { body: '{"name":"<script>"}' })
  blob = await store.blobs.store(Buffer.from('<script>'))
  job = (await store.jobs.submit({ command: ['echo', '<script>'], cwd: '/', env: process.env })).id
  await store.jobs.wait(job)
})
afterAll(() => serving[Symbol.asyncDispose]())

describe('the headers that keep pages out', () => {
  it.each<readonly [string, () => Promise<Answer>]>([
    ['a value', () => serving.ask('GET', '/v1/kv/page')],
    ['a streamed value', () => serving.ask('GET', '/v1/kv/large')],
    ['the head of a value', () => serving.ask('HEAD', '/v1/kv/page')],
    ['a range', () => serving.ask('GET', '/v1/kv/page', { headers: { range: 'bytes=0-7' } })],
    [
      'what has not changed',
      () => serving.ask('GET', '/v1/kv/page', { headers: { 'if-none-match': '*' } }),
    ],
    ['an append', () => serving.ask('GET', '/v1/kv/log?index=0')],
    ['a followed log', () => serving.ask('GET', '/v1/kv/log?follow')],
    [
      'an event stream',
      () => serving.ask('GET', '/v1/kv/log?follow', { headers: { accept: 'text/event-stream' } }),
    ],
    ['an eventlog', () => serving.ask('GET', '/v1/eventlog/events')],
    ['a followed eventlog', () => serving.ask('GET', '/v1/eventlog/events?follow')],
    ['output of a job', () => serving.ask('GET', `/v1/jobs/${job}/output`)],
    ['followed output', () => serving.ask('GET', `/v1/jobs/${job}/output?follow`)],
    ['events of a job', () => serving.ask('GET', `/v1/jobs/${job}/events`)],
    ['a blob', () => serving.ask('GET', `/v1/content/${blob}`)],
    ['an export', () => serving.ask('GET', '/v1/export')],
    ['JSON', () => serving.ask('POST', '/v1/read', { body: '{"keys":["page"]}' })],
    ['an error', () => serving.ask('GET', '/v1/kv/<script>')],
    ['a refusal', () => serving.ask('GET', '/v1/kv/page', { token: '' })],
    ['an answer over the Unix socket', () => serving.askLocally('GET', '/v1/kv/page')],
  ])('are on %s', async (_, ask) => {
    expect((await ask()).headers).toMatchObject(common)
  })

  it('are on what cannot be read', async () => {
    await using raw = await Raw.overSocket(serving)
    const text = await raw.send(['nonsense']).end()
    for (const [name, value] of Object.entries(common)) expect(text).toContain(`${name}: ${value}`)
  })

  it('are on the documents, whose page runs nothing either', async () => {
    expect((await serving.ask('GET', '/openapi.json', { token: '' })).headers).toMatchObject(common)
    const { headers } = await serving.ask('GET', '/docs', { token: '' })
    expect(headers).toMatchObject({ ...common, 'content-security-policy': expect.any(String) })
    expect(headers['content-security-policy']).not.toMatch(/script-src|default-src '?[^'n]/)
  })
})

describe('a value', () => {
  const disposition = async (contentType: string) => {
    await serving.store.put('typed', 'x', { contentType })
    const { headers } = await serving.ask('GET', '/v1/kv/typed')
    expect(headers['content-type']).toBe(contentType)
    expect((await serving.ask('HEAD', '/v1/kv/typed')).headers['content-disposition']).toBe(
      headers['content-disposition'],
    )
    return headers['content-disposition']
  }

  it.each([
    'text/html',
    'TEXT/HTML; charset=utf-8',
    'image/svg+xml',
    'application/xhtml+xml',
    'text/xml',
    'application/pdf',
    'multipart/x-mixed-replace',
    'text/plain;a=b, text/html',
    'text/plainhtml',
    'application/x-unknown',
  ])('of the type %s is saved, not shown', async (type) => {
    expect(await disposition(type)).toBe('attachment')
  })

  it.each([
    'text/plain',
    'text/plain; charset=utf-8',
    'application/json',
    'image/png',
    'video/mp4',
  ])('of the type %s may be shown', async (type) => {
    expect(await disposition(type)).toBeUndefined()
  })

  it('that is followed, too', async () => {
    await serving.store.put('followed', '<script>', { contentType: 'image/svg+xml' })
    await serving.store.append('followed', 'x', { seal: true })
    const { headers } = await serving.ask('GET', '/v1/kv/followed?follow')
    expect(headers).toMatchObject({
      'content-type': 'image/svg+xml',
      'content-disposition': 'attachment',
    })
  })

  it.each([['Service-Worker: script'], ['Sec-Fetch-Dest: serviceworker']])(
    'is no service worker: %s',
    async (header) => {
      await using raw = await Raw.overTcp(serving)
      const token = `Authorization: Bearer ${serving.server.token}`
      raw.send(['GET /v1/kv/page HTTP/1.1', 'Host: localhost', token, header])
      expect(await raw.end()).toMatch(/^HTTP\/1\.1 403 EPERM[\s\S]*"code":"EPERM"/)
    },
  )
})
