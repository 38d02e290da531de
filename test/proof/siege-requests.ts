/** Attacks over HTTP of those who have the token. They find what `prepare` of siege.ts has put: `siege/large` (a
 *  value), `siege/events` (an eventlog), `siege/many` (a directory), `siege/log` (a log). See siege.ts. */

import type { Attack, Kind } from './siege-kind.js'

const holdMs = 10_000
const mebibyte = 1024 * 1024
/** See `bodySizeMax`. */
const bodySize = 12 * mebibyte - 1_000

async function askOnce(attack: Attack, request: string | Uint8Array, ms = 500): Promise<void> {
  const socket = await attack.open()
  await attack.write(socket, request)
  await attack.hold(ms)
}

export const requestKinds: readonly Kind[] = [
  {
    name: 'deep-json',
    lanes: 2,
    perSecond: 1,
    attack: async (attack) => {
      const path = attack.one(['/v1/txn', '/v1/read', '/v1/jobs', '/v1/ns', '/v1/eventlog/siege/x'])
      const unit = attack.one(['[', '{"a":', '[[],', '"\\u', '[1,', '{"a":{},"b":'])
      const size = attack.draw(1_000, bodySize / 2)
      await askOnce(attack, attack.request(`POST ${path}`, unit.repeat(size / unit.length)))
    },
  },
  {
    name: 'ranges',
    lanes: 5,
    perSecond: 10,
    attack: async (attack) => {
      const range = attack.one([
        `bytes=${' '.repeat(7_000)}-${' '.repeat(7_000)}`,
        `bytes=${'0-0,'.repeat(3_000)}`,
        `bytes=${'9'.repeat(10_000)}-`,
        `bytes=-${'0'.repeat(10_000)}1`,
        `bytes=${'\t'.repeat(10_000)}0-`,
      ])
      const other = attack.one([
        `If-None-Match: ${'W/"a", '.repeat(1_500)}`,
        `If-Match: ${'"'.repeat(10_000)}`,
        `Accept: ${'text/,;q= '.repeat(1_000)}`,
        `Content-Digest: ${'sha-256=:'.repeat(1_000)}`,
      ])
      const line = attack.one([`Range: ${range}`, other])
      await askOnce(attack, attack.head('GET /v1/kv/siege/large', [line]), 100)
    },
  },
  {
    name: 'wide-transactions',
    lanes: 1,
    perSecond: 1,
    attack: async (attack) => {
      const ops = Array.from({ length: 4_096 }, () => ({
        op: 'put',
        key: `siege/wide/${attack.draw(0, 99)}/${attack.draw(0, 99)}`,
        value: 'x',
      }))
      await askOnce(attack, attack.request('POST /v1/txn', JSON.stringify({ ops })))
    },
  },
  {
    name: 'base64-bombs',
    lanes: 2,
    perSecond: 1,
    attack: async (attack) => {
      const text = attack.one(['AAAA', 'AA==', 'A', '====', 'A A\\n']).repeat(2_000_000)
      const body = JSON.stringify({ ops: [{ op: 'put', key: 'siege/b', value: { base64: text } }] })
      await askOnce(attack, attack.request('POST /v1/txn', body))
    },
  },
  {
    name: 'unfinished-bodies',
    lanes: 30,
    perSecond: 0.5,
    attack: async (attack) => {
      const socket = await attack.open()
      const path = attack.one(['POST /v1/txn', 'POST /v1/kv/siege/x', 'POST /v1/read'])
      const length = attack.one([`Content-Length: ${bodySize}`, 'Transfer-Encoding: chunked'])
      socket.write(attack.head(path, [length]))
      const size = attack.draw(mebibyte, bodySize - 1)
      const chunk = Buffer.alloc(size, ' ')
      if (length.startsWith('T')) socket.write(`${bodySize.toString(16)}\r\n`)
      await attack.write(socket, chunk)
      await attack.hold(holdMs)
    },
  },
  {
    name: 'small-unfinished-bodies',
    lanes: 1_000,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.open()
      const path = attack.one(['POST /v1/txn', 'PUT /v1/kv/siege/x', 'POST /v1/content'])
      socket.write(attack.head(path, ['Content-Length: 65537']))
      await attack.write(socket, Buffer.alloc(65_536, ' '))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'unfinished-puts',
    lanes: 200,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.open()
      const path = attack.one([
        'PUT /v1/kv/siege/x',
        'POST /v1/import?ns=siege',
        'PUT /v1/kv/siege/y',
      ])
      socket.write(attack.head(path, ['Transfer-Encoding: chunked']))
      const size = attack.draw(1, 2 * mebibyte)
      socket.write(`${size.toString(16)}\r\n`)
      await attack.write(socket, Buffer.alloc(size, attack.draw(0, 255)))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'pipelined-waits',
    lanes: 20,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.open()
      const line = attack.one([
        'GET /v1/root?waitSeq=900000000',
        'GET /v1/kv/siege/never?waitCreate=true',
        'GET /v1/kv/siege/never?waitCreate=true&follow=true',
        'GET /v1/kv/siege/x?minSeq=900000000',
      ])
      await attack.write(socket, attack.head(line).repeat(1_024))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'pipelined-reads',
    lanes: 4,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.open({ deaf: true })
      const line = attack.one([
        'GET /v1/kv/siege/large?to=200000',
        'GET /v1/list/siege/many',
        'GET /v1/status',
        'GET /v1/kv/siege/none',
        'GET /v1/stat/siege/large',
      ])
      await attack.write(socket, attack.head(line).repeat(1_000))
      await attack.hold(2_000)
    },
  },
  {
    name: 'slow-readers',
    lanes: 100,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.open({ deaf: true })
      const line = attack.one([
        'GET /v1/kv/siege/large',
        'GET /v1/kv/siege/log?follow=true',
        'GET /v1/eventlog/siege/events',
        'GET /v1/eventlog/siege/events?follow=true',
        'GET /v1/list/siege/many',
        'GET /v1/export',
      ])
      socket.write(attack.head(line))
      await attack.sip(socket, { everyMs: 50, ms: holdMs })
    },
  },
  {
    name: 'dropped-streams',
    lanes: 5,
    perSecond: 5,
    attack: async (attack) => {
      const socket = await attack.open()
      const line = attack.one(['/v1/kv/siege/large', '/v1/eventlog/siege/events', '/v1/export'])
      socket.write(attack.head(`GET ${line}`))
      await attack.hold(attack.draw(1, 200))
      if (attack.random() < 0.5) socket.resetAndDestroy()
    },
  },
  {
    name: 'event-streams',
    lanes: 300,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.open({ deaf: attack.random() < 0.5 })
      const path = attack.one(['/v1/kv/siege/hot', '/v1/eventlog/siege/events', '/v1/kv/siege/log'])
      const query = '?follow=true&waitCreate=true&heartbeat=100'
      socket.write(attack.head(`GET ${path}${query}`, ['Accept: text/event-stream']))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'lists',
    lanes: 4,
    perSecond: 10,
    attack: async (attack) => {
      const query = attack.one(['', '?recursive=true', '?limit=1', '?after=name-5000'])
      const path = attack.one(['siege/many', 'siege', ''])
      await askOnce(attack, attack.head(`GET /v1/list/${path}${query}`), 50)
    },
  },
  {
    name: 'far-offsets',
    lanes: 4,
    perSecond: 20,
    attack: async (attack) => {
      const far = attack.one(['0', '1', '9007199254740991', '33554432', '-1', '999999999999'])
      const path = attack.one([
        `/v1/treeobj/siege/log?after=${far}`,
        `/v1/kv/siege/log?index=${far}`,
        `/v1/kv/siege/log?from=${far}`,
        `/v1/kv/siege/large?from=${far}&to=${far}`,
        `/v1/roots?after=${far}`,
        `/v1/roots?newest=true&before=${far}`,
        `/v1/diff?from=${far}&to=1`,
        `/v1/log/siege/log?before=${far}`,
        `/v1/jobs?after=${far}`,
      ])
      await askOnce(attack, attack.head(`GET ${path}`), 20)
    },
  },
  {
    name: 'histories',
    lanes: 3,
    perSecond: 10,
    attack: async (attack) => {
      const path = attack.one([
        '/v1/roots?limit=10000',
        '/v1/roots?newest=true&limit=10000',
        '/v1/log/siege/log?limit=10000',
        '/v1/log/siege/none?limit=10000',
        '/v1/usage',
        '/v1/ns',
        '/v1/ns/primary',
        '/v1/pins',
      ])
      await askOnce(attack, attack.head(`GET ${path}`), 50)
    },
  },
  {
    name: 'collections',
    lanes: 2,
    perSecond: 1,
    attack: (attack) => askOnce(attack, attack.request('POST /v1/gc', '{}'), 500),
  },
  {
    name: 'hot-key',
    lanes: 8,
    perSecond: 100,
    attack: async (attack) => {
      const socket = await attack.open()
      const line = 'POST /v1/kv/siege/hot?keep=1000'
      await attack.write(socket, Buffer.concat(Array(10).fill(attack.request(line, 'a line\n'))))
      await attack.hold(10)
    },
  },
  {
    name: 'churn-of-namespaces',
    lanes: 2,
    perSecond: 10,
    attack: async (attack) => {
      const socket = await attack.open()
      const name = `siege-${attack.draw(1, 5)}`
      const from = attack.random() < 0.5 ? { from: { namespace: 'primary' } } : {}
      socket.write(attack.request('POST /v1/ns', JSON.stringify({ name, ...from })))
      socket.write(attack.request(`POST /v1/kv/x?ns=${name}`, 'x'))
      socket.write(attack.head(`DELETE /v1/ns/${name}`))
      await attack.hold(100)
    },
  },
  {
    name: 'brief-values',
    lanes: 4,
    perSecond: 20,
    attack: async (attack) => {
      const key = `siege/brief/${attack.draw(0, 5_000)}`
      const ops = Array.from({ length: 20 }, (_, n) => ({
        ...{ op: 'put', key: `${key}-${n}`, value: 'x', expiry: { ttl: 1_000 } },
      }))
      const lease = { op: 'lease', key, action: 'take', ttl: 1_000 }
      await askOnce(attack, attack.request('POST /v1/txn', JSON.stringify({ ops })), 20)
      await askOnce(attack, attack.request('POST /v1/txn', JSON.stringify({ ops: [lease] })), 20)
    },
  },
  {
    name: 'brief-chunks',
    lanes: 20,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.open()
      const key = attack.draw(1, 1_000)
      socket.write(attack.head(`PUT /v1/kv/siege/chunks/${key}`, ['Transfer-Encoding: chunked']))
      const chunk = attack.one(['1\r\nx\r\n', `1;${'x'.repeat(900)}\r\nx\r\n`])
      for (let n = 0; n < 200 && !socket.destroyed; n++) {
        await attack.write(socket, chunk.repeat(50))
      }
    },
  },
  {
    name: 'endless-jobs',
    lanes: 3,
    perSecond: 0.5,
    attack: async (attack) => {
      const command = attack.one([
        ['timeout', '3', 'yes'],
        ['timeout', '3', 'sh', '-c', 'while :; do echo; done'],
        ['sh', '-c', 'head -c 3000000 /dev/zero'],
      ])
      const submission = { command, cwd: '/', env: { PATH: '/usr/bin:/bin' } }
      const name = attack.draw(1, 1_000_000)
      const body = JSON.stringify({ ...submission, name: `siege-${name}` })
      await askOnce(attack, attack.request('POST /v1/jobs', body), 4_000)
    },
  },
  {
    name: 'many-jobs',
    lanes: 2,
    perSecond: 5,
    attack: async (attack) => {
      const body = JSON.stringify({ command: ['true'], cwd: '/', env: { PATH: '/usr/bin:/bin' } })
      const socket = await attack.open()
      socket.write(attack.request('POST /v1/jobs', body))
      socket.write(attack.head('GET /v1/jobs'))
      await attack.hold(200)
    },
  },
  {
    name: 'junk-imports',
    lanes: 2,
    perSecond: 5,
    attack: async (attack) => {
      const line = attack.one([
        'POST /v1/import',
        'POST /v1/import?replace=true',
        'PUT /v1/treeobj/x',
      ])
      const size = attack.draw(1, mebibyte)
      const bytes = Buffer.alloc(size, attack.one(['tailrace export', '{"', '\0', 'x']))
      await askOnce(attack, attack.request(line, bytes), 100)
    },
  },
  {
    name: 'resets',
    lanes: 10,
    perSecond: 20,
    attack: async (attack) => {
      const socket = await attack.open()
      const request = attack.one([
        attack.head('GET /v1/kv/siege/large'),
        attack.request('POST /v1/kv/siege/x?keep=100', 'x'),
        attack.head('PUT /v1/kv/siege/x', ['Content-Length: 100000']),
        attack.head('GET /v1/list/siege/many'),
      ])
      socket.write(request)
      await attack.hold(attack.draw(0, 20))
      socket.resetAndDestroy()
    },
  },
]
