/** The metrics of a server, and whether it is ready. See rfc/29, rules 1 to 6. */

import { constants } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/node.js'
import { segmentName } from '../../src/journal/segment.js'
import { requests } from '../../src/wire/requests.js'
import { replaceDescriptors } from '../support/descriptors.js'
import { Peer } from './peer.js'
import { expectError, Serving } from './serving.js'

let serving: Serving
beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

/** The lines of one look, by their names with labels. */
async function look(): Promise<Map<string, number>> {
  const answer = await serving.ask('GET', '/metrics')
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
  const lines = answer.body
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

/** What a count has grown by while something was done. */
async function grown(name: string, act: () => Promise<unknown>): Promise<number> {
  const before = (await look()).get(name) ?? 0
  await act()
  return ((await look()).get(name) ?? 0) - before
}

describe('metrics count', () => {
  it('transactions and commit groups', async () => {
    const group = () => serving.store.commit({ ops: [{ op: 'put', key: 'a', value: 'b' }] })
    expect(await grown('tailrace_commit_group_transactions_sum', group)).toBe(1)
    expect(await grown('tailrace_commit_durable_seconds_count', group)).toBe(1)
    expect(await grown('tailrace_commit_bytes_total', group)).toBeGreaterThan(0)
  })

  it('a group of several transactions once', async () => {
    const both = () => Promise.all([serving.store.put('c', '1'), serving.store.put('d', '2')])
    const one = 'tailrace_commit_group_transactions_bucket{le="1"}'
    const two = 'tailrace_commit_group_transactions_bucket{le="2"}'
    const before = await look()
    await both()
    const after = await look()
    expect((after.get(two) ?? 0) - (before.get(two) ?? 0)).toBe(1)
    expect(after.get(one)).toBe(before.get(one))
  })

  it('a move between namespaces once', async () => {
    await serving.store.namespaces.create('other')
    await serving.store.put('from', 'value', { namespace: 'other' })
    const op = { op: 'move', from: 'from', key: 'to', namespace: 'other' } as const
    const before = await look()
    await serving.store.commit({ ops: [op] })
    const after = await look()
    const by = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0)
    expect(by('tailrace_commit_group_transactions_sum')).toBe(1)
    expect(by('tailrace_commit_durable_seconds_count')).toBe(1)
    expect(by('tailrace_commit_bytes_total')).toBeGreaterThan(0)
  })

  it('requests, by name, way and code', async () => {
    const name = (way: string, code: string) =>
      `tailrace_requests_total{request="key.get",way="${way}",code="${code}"}`
    await serving.store.put('there', 'value')
    expect(await grown(name('http', 'ok'), () => serving.ask('GET', '/v1/kv/there'))).toBe(1)
    expect(await grown(name('http', 'ENOENT'), () => serving.ask('GET', '/v1/kv/not'))).toBe(1)
    await using peer = await Peer.connect(serving)
    const ask = async (body: object) => {
      peer.send({ id: 1, op: 'read', body })
      await peer.next()
    }
    const read = (code: string) =>
      `tailrace_requests_total{request="read",way="websocket",code="${code}"}`
    expect(await grown(read('ok'), () => ask({ keys: ['there'] }))).toBe(1)
    expect(await grown(read('EINVAL'), () => ask({ keys: ['x'.repeat(2_000)] }))).toBe(1)
    expect(await grown(read('EINVAL'), () => ask({ keys: 5 }))).toBe(1)
    const writes = 'tailrace_request_seconds_count{request="txn"}'
    const write = async () => {
      peer.send({ id: 2, op: 'txn', body: { ops: [{ op: 'put', key: 'k', value: 'v' }] } })
      await peer.next()
    }
    expect(await grown(writes, write)).toBe(1)
  })

  it('refusals of requests without a token', async () => {
    const refused = 'tailrace_requests_refused_total{code="EUNAUTH"}'
    const ask = () => serving.ask('GET', '/v1/kv/there', { token: 'wrong' })
    expect(await grown(refused, ask)).toBe(1)
  })

  it('watchers, their events, and those that wait for their client', async () => {
    await serving.store.append('log', 'first')
    await using peer = await Peer.connect(serving)
    const events = async () => {
      peer.send({ id: 1, op: 'watch', key: 'log', mode: 'append', credit: 1 })
      await peer.until(({ type }) => type === 'append')
    }
    expect(await grown('tailrace_watch_events_total', events)).toBe(1)
    // The credit of one byte is used up.
    const now = await look()
    expect(now.get('tailrace_watchers')).toBe(1)
    expect(now.get('tailrace_watchers_behind')).toBe(1)
    expect(now.get('tailrace_websockets')).toBe(1)
    peer.send({ id: 1, op: 'credit', bytes: 1_000_000 })
    await peer.until(({ type }) => type === 'live')
    expect((await look()).get('tailrace_watchers_behind')).toBe(0)
    const delays = 'tailrace_watch_delay_seconds_count'
    const append = async () => {
      await serving.store.append('log', 'second')
      await peer.until(({ type }) => type === 'append')
    }
    expect(await grown(delays, append)).toBe(1)
  })

  it('jobs, by how they ended', async () => {
    const ended = (result: string) => `tailrace_jobs_ended_total{result="${result}"}`
    const env = { PATH: '/usr/bin:/bin' }
    const runs = async (command: string) => {
      const { id } = await serving.store.jobs.submit({ command: [command], cwd: '/', env })
      await serving.store.jobs.wait(id)
    }
    expect(await grown(ended('succeeded'), () => runs('true'))).toBe(1)
    expect(await grown(ended('failed'), () => runs('false'))).toBe(1)
    expect(await grown(ended('failed'), () => runs('not-a-command'))).toBe(1)
  })

  it('what the store holds, and the disk', async () => {
    const now = await look()
    for (const kind of ['disk', 'stored', 'live', 'history']) {
      expect(now.get(`tailrace_store_bytes{kind="${kind}"}`)).toBeGreaterThan(0)
    }
    const [free = 0, all = 0] = ['free', 'all'].map((part) =>
      now.get(`tailrace_disk_bytes{part="${part}"}`),
    )
    expect(free).toBeGreaterThan(0)
    expect(all).toBeGreaterThanOrEqual(free)
    expect(now.get('tailrace_writable')).toBe(1)
    expect(now.get('process_open_fds')).toBeGreaterThan(3)
    expect(now.get('tailrace_anonymous_memory_bytes')).toBeGreaterThan(1e6)
  })

  it('collections, and what they freed', async () => {
    await serving.store.put('gone', 'x'.repeat(100_000))
    await serving.store.upkeep.forget('gone')
    const collect = () => serving.store.upkeep.collect()
    const before = await look()
    await collect()
    const after = await look()
    const freed = 'tailrace_collected_bytes_total'
    expect((after.get(freed) ?? 0) - (before.get(freed) ?? 0)).toBeGreaterThan(100_000)
    expect(after.get('tailrace_collections_total') ?? 0).toBe(1)
  })

  it('nothing whose label a client chooses', async () => {
    await serving.ask('GET', '/v1/kv/x?secret=1')
    await serving.ask('GET', '/strange/path')
    const known = new Set(requests.keys())
    for (const line of (await look()).keys()) {
      const name = /request="([^"]*)"/.exec(line)?.[1]
      if (name !== undefined) expect(known).toContain(name)
      expect(line).not.toMatch(/secret|strange/)
    }
  })
})

describe('who may see them', () => {
  it('has the right metrics, which gives nothing else', async () => {
    const { token } = await serving.store.tokens.create('prometheus', { grants: ['metrics'] })
    expect((await serving.ask('GET', '/metrics', { token })).status).toBe(200)
    expectError(await serving.ask('GET', '/v1/kv/there', { token }), 403, 'EPERM')
    expectError(await serving.ask('GET', '/v1/status', { token }), 403, 'EPERM')
    const listed = await serving.ask('GET', '/v1/ns', { token })
    expect(listed.json).toEqual({ namespaces: [] })
  })

  it('others are refused', async () => {
    const { token } = await serving.store.tokens.create('other', { grants: ['read,admin@*'] })
    expectError(await serving.ask('GET', '/metrics', { token }), 403, 'EPERM', /right metrics/)
    expectError(await serving.ask('GET', '/metrics', { token: '' }), 401, 'EUNAUTH')
    // Nor can such a token give the right.
    await using store = await connect(serving.url, { token })
    await expect(store.tokens.create('more', { grants: ['metrics'] })).rejects.toMatchObject({
      code: 'EPERM',
    })
  })

  it.each(['metrics@primary', 'metrics,read', 'read,metrics@*'])(
    '%s is no grant',
    async (grant) => {
      await expect(serving.store.tokens.create('x', { grants: [grant] })).rejects.toMatchObject({
        code: 'EINVAL',
      })
    },
  )
})

describe('a server is ready', () => {
  it('for whoever asks', async () => {
    const answer = await serving.ask('GET', '/readyz', { token: '' })
    expect([answer.status, answer.json]).toEqual([200, { ready: true }])
  })

  it('no more once the disk has failed, and reads go on', async () => {
    await using other = await Serving.start()
    await other.store.put('a', 'value')
    const segment = join(other.directory, 'store', 'journal', segmentName(1))
    replaceDescriptors(segment, segment, { flags: constants.O_RDONLY })
    await expect(other.store.put('a', 'other')).rejects.toMatchObject({ code: 'EUNKNOWN' })
    const answer = await other.ask('GET', '/readyz', { token: '' })
    expectError(
      answer,
      503,
      'ECLOSED',
      /^a write has failed, and the store is read-only: see the log$/,
    )
    expect((await other.ask('GET', '/healthz')).status).toBe(200)
    expect((await other.ask('GET', '/v1/kv/a')).body.toString()).toBe('value')
    expect((await other.ask('GET', '/metrics')).body.toString()).toContain(
      '\ntailrace_writable 0\n',
    )
  })
})
