/** Event streams, heartbeats, and ranges of what is followed: rfc/12, rules 30 and 31. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Watching } from '../../src/api/watch.js'
import { encodeEvents } from '../../src/eventlog/event.js'
import { eventlogFrames } from '../../src/server/event-stream.js'
import { Raw, refusalIn } from './raw.js'
import { expectError, Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

type Message = { readonly id?: string; readonly event?: string; readonly data: unknown }

class Events implements AsyncDisposable {
  readonly raw: Raw

  private constructor(raw: Raw) {
    this.raw = raw
  }

  static async open(path: string, headers: readonly string[] = []): Promise<Events> {
    const raw = await Raw.overSocket(serving)
    const accept = 'Accept: text/event-stream'
    raw.send([`GET ${path} HTTP/1.1`, 'Host: x', accept, ...headers])
    await raw.until(/\r\n\r\n/)
    return new Events(raw)
  }

  /** All of them, as a browser would read them, once `pattern` has come. */
  async until(pattern: RegExp): Promise<Message[]> {
    await this.raw.until(pattern)
    const [, ...rest] = this.raw.text.split('\r\n\r\n')
    // Without the framing of chunks.
    const text = rest.join('\r\n\r\n').replace(/\r\n[0-9a-f]+\r\n|^[0-9a-f]+\r\n/g, '')
    const blocks = text.split('\n\n').slice(0, -1)
    return blocks.filter((block) => !block.startsWith('retry')).map(messageOf)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.raw[Symbol.asyncDispose]()
  }
}

function messageOf(block: string): Message {
  const fields = block.split('\n').map((line) => {
    const at = line.indexOf(': ')
    return [line.slice(0, at), line.slice(at + 2)]
  })
  const { data = '', ...named } = Object.fromEntries(fields) as Record<string, string>
  return { ...named, data: JSON.parse(data) }
}

describe('an event stream of a key', () => {
  it('has the appends, text as text, then what comes, then the end', async () => {
    await serving.store.append('log', 'line\r\n')
    await serving.store.append('log', Uint8Array.of(0xff, 0))
    await using events = await Events.open('/v1/kv/log?follow')
    await events.until(/event: live/)
    expect(events.raw.text).toMatch(/^HTTP\/1\.1 200 .*\r\ncontent-type: text\/event-stream/is)
    expect(events.raw.text).toMatch(/\r\ncache-control: no-store, no-transform\r\n/i)
    await serving.store.append('log', 'ü', { seal: true })
    expect(await events.until(/event: end[\s\S]*\n\n/)).toEqual([
      {
        id: expect.any(String),
        data: { index: 0, offset: 0, seq: expect.any(Number), data: 'line\r\n' },
      },
      {
        id: expect.any(String),
        data: { index: 1, offset: 6, seq: expect.any(Number), data: { base64: '/wA=' } },
      },
      { event: 'live', id: expect.any(String), data: {} },
      {
        id: expect.any(String),
        data: { index: 2, offset: 8, seq: expect.any(Number), data: 'Ã¼' },
      },
      { event: 'end', data: { reason: 'sealed' } },
    ])
    expect(await events.raw.until(/0\r\n\r\n$/)).toMatch(/retry: \d+\n\n/)
  })

  it('goes on behind the last event that came, and not after the end', async () => {
    for (const text of ['one', 'two', 'three']) await serving.store.append('resumed', text)
    await using events = await Events.open('/v1/kv/resumed?follow')
    const [first] = await events.until(/event: live/)
    await using late = await Events.open('/v1/kv/resumed?follow&from=11')
    const [live] = await late.until(/event: live[\s\S]*\n\n/)
    expect(live).toMatchObject({ event: 'live', id: expect.stringContaining('~3~11~') })
    const last = [`Last-Event-ID: ${first?.id}`]
    await using again = await Events.open('/v1/kv/resumed?follow&from=0', last)
    const messages = await again.until(/event: live/)
    expect(messages.map(({ data }) => (data as { data?: string }).data)).toEqual([
      'two',
      'three',
      undefined,
    ])
    await serving.store.append('resumed', '', { seal: true })
    const ended = (await again.until(/event: end/)).findLast(({ id }) => id !== undefined)
    await using raw = await Raw.overSocket(serving)
    const lines = ['GET /v1/kv/resumed?follow HTTP/1.1', 'Host: x', 'Accept: text/event-stream']
    raw.send([...lines, `Last-Event-ID: ${ended?.id}`])
    expect(await raw.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 204 /)
  })

  it('has nothing of what is before its first byte', async () => {
    await serving.store.append('later-bytes', 'one')
    await using events = await Events.open('/v1/kv/later-bytes?follow&from=5')
    await events.until(/event: live/)
    for (const text of ['t', 'wo', 'x']) await serving.store.append('later-bytes', text)
    const messages = await events.until(/"data":"x"/)
    expect(messages.map(({ data }) => (data as { data?: string }).data)).toEqual([
      undefined,
      'o',
      'x',
    ])
  })

  it('tells why it ends, and refuses who comes back to another history', async () => {
    await serving.store.append('replaced', 'one')
    await using events = await Events.open('/v1/kv/replaced?follow')
    await events.until(/event: live/)
    await serving.store.put('replaced', 'other')
    const messages = await events.until(/event: failure[\s\S]*\n\n/)
    expect(messages.at(-1)).toMatchObject({ event: 'failure', data: { code: 'EOVERWRITTEN' } })
    expect(await events.raw.end()).not.toMatch(/0\r\n\r\n$/)
    const [first] = messages
    const headers = { accept: 'text/event-stream', 'last-event-id': String(first?.id) }
    const again = await serving.ask('GET', '/v1/kv/replaced?follow', { headers })
    expectError(again, 409, 'EOVERWRITTEN')
  })

  it('says before its first event what is wrong', async () => {
    const ask = (path: string, more = {}) =>
      serving.ask('GET', path, { headers: { accept: 'text/event-stream', ...more } })
    await serving.store.append('asked', 'x')
    expectError(await ask('/v1/kv/nothing?follow'), 404, 'ENOENT')
    expectError(await ask('/v1/eventlog/nothing?follow'), 404, 'ENOENT')
    expectError(await ask('/v1/kv/asked?follow', { 'last-event-id': 'x' }), 400, 'EINVAL')
    expectError(await ask('/v1/kv/asked?follow', { range: 'bytes=0-' }), 400, 'EINVAL')
  })

  it('shows that it lives, also while it waits for its key', async () => {
    await using events = await Events.open('/v1/kv/later?follow&waitCreate&heartbeat=100')
    expect(await events.until(/event: heartbeat[\s\S]*event: heartbeat[\s\S]*\n\n/)).toContainEqual(
      {
        event: 'heartbeat',
        data: {},
      },
    )
    await serving.store.append('later', 'x', { seal: true })
    expect((await events.until(/event: end[\s\S]*\n\n/)).at(-1)?.event).toBe('end')
    await events.raw.until(/0\r\n\r\n$/)
  })
})

describe('an event stream of an eventlog', () => {
  const post = (name: string, seal = '') =>
    serving.ask('POST', `/v1/eventlog/steps${seal}`, {
      body: `{"name":"${name}","timestamp":1}\n{"name":"${name}-2","timestamp":2}`,
    })

  it('has an event each, and goes on behind the last', async () => {
    await post('build')
    await post('test')
    await using events = await Events.open('/v1/eventlog/steps?follow')
    const messages = await events.until(/event: live/)
    expect(
      messages.map(({ data, id }) => [(data as { name?: string }).name, id === undefined]),
    ).toEqual([
      ['build', true],
      ['build-2', false],
      ['test', true],
      ['test-2', false],
      [undefined, true],
    ])
    const last = [`Last-Event-ID: ${messages[1]?.id}`]
    await using again = await Events.open('/v1/eventlog/steps?waitEvent=test', last)
    const rest = await again.until(/event: end[\s\S]*\n\n/)
    expect(rest).toEqual([
      { id: expect.any(String), data: { name: 'test', timestamp: 1 } },
      { event: 'end', data: { reason: 'event' } },
    ])
    await again.raw.until(/0\r\n\r\n$/)
  })
})

it('the events of one append are few pieces, each of them whole', async () => {
  const events = Array.from({ length: 5_000 }, (_, n) => ({ name: `e${n}`, timestamp: n }))
  async function* watching(): Watching {
    const data = Buffer.concat(encodeEvents(events))
    const position = { incarnation: 'i', index: 1, prefix: 'p' } as never
    yield { type: 'append', index: 0, offset: 0, seq: 1, position, data }
    yield { type: 'end', reason: 'sealed', position }
  }
  const pieces: Uint8Array[] = []
  for await (const piece of eventlogFrames(watching(), undefined)) pieces.push(piece)
  expect(pieces.length).toBeLessThan(10)
  const texts = pieces.map((piece) => Buffer.from(piece).toString())
  for (const text of texts) expect(text).toMatch(/\n\n$/)
  expect(texts.join('').match(/"name":/g)).toHaveLength(events.length)
})

it('the events of a job come as one, too', async () => {
  const env = { PATH: '/bin:/usr/bin' }
  const { id } = await serving.store.jobs.submit({ command: ['true'], cwd: '/', env })
  await using events = await Events.open(`/v1/jobs/${id}/events?follow&heartbeat=1000`)
  const messages = await events.until(/event: end[\s\S]*\n\n/)
  expect(messages[0]).toMatchObject({ data: { name: 'submit' } })
  expect(messages.at(-1)).toEqual({ event: 'end', data: { reason: 'sealed' } })
})

it('the output of a job comes as one, and goes on at a byte', async () => {
  const env = { PATH: '/bin:/usr/bin' }
  const command = ['sh', '-c', 'echo one; read line; echo two']
  const { id } = await serving.store.jobs.submit({ command, cwd: '/', env, stdin: true })
  const path = `/v1/jobs/${id}/output?follow&heartbeat=100`
  await using events = await Events.open(path)
  expect(await events.until(/id: 4\n[\s\S]*event: heartbeat[\s\S]*\n\n/)).toContainEqual({
    id: '4',
    data: { offset: 0, data: 'one\n' },
  })
  await serving.ask('POST', `/v1/jobs/${id}/stdin`, { body: 'go\n' })
  expect((await events.until(/event: end[\s\S]*\n\n/)).slice(-2)).toEqual([
    { id: '8', data: { offset: 4, data: 'two\n' } },
    { event: 'end', data: { reason: 'eof' } },
  ])
  await using again = await Events.open(path, ['Last-Event-ID: 6'])
  expect((await again.until(/event: end[\s\S]*\n\n/))[0]).toEqual({
    id: '8',
    data: { offset: 6, data: 'o\n' },
  })
  await serving.store.jobs.wait(id)
  const accept = 'text/event-stream'
  const ask = (last: string) =>
    serving.ask('GET', path, { headers: { accept, 'last-event-id': last } })
  expect((await ask('8')).status).toBe(204)
  expectError(await ask('x'), 400, 'EINVAL')
  expectError(await serving.ask('GET', path), 400, 'EINVAL')
})

describe('?heartbeat', () => {
  it('is an empty line in NDJSON', async () => {
    await serving.ask('POST', '/v1/eventlog/quiet', { body: '{"name":"a","timestamp":1}' })
    await using raw = await Raw.overSocket(serving)
    raw.send(['GET /v1/eventlog/quiet?follow&heartbeat=100 HTTP/1.1', 'Host: x'])
    await raw.until(/"name":"a"\}\n\r\n1\r\n\n\r\n1\r\n\n\r\n/)
  })

  it.each([
    '/v1/kv/log?follow&heartbeat=1000',
    '/v1/kv/log?heartbeat=1000',
    '/v1/eventlog/log?heartbeat=1000',
    '/v1/eventlog/log?follow&heartbeat=99',
    '/v1/eventlog/log?follow&heartbeat=3600001',
    '/v1/eventlog/log?follow&heartbeat=x',
  ])('is refused in %s', async (path) => {
    expectError(await serving.ask('GET', path), 400, 'EINVAL')
  })
})

describe('Range with ?follow', () => {
  const ask = async (range: string, query = '') => {
    const raw = await Raw.overSocket(serving)
    return raw.send([`GET /v1/kv/ranged?follow${query} HTTP/1.1`, 'Host: x', `Range: ${range}`])
  }

  it.each([
    ['bytes=3-', 3, 'defghij'],
    ['bytes=10-', 10, ''],
    ['bytes=-4', 6, 'ghij'],
    ['bytes=2-999999999999999', 2, 'cdefghij'],
    ['bytes=0-', 0, 'abcdefghij'],
  ])('%s begins there, and goes on', async (range, from, rest) => {
    await serving.store.put('ranged', 'abcdefghij')
    await using raw = await ask(range)
    await raw.until(/\r\n\r\n/)
    expect(raw.text).toMatch(/^HTTP\/1\.1 206 /)
    expect(raw.text).toMatch(new RegExp(`\r\ncontent-range: bytes ${from}-[0-9]+/\\*\r\n`, 'i'))
    if (rest !== '') await raw.until(new RegExp(`\r\n${rest}\r\n`))
    await serving.store.append('ranged', 'more')
    await raw.until(/\r\nmore\r\n/)
  })

  it.each(['bytes=11-', 'bytes=0-3', 'bytes=0-1,3-4', 'bytes=x', 'lines=1-', 'bytes=-', 'bytes=5'])(
    '%s is refused',
    async (range) => {
      await serving.store.put('ranged', 'abcdefghij')
      await using raw = await ask(range)
      expect(refusalIn(await raw.until(/\}\}$/))).toBe('400 EINVAL')
    },
  )

  it('goes with a position, but with no other place, nor with a trimmed log', async () => {
    await serving.store.put('ranged', 'abcdefghij')
    const { headers } = await serving.ask('HEAD', '/v1/kv/ranged')
    const position = encodeURIComponent(String(headers['tailrace-position']))
    await using raw = await ask('bytes=3-', `&position=${position}`)
    await raw.until(/defghij/)
    for (const query of ['&from=1', '&index=0']) {
      await using wrong = await ask('bytes=3-', query)
      expect(refusalIn(await wrong.until(/\}\}$/))).toBe('400 EINVAL')
    }
    await serving.store.append('ranged', 'more')
    await serving.store.commit({ ops: [{ op: 'trim', key: 'ranged', keep: 1 }] })
    await using trimmed = await ask('bytes=3-')
    expect(refusalIn(await trimmed.until(/\}\}$/))).toBe('400 EINVAL')
  })

  it('is what curl -C - asks for', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-curl-'))
    const file = join(directory, 'part')
    await serving.store.append('curled', 'abcdefghij')
    await writeFile(file, 'abc')
    const url = 'http://localhost/v1/kv/curled?follow'
    const curl = spawn('curl', [
      '-sN',
      '--unix-socket',
      serving.server.socket,
      '-C',
      '-',
      '-o',
      file,
      url,
    ])
    const ended = once(curl, 'exit')
    while (serving.store.watchers === 0) await serving.askLocally('GET', '/healthz')
    await serving.store.append('curled', 'klm', { seal: true })
    expect(await ended).toEqual([0, null])
    expect(await readFile(file, 'utf8')).toBe('abcdefghijklm')
    await rm(directory, { recursive: true })
  })
})
