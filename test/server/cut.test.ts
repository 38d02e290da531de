/** Streams that break, over HTTP/1.0 and HTTP/1.1, over TCP and the Unix socket: none of them looks whole. */

import { describe, expect, it } from 'vitest'
import { Raw } from './raw.js'
import { Serving } from './serving.js'

type Way = 'tcp' | 'unix'
type Version = '1.0' | '1.1'

const ways: readonly [Way, Version][] = [
  ['tcp', '1.0'],
  ['tcp', '1.1'],
  ['unix', '1.0'],
  ['unix', '1.1'],
]

async function ask(serving: Serving, path: string, [way, version]: readonly [Way, Version]) {
  const raw = way === 'tcp' ? await Raw.overTcp(serving) : await Raw.overSocket(serving)
  const authorization = `Authorization: Bearer ${serving.server.token}`
  const lines = [`GET ${path} HTTP/${version}`, 'Host: localhost', authorization]
  return raw.send([...lines, 'Connection: close'])
}

/** As a client of that version would see it. */
function looksWhole(raw: Raw): boolean {
  if (raw.failure !== undefined) return false
  const [head = '', body = ''] = raw.text.split('\r\n\r\n', 2)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  if (length !== undefined) return body.length === Number(length)
  if (/\r\ntransfer-encoding: chunked/i.test(head)) return raw.text.endsWith('\r\n0\r\n\r\n')
  return true
}

describe.each(ways)('over %s with HTTP/%s', (way, version) => {
  it('a follow of a key that is overwritten is cut, of a sealed one whole', async () => {
    await using serving = await Serving.start()
    await serving.store.append('log', 'one ')
    await using followed = await ask(serving, '/v1/kv/log?follow', [way, version])
    await followed.until(/one /)
    await serving.store.append('log', 'two ')
    await followed.until(/two /)
    await serving.store.put('log', 'other')
    await followed.end()
    expect(looksWhole(followed)).toBe(false)
    await serving.store.append('whole', 'all', { seal: true })
    await using sealed = await ask(serving, '/v1/kv/whole?follow', [way, version])
    expect(await sealed.end()).toMatch(/all/)
    expect(looksWhole(sealed)).toBe(true)
  })

  it('one whose client sends what cannot be read does not look whole', async () => {
    await using serving = await Serving.start()
    await serving.store.append('log', 'one ')
    await using raw = await ask(serving, '/v1/kv/log?follow', [way, version])
    await raw.until(/one /)
    raw.send(['nonsense'])
    await raw.end()
    expect(looksWhole(raw)).toBe(false)
  })

  it('what a server cuts by its stop does not look whole', async () => {
    await using serving = await Serving.start()
    await serving.store.append('log', 'one')
    await serving.ask('POST', '/v1/eventlog/events', { body: '{"name":"start"}' })
    const script = 'echo out; exec sleep 1000'
    const env = { PATH: '/bin:/usr/bin' }
    const job = await serving.store.jobs.submit({ command: ['sh', '-c', script], cwd: '/', env })
    const streams = [
      ['/v1/kv/log?follow', /one/],
      ['/v1/eventlog/events?follow', /start/],
      [`/v1/jobs/${job.id}/output?follow`, /out\n/],
      [`/v1/jobs/${job.id}/events?follow`, /"start"/],
    ] as const
    const raws: Raw[] = []
    for (const [path, begun] of streams) {
      const raw = await ask(serving, path, [way, version])
      await raw.until(begun)
      raws.push(raw)
    }
    await serving.server.stop()
    for (const raw of raws) {
      await raw.end()
      expect(looksWhole(raw)).toBe(false)
    }
  })

  it('an export that fails in its middle does not look whole', async () => {
    await using serving = await Serving.start()
    for (let index = 0; index < 8; index++) {
      await serving.store.put(`large-${index}`, Buffer.alloc(1_000_000, index))
    }
    await using raw = await ask(serving, '/v1/export', [way, version])
    raw.socket.pause()
    await serving.server.stop()
    raw.socket.resume()
    await raw.end()
    expect(looksWhole(raw)).toBe(false)
  })
})

it('what goes on says so to proxies', async () => {
  await using serving = await Serving.start()
  await serving.store.append('log', 'one')
  await using raw = await ask(serving, '/v1/kv/log?follow', ['unix', '1.1'])
  const head = await raw.until(/one/)
  expect(head).toMatch(/\r\ncache-control: no-store, no-transform\r\n/i)
  expect(head).toMatch(/\r\nx-accel-buffering: no\r\n/i)
})
