/** What a server lets the holders of access tokens do: every request, links, watches, what answers do
 *  not tell, and the end of a token. See rfc/28. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LinkOptions } from '../../src/api/access.js'
import { openCache } from '../../src/cache/cache.js'
import { connect } from '../../src/client/node.js'
import { run, target } from '../../src/flow/flow.js'
import { hiddenRef } from '../../src/rights/limited.js'
import { signedText } from '../../src/rights/links.js'
import { withoutSecrets } from '../../src/server/linked.js'
import { ticketMs, ticketsMax, ticketsOfOneMax } from '../../src/server/principals.js'
import { startServer } from '../../src/server/server.js'
import { subprotocolJson } from '../../src/wire/frames.js'
import { isCall } from '../../src/wire/request.js'
import { TestClock } from '../clock.js'
import * as fn from '../flow/kept-functions.js'
import { refusal } from '../kvs/expect.js'
import { askedByName, askHttp, fill, prepared } from './calls.js'
import { Peer } from './peer.js'
import { Raw } from './raw.js'
import { Serving } from './serving.js'

let serving: Serving
beforeAll(async () => {
  serving = await Serving.start()
  const { store } = serving
  await fill(store)
  await store.namespaces.create('private')
  await store.put('key', 'of private', { namespace: 'private' })
  await store.put('open/value', 'v')
  await store.append('open/log', 'one')
  await store.put('secret/value', 's')
  await store.append('secret/log', 'one')
  await store.commit({
    ops: [
      { op: 'symlink', key: 'open/in', target: 'open/value' },
      { op: 'symlink', key: 'open/out', target: 'secret/value' },
      { op: 'symlink', key: 'open/outlog', target: 'secret/log' },
      { op: 'symlink', key: 'open/nothing', target: 'secret/nothing' },
      { op: 'symlink', key: 'open/dir', target: 'secret' },
      { op: 'symlink', key: 'open/loop', target: 'secret/loop' },
      { op: 'symlink', key: 'secret/loop', target: 'secret/loop' },
      { op: 'symlink', key: 'open/other', target: 'key', namespace: 'private' },
      { op: 'symlink', key: 'open/twice', target: 'secret/back' },
      { op: 'symlink', key: 'secret/back', target: 'open/value' },
    ],
  })
})
afterAll(() => serving[Symbol.asyncDispose]())

/** Counts how often the first bytes of a value stand in the files of the store. */
async function countOf(value: Buffer): Promise<number> {
  const directory = join(serving.directory, 'store')
  const needle = value.subarray(0, 64)
  let count = 0
  for (const name of await readdir(directory, { recursive: true })) {
    const bytes = await readFile(join(directory, name)).catch(() => Buffer.alloc(0))
    for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) count++
  }
  return count
}

async function* piecesOf(value: Buffer): AsyncGenerator<Uint8Array> {
  yield value
}

/** The text of a new token. */
async function tokenOf(...grants: readonly string[]): Promise<string> {
  return (await serving.store.tokens.create('test', { grants })).token
}

/** A client with a new token. Over TCP, so that its token is needed. */
async function clientOf(...grants: readonly string[]) {
  return connect(serving.url, { token: await tokenOf(...grants), reconnect: false })
}

describe('every request', () => {
  /** What one who has nothing to do with anything is told; of all others EPERM. */
  const told: Readonly<Record<string, number | string>> = {
    'server.health': 200,
    'server.ready': 200,
    'server.openapi': 200,
    'server.docs': 200,
    'namespaces.list': 200,
    'namespaces.show': 'ENONS',
    'history.pins': 200,
    'history.unpin': 'ENOENT',
    'tokens.list': 200,
    'tickets.create': 201,
    'tokens.renew': 'ENOENT',
    'tokens.revoke': 'ENOENT',
  }
  const stopping = new Set(['server.stop'])

  it.each([...askedByName.keys()])('%s', async (name) => {
    const asked = askedByName.get(name)
    if (!asked) throw new Error(`no example of ${name}`)
    const { spec } = asked
    const { args, upload } = stopping.has(name)
      ? { args: {}, upload: new Uint8Array() }
      : await prepared(serving.store, asked)
    const token = await tokenOf('read,write,watch,append,lease@elsewhere/none')
    const [before, tokens] = [await serving.store.root(), await serving.store.tokens.list()]
    const answer = await askHttp(serving, spec, { args, upload, token })
    const expected = told[name] ?? 'EPERM'
    if (typeof expected === 'number') expect(answer.status).toBe(expected)
    else if (spec.method === 'HEAD') expect(answer.headers['tailrace-error']).toBe(expected)
    else expect(answer.json).toMatchObject({ error: { code: expected } })
    const lists = {
      'namespaces.list': 'namespaces',
      'history.pins': 'pins',
      'tokens.list': 'tokens',
    }
    const list = lists[name as keyof typeof lists]
    if (list) expect(answer.json).toEqual({ [list]: [] })
    expect((await serving.store.root()).seq).toBe(before.seq)
    expect(await serving.store.tokens.list()).toEqual(tokens)
    if (!isCall(spec) || spec.right === 'anyone') return
    await using peer = await Peer.connect(serving, {
      headers: { authorization: `Bearer ${token}` },
    })
    const { namespace, ...body } = args
    peer.send({ id: 1, op: name, ...(spec.namespaced ? { namespace, body } : { body: args }) })
    const frame = await peer.next()
    expect(frame).toMatchObject(
      typeof expected === 'number' ? { type: 'result' } : { type: 'error', code: expected },
    )
  })
})

describe('a reader of a part', () => {
  it('reads what it was granted, and nothing beside it', async () => {
    await using store = await clientOf('read,watch@primary/open')
    expect(await store.get('open/value')).toEqual(Buffer.from('v'))
    expect((await store.list('open')).entries.length).toBeGreaterThan(5)
    expect((await store.readMany(['open/value', 'open/no'])).values).toEqual([
      Buffer.from('v'),
      undefined,
    ])
    for (const key of ['secret/value', 'secret/none', '', 'ope', 'open2']) {
      const failures = [
        await refusal(store.get(key)),
        await refusal(store.stat(key)),
        await refusal(store.list(key)),
        await refusal(store.readMany(['open/value', key])),
        await refusal(store.history.log(key)),
        await refusal(store.history.diff({ from: 1, prefix: key })),
        await refusal(store.watch(key, { mode: 'value', waitCreate: true }).next()),
      ]
      expect(failures.map(({ code }) => code)).toEqual(failures.map(() => 'EPERM'))
    }
    expect((await refusal(store.put('open/value', 'x'))).code).toBe('EPERM')
    expect((await refusal(store.append('open/log', 'x'))).code).toBe('EPERM')
    expect((await refusal(store.leases.take('open/value'))).code).toBe('EPERM')
  })

  it.each([
    ['open/out', 'secret/value'],
    ['open/nothing', 'secret/nothing'],
    ['open/dir/value', 'secret/value'],
    ['open/dir/none', 'secret/none'],
    ['open/loop', 'secret/loop'],
    ['open/other', 'key'],
    ['open/twice', 'secret/back'],
  ])('a link out is refused, whatever is behind it: %s', async (key, behind) => {
    await using store = await clientOf('read,watch@primary/open')
    const failures = [
      await refusal(store.get(key)),
      await refusal(store.stat(key)),
      await refusal(store.read(key)),
      await refusal(store.readMany([key])),
      await refusal(store.list(key)),
      await refusal(store.watch(key, { mode: 'value' }).next()),
      await refusal(store.watch(key, { mode: 'append', waitCreate: true }).next()),
    ]
    const { json, headers } = await serving.ask('GET', `/v1/kv/${key}?follow`, {
      token: await tokenOf('read,watch@primary/open'),
    })
    expect(json).toMatchObject({ error: { code: 'EPERM' } })
    expect(headers['tailrace-position']).toBeUndefined()
    for (const { code, message } of failures) {
      expect(code).toBe('EPERM')
      expect(message).not.toContain(behind)
    }
  })

  it('a link within is followed, and shown as a link', async () => {
    await using store = await clientOf('read,watch@primary/open')
    expect(await store.get('open/in')).toEqual(Buffer.from('v'))
    expect(await store.stat('open/out', { nofollow: true })).toMatchObject({ type: 'symlink' })
  })

  it('a watch ends once its link leads out', async () => {
    await serving.store.commit({
      ops: [{ op: 'symlink', key: 'open/moving', target: 'open/value' }],
    })
    await using store = await clientOf('read,watch@primary/open')
    const watching = store.watch('open/moving', { mode: 'value' })
    const { value } = await watching.next()
    expect(value).toMatchObject({ type: 'value' })
    const next = watching.next()
    await serving.store.commit({
      ops: [{ op: 'symlink', key: 'open/moving', target: 'secret/value' }],
    })
    expect((await refusal(next)).code).toBe('EPERM')
  })

  it('another, who may, watches the same link', async () => {
    await using closed = await clientOf('read,watch@primary/open')
    await using open = await clientOf('read,watch')
    const options = { mode: 'append' } as const
    const allowed = open.watch('open/outlog', options)
    expect(await allowed.next()).toMatchObject({ value: { type: 'append' } })
    expect((await refusal(closed.watch('open/outlog', options).next())).code).toBe('EPERM')
    expect(await allowed.next()).toMatchObject({ value: { type: 'live' } })
    await allowed.return?.()
  })

  it('is not told the ref of the root, nor reads at a ref', async () => {
    await using part = await clientOf('read,write@primary/open')
    await using whole = await clientOf('read,write')
    const { ref } = await serving.store.root()
    expect(await part.root()).toMatchObject({ ref: hiddenRef })
    expect(await whole.root()).toMatchObject({ ref })
    expect(await part.put('open/mine', '1')).toMatchObject({ ref: hiddenRef })
    for (const store of [part, whole]) {
      expect((await refusal(store.get('open/value', { at: ref }))).code).toBe('EPERM')
      expect((await refusal(store.blobs.load(ref))).code).toBe('EPERM')
      expect((await refusal(store.treeobj('open/value'))).code).toBe('EPERM')
    }
  })

  it('sees the namespaces that it may read whole', async () => {
    await using store = await clientOf('read@private', 'read@primary/open')
    expect((await store.namespaces.list()).map(({ name }) => name)).toEqual(['private'])
  })
})

describe('a watcher of a part', () => {
  it('sees the changes below it, and none elsewhere', async () => {
    await using store = await clientOf('read,watch@primary/open')
    const watching = store.watch('open', { mode: 'changes' })
    await watching.next()
    await watching.next()
    const pending = watching.next()
    await serving.store.put('secret/more', '1')
    await serving.store.put('open/more', '1')
    const { value } = await pending
    expect(value).toMatchObject({ entries: [{ key: 'open/more' }] })
    expect(JSON.stringify(value)).not.toContain('secret')
    await watching.return?.()
    for (const key of ['', 'secret', 'open2']) {
      const refused = store.watch(key, { mode: 'changes' })
      expect((await refusal(refused.next())).code).toBe('EPERM')
    }
    await using reader = await clientOf('read@primary/open')
    const refused = reader.watch('open', { mode: 'changes' })
    expect((await refusal(refused.next())).code).toBe('EPERM')
  })
})

describe('a writer of a part', () => {
  const outs = ['open/out', 'open/dir/value', 'open/dir/none', 'open/other', 'open/twice']

  it.each(outs)('does not write through a link out: %s', async (key) => {
    await using store = await clientOf('read,write,lease@primary/open')
    const before = await serving.store.root()
    const into = `${key}/x`
    const failures = [
      await refusal(store.append(key, 'x')),
      await refusal(store.put(into, 'x')),
      await refusal(store.leases.take(into)),
      await refusal(store.commit({ ops: [{ op: 'seal', key }] })),
      await refusal(store.commit({ ops: [{ op: 'trim', key, keep: 0 }] })),
      await refusal(store.commit({ ops: [{ op: 'unlink', key: into }] })),
      await refusal(store.commit({ ops: [{ op: 'mkdir', key: into }] })),
      await refusal(store.commit({ ops: [{ op: 'copy', from: key, key: 'open/copy' }] })),
      await refusal(store.commit({ ops: [{ op: 'move', from: into, key: 'open/copy' }] })),
      await refusal(store.commit({ ops: [{ op: 'fork', from: key, key: 'open/f', count: 0 }] })),
      await refusal(store.commit({ ops: [{ op: 'restore', key: into, at: before.seq }] })),
      await refusal(store.commit({ guards: [{ key, absent: true }], ops: [] })),
      await refusal(store.commit({ guards: [{ key, count: 7 }], ops: [] })),
    ]
    expect(failures.map(({ code }) => code)).toEqual(failures.map(() => 'EPERM'))
    expect((await serving.store.root()).seq).toBe(before.seq)
  })

  it('does not name what it was not granted, in any op or guard', async () => {
    await using store = await clientOf('read,write,lease@primary/open')
    const before = await serving.store.root()
    const key = 'secret/value'
    const here = { key: 'open/x' }
    const token = { incarnation: before.incarnation, seq: 1 }
    const transactions = [
      { ops: [{ op: 'put', key, value: '' }] },
      { ops: [{ op: 'append', key, value: '' }] },
      { ops: [{ op: 'seal', key }] },
      { ops: [{ op: 'trim', key, keep: 0 }] },
      { ops: [{ op: 'unlink', key }] },
      { ops: [{ op: 'mkdir', key: 'secret/dir' }] },
      { ops: [{ op: 'symlink', key, target: 'open/value' }] },
      { ops: [{ op: 'copy', from: key, ...here }] },
      { ops: [{ op: 'copy', from: 'open/value', key }] },
      { ops: [{ op: 'copy', from: 'key', namespace: 'private', ...here }] },
      { ops: [{ op: 'copy', from: 'open/value', at: before.ref, ...here }] },
      { ops: [{ op: 'fork', from: key, count: 0, ...here }] },
      { ops: [{ op: 'move', from: key, ...here }] },
      { ops: [{ op: 'move', from: 'open/value', key }] },
      { ops: [{ op: 'move', from: 'key', namespace: 'private', ...here }] },
      { ops: [{ op: 'restore', key, at: before.seq }] },
      { ops: [{ op: 'restore', key: 'open/value', at: before.ref }] },
      { ops: [{ op: 'lease', key, action: 'take', ttl: 1_000 }] },
      { ops: [{ op: 'treeobj', ...here, treeobj: { ver: 1, type: 'val', data: '' } }] },
      { guards: [{ key, absent: true }], ops: [] },
      { guards: [{ key, ref: before.ref }], ops: [] },
      { guards: [{ key, count: 1 }], ops: [] },
      { guards: [{ key, producer: 'p', epoch: 0, next: 0 }], ops: [] },
      { guards: [{ lease: key, token }], ops: [] },
    ] as const
    for (const transaction of transactions) {
      expect((await refusal(store.commit(transaction))).code).toBe('EPERM')
    }
    expect((await serving.store.root()).seq).toBe(before.seq)
  })

  it('who appends does not end, cap or date a log', async () => {
    await using store = await clientOf('append@primary/open/log')
    const { result } = await store.append('open/log', 'two')
    expect(result.count).toBeGreaterThan(1)
    for (const options of [{ seal: true }, { ttl: 1_000 }, { cap: { keep: 1 } }] as const) {
      expect((await refusal(store.append('open/log', 'x', options))).code).toBe('EPERM')
    }
    expect((await refusal(store.get('open/log'))).code).toBe('EPERM')
    expect((await refusal(store.put('open/log', 'x'))).code).toBe('EPERM')
  })

  it('who may append and nothing else does so over HTTP, and as a producer', async () => {
    const token = await tokenOf('append@primary/open/agent')
    const posted = await serving.ask('POST', '/v1/kv/open/agent', { token, body: 'a' })
    expect(posted.status).toBe(200)
    expect(posted.headers['tailrace-position']).toBeUndefined()
    await using store = await connect(serving.url, { token })
    await using producer = await store.producer('open/agent', { id: 'agent' })
    await producer.append('b')
    await producer.append('c')
    expect(String(await serving.store.get('open/agent'))).toBe('abc')
    expect((await refusal(store.producer('secret/log').then((own) => own.append('x')))).code).toBe(
      'EPERM',
    )
    const out = await refusal(store.producer('open/outlog').then((own) => own.append('x')))
    expect(out.code).toBe('EPERM')
  })

  it('who may write and not read is not told what is there', async () => {
    const token = await tokenOf('write@primary/open')
    const ask = (method: string, key: string, headers = {}) =>
      serving.ask(method, `/v1/kv/${key}`, {
        token,
        headers,
        ...(method === 'PUT' && { body: 'x' }),
      })
    expect((await ask('PUT', 'open/written')).status).toBe(200)
    expect((await ask('PUT', 'open/written', { 'if-none-match': '*' })).status).toBe(403)
    expect((await ask('DELETE', 'open/written')).status).toBe(200)
    expect((await ask('DELETE', 'open/written')).status).toBe(200)
    expect((await ask('DELETE', 'secret/none')).status).toBe(403)
    expect((await ask('GET', 'open/written')).status).toBe(403)
  })

  it('has idempotency keys of its own', async () => {
    await using first = await clientOf('write@primary/open')
    await using second = await clientOf('write@primary/open')
    const append = { ops: [{ op: 'append', key: 'open/once', value: 'x' }] } as const
    const options = { idempotencyKey: 'same' }
    expect((await first.commit(append, options)).results[0]?.count).toBe(1)
    expect(await first.commit(append, options)).toMatchObject({ repeated: true })
    expect((await second.commit(append, options)).results[0]?.count).toBe(2)
  })

  it('writes what the store has already, so that no time tells of it', async () => {
    const { store } = serving
    const small = randomBytes(100_000)
    const large = randomBytes(1_500_000)
    for (const [name, value] of Object.entries({ small, large })) {
      await store.put(`secret/${name}`, piecesOf(value))
      await store.put(`secret/${name}-again`, piecesOf(value))
    }
    await store.append('secret/log', small)
    expect([await countOf(small), await countOf(large)]).toEqual([1, 1])
    await using writer = await clientOf('write@primary/open')
    await writer.put('open/small', small)
    await writer.append('open/appended', small)
    await writer.put('open/large', piecesOf(large))
    expect([await countOf(small), await countOf(large)]).toEqual([3, 2])
    for (const key of ['open/large', 'secret/large']) {
      const value = await store.get(key)
      expect(value && large.equals(value)).toBe(true)
    }
  })

  it('is told no sizes by a quota', async () => {
    await serving.store.namespaces.create('small')
    await serving.store.put('theirs', 'x'.repeat(900), { namespace: 'small' })
    await serving.store.namespaces.configure('small', { quota: 1_000 })
    await using store = await clientOf('write@small/mine')
    const error = await refusal(store.put('mine', 'x'.repeat(200), { namespace: 'small' }))
    expect(error).toMatchObject({ code: 'EDQUOT', message: expect.not.stringMatching(/\d/) })
  })
})

describe('a holder of results', () => {
  it('makes layers, shares results and reads those of others, in layers only', async () => {
    await using store = await clientOf('results@cache-*')
    const cache = openCache(store, { layer: 'rights' })
    await cache.layers.create('rights')
    let runs = 0
    const work = async () => `result ${++runs}`
    const action = { name: 'work', of: 7 }
    expect(await cache.cached(action, work)).toBe('result 1')
    expect(await cache.cached(action, work)).toBe('result 1')
    await using other = await clientOf('results@cache-rights')
    const second = openCache(other, { layer: 'rights' })
    expect(await second.cached(action, work)).toBe('result 1')
    await using stranger = await clientOf('results@cache-mine')
    const strange = openCache(stranger, { layer: 'rights' })
    expect((await refusal(strange.cached(action, work))).code).toBe('EPERM')
    expect((await refusal(store.get('open/value'))).code).toBe('EPERM')
  })
})

describe('an administrator of some namespaces', () => {
  it('makes, sets up, pins and removes those, and no other', async () => {
    await serving.store.namespaces.create('cellar')
    await serving.store.history.pin('ours', { namespace: 'cellar' })
    await using store = await clientOf('admin@ci-*')
    const { namespaces, history } = store
    await namespaces.create('ci-7')
    expect(await namespaces.configure('ci-7', { quota: 1_000 })).toMatchObject({ quota: 1_000 })
    await history.pin('seven', { namespace: 'ci-7' })
    expect((await namespaces.list()).map(({ name }) => name)).toEqual(['ci-7'])
    expect((await history.pins()).map(({ name }) => name)).toEqual(['seven'])
    const failures = [
      await refusal(namespaces.create('mine')),
      await refusal(namespaces.create('ci-8', { from: { namespace: 'cellar' } })),
      await refusal(namespaces.configure('cellar', { quota: 1_000 })),
      await refusal(namespaces.remove('cellar')),
      await refusal(history.pin('theirs', { namespace: 'cellar' })),
      await refusal(history.roots({ namespace: 'ci-7' })),
      await refusal(store.put('key', 'x', { namespace: 'ci-7' })),
      await refusal(store.get('key', { namespace: 'ci-7' })),
    ]
    expect(failures.map(({ code }) => code)).toEqual(failures.map(() => 'EPERM'))
    const taken = await refusal(history.pin('ours', { namespace: 'ci-7' }))
    expect(taken).toMatchObject({ code: 'EEXIST', message: expect.not.stringContaining('cellar') })
    expect((await refusal(history.unpin('ours'))).code).toBe('ENOENT')
    await history.unpin('seven')
    await namespaces.remove('ci-7')
    const left = (await serving.store.namespaces.list()).map(({ name }) => name)
    expect(left).toEqual(expect.arrayContaining(['cellar']))
    expect(left.filter((name) => name.startsWith('ci-') || name === 'mine')).toEqual([])
    expect((await serving.store.history.pins()).map(({ name }) => name)).toContain('ours')
  })

  it('copies a namespace that it may read whole', async () => {
    const grants = ['admin@copy-*', 'read@private'] as const
    await using store = await clientOf(...grants, 'read@copy-*')
    await store.namespaces.create('copy-1', { from: { namespace: 'private' } })
    expect(String(await store.get('key', { namespace: 'copy-1' }))).toBe('of private')
    await using part = await clientOf('admin@copy-*', 'read@private/key')
    const refused = part.namespaces.create('copy-2', { from: { namespace: 'private' } })
    expect((await refusal(refused)).code).toBe('EPERM')
  })
})

describe('a runner of flows', () => {
  const made = target('made', [5], fn.square)
  const grants = ['results@cache-*', 'read,watch,write,lease,admin@flow-*'] as const

  it('keeps results and runs with these grants, which give no other key', async () => {
    await using store = await clientOf(...grants)
    expect(await run(made, { store }).result).toBe(25)
    const events: string[] = []
    const again = run(made, { store })
    for await (const { type } of again) events.push(type)
    expect(events).toContain('hit')
    expect((await refusal(store.get('open/value'))).code).toBe('EPERM')
  })

  it('runs none without those of the runs, or of the results', async () => {
    for (const grant of grants) {
      await using store = await clientOf(grant)
      const other = target('other', [grant.length], fn.square)
      await expect(run(other, { store }).result).rejects.toThrow(/may not|has nothing to do/)
    }
  })
})

describe('a holder of jobs', () => {
  const submission = { command: ['echo', 'hi'], cwd: '/', env: { PATH: process.env['PATH'] ?? '' } }

  it('runs commands and reads them', async () => {
    await using store = await clientOf('jobs')
    const { id } = await store.jobs.submit(submission)
    expect(await store.jobs.wait(id)).toMatchObject({ state: 'finished', status: 0 })
    const pieces: string[] = []
    for await (const { data } of store.jobs.output(id, { follow: true })) pieces.push(String(data))
    expect(pieces.join('')).toBe('hi\n')
    expect((await refusal(store.get('open/value'))).code).toBe('EPERM')
    await store.jobs.remove(id)
  })

  it('who may read and watch them follows them, and does nothing to them', async () => {
    const { id } = await serving.store.jobs.submit({ ...submission, command: ['cat'], stdin: true })
    await using store = await clientOf('read,watch@jobs')
    const { jobs } = store
    const following = jobs.output(id, { follow: true })[Symbol.asyncIterator]()
    const first = following.next()
    const failures = [
      await refusal(jobs.submit(submission)),
      await refusal(jobs.signal(id, 'SIGTERM')),
      await refusal(jobs.stdin(id, piecesOf(Buffer.from('not this')))),
      await refusal(jobs.remove(id)),
      await refusal(jobs.prune({ olderThanMs: 0 })),
    ]
    expect(failures.map(({ code }) => code)).toEqual(failures.map(() => 'EPERM'))
    await serving.store.jobs.stdin(id, piecesOf(Buffer.from('this\n')))
    expect(String((await first).value?.data)).toBe('this\n')
    expect(await jobs.wait(id)).toMatchObject({ state: 'finished', status: 0 })
    await using reader = await clientOf('read@jobs')
    expect((await refusal(reader.jobs.wait(id))).code).toBe('EPERM')
    expect(await reader.jobs.show(id)).toMatchObject({ state: 'finished' })
  })
})

describe('a token', () => {
  it('counts over the Unix socket too', async () => {
    const target = `unix:${serving.server.socket}`
    await using store = await connect(target, { token: await tokenOf('read@primary/open') })
    expect((await refusal(store.get('secret/value'))).code).toBe('EPERM')
    const headers = { authorization: 'Bearer tailrace_000000000000_none' }
    const answer = await serving.askLocally('GET', '/v1/kv/open/value', { headers })
    expect(answer.status).toBe(401)
  })

  it('comes in the first frame of a websocket, and stays that of the connection', async () => {
    await using peer = await Peer.connect(serving, { token: 'none' })
    peer.send({ id: 1, op: 'auth', token: await tokenOf('read@primary/open') })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'result' })
    peer.send({ id: 2, op: 'stat', body: { key: 'secret/value' } })
    expect(await peer.next()).toMatchObject({ id: 2, code: 'EPERM' })
    peer.send({ id: 3, op: 'auth', token: serving.server.token })
    expect(await peer.next()).toMatchObject({ id: 3, code: 'EINVAL' })
    peer.send({ id: 4, op: 'stat', body: { key: 'secret/value' } })
    expect(await peer.next()).toMatchObject({ id: 4, code: 'EPERM' })
  })

  /** A token, and all that its holder has open. */
  async function busy(grants: readonly string[], ttl?: number) {
    const made = await serving.store.tokens.create('busy', {
      grants,
      ...(ttl === undefined ? {} : { ttl }),
    })
    const headers = { authorization: `Bearer ${made.token}` }
    const peer = await Peer.connect(serving, { headers })
    peer.send({ id: 1, op: 'watch', mode: 'append', key: 'open/log' })
    for (let frame = await peer.next(); frame.type !== 'live'; ) frame = await peer.next()
    peer.send({ id: 2, op: 'root', body: { waitSeq: 1_000_000 } })
    const follow = httpRequest(`${serving.url}/v1/kv/open/log?follow`, { headers }).end()
    const waiting = httpRequest(`${serving.url}/v1/root?waitSeq=1000000`, { headers }).end()
    const upload = httpRequest(`${serving.url}/v1/kv/open/upload`, { method: 'PUT', headers })
    for (const request of [follow, waiting, upload]) request.on('error', () => {})
    const [followed] = (await once(follow, 'response')) as [IncomingMessage]
    upload.write('the first bytes')
    const cut = [
      once(
        followed.on('data', () => {}),
        'error',
      ),
      once(waiting, 'error'),
      once(upload, 'error'),
    ]
    return { made, peer, cut }
  }

  /** Everything has ended, and with the right words. */
  async function expectOver({ made, peer, cut }: Awaited<ReturnType<typeof busy>>) {
    const codes = new Map<number, string>()
    for (let at = 0; at < 3; at++) {
      const frame = await peer.next()
      if (frame.type === 'error') codes.set(frame.id, frame.code)
    }
    expect(Object.fromEntries(codes)).toEqual({ 0: 'EUNAUTH', 1: 'EUNAUTH', 2: 'EUNAUTH' })
    expect(await peer.closed()).toBe(1008)
    await Promise.all(cut)
    expect((await serving.ask('GET', '/v1/kv/open/value', { token: made.token })).status).toBe(401)
    expect(await serving.store.get('open/upload')).toBeUndefined()
  }

  it('that is revoked ends its watches, waits and requests, and those of its children', async () => {
    const held = await busy(['read,watch,write,admin'])
    await using admin = await connect(serving.url, { token: held.made.token })
    const child = await admin.tokens.create('child', { grants: ['read'], ttl: 60_000 })
    expect((await serving.ask('GET', '/v1/kv/open/value', { token: child.token })).status).toBe(200)
    await serving.store.tokens.revoke(held.made.id)
    await expectOver(held)
    expect((await serving.ask('GET', '/v1/kv/open/value', { token: child.token })).status).toBe(401)
  })

  it('that expires ends them too', async () => {
    await expectOver(await busy(['read,watch,write'], 1_500))
  })

  it('ends with the one above it, which nobody has used', async () => {
    const clock = new TestClock()
    await using other = await Serving.start({ environment: clock }, { environment: clock })
    const { tokens } = other.store
    const parent = await tokens.create('parent', { grants: ['read,admin'] })
    const body = JSON.stringify({ name: 'child', grants: ['read'], ttl: 3_600_000 })
    const made = await other.ask('POST', '/v1/tokens', { token: parent.token, body })
    const { token } = made.json as { readonly token: string }
    // A server that was started anew has not seen the parent.
    await other.server.stop()
    await using server = await startServer(other.store, {
      ...{ directory: other.directory, environment: clock, log: () => {} },
      listen: ['127.0.0.1:0'],
    })
    const headers = { authorization: `Bearer ${token}` }
    await using peer = await Peer.connect({ server }, { headers })
    peer.send({ id: 1, op: 'root', body: { waitSeq: 1_000_000 } })
    peer.send({ id: 2, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 2, type: 'result' })
    await tokens.renew(parent.id, { ttl: 2_000 })
    clock.advance(2_000)
    expect(await peer.next()).toMatchObject({ type: 'error', code: 'EUNAUTH' })
    expect(await peer.closed()).toBe(1008)
  })

  it('that is revoked is refused where a request waits behind another one', async () => {
    const { id, token } = await serving.store.tokens.create('late', { grants: ['read,write'] })
    const { seq } = await serving.store.root()
    await using raw = await Raw.overTcp(serving)
    const host = `Host: ${serving.server.listen[0]}`
    const first = `GET /v1/root?waitSeq=${seq + 1} HTTP/1.1`
    raw.send([first, host, `Authorization: Bearer ${serving.server.token}`])
    raw.send([
      'PUT /v1/kv/open/late HTTP/1.1',
      host,
      `Authorization: Bearer ${token}`,
      'Content-Length: 0',
    ])
    // The answer to another connection shows that the server has read what came before.
    expect((await serving.ask('GET', '/v1/root')).status).toBe(200)
    await serving.store.tokens.revoke(id)
    await serving.store.put('open/other', '1')
    const text = await raw.until(/401 .*EUNAUTH/s)
    expect(text).toMatch(/^HTTP\/1.1 200 .*HTTP\/1.1 401 /s)
    expect(await serving.store.get('open/late')).toBeUndefined()
  })

  it('that is revoked opens no websocket where the upgrade waits behind another request', async () => {
    const { id, token } = await serving.store.tokens.create('late', { grants: ['read,watch'] })
    const { seq } = await serving.store.root()
    await using raw = await Raw.overTcp(serving)
    const host = `Host: ${serving.server.listen[0]}`
    const first = `GET /v1/root?waitSeq=${seq + 1} HTTP/1.1`
    raw.send([first, host, `Authorization: Bearer ${serving.server.token}`])
    raw.send([
      ...['GET /v1/ws HTTP/1.1', host, `Authorization: Bearer ${token}`, 'Connection: Upgrade'],
      ...['Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
      ...[`Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`],
      `Sec-WebSocket-Protocol: ${subprotocolJson}`,
    ])
    expect((await serving.ask('GET', '/v1/root')).status).toBe(200)
    await serving.store.tokens.revoke(id)
    await serving.store.put('open/other', '1')
    const text = await raw.until(/EUNAUTH$/)
    expect(text).toMatch(/HTTP\/1.1 101 .*"EUNAUTH"/s)
    // A close frame of the server: its opcode, its length, the code 1008 and the reason.
    expect(text.endsWith(`${String.fromCharCode(0x88, 9, 3, 0xf0)}EUNAUTH`)).toBe(true)
  })
})

describe('a link', () => {
  const pathOf = async (options: LinkOptions) => (await serving.store.tokens.link(options)).path
  const ask = (path: string, token = '') => serving.ask('GET', path, { token })

  it('lets read one key, without a token', async () => {
    const path = await pathOf({ key: 'open/value' })
    const { status, body } = await ask(path)
    expect([status, body.toString()]).toEqual([200, 'v'])
    expect((await serving.ask('HEAD', path, { token: '' })).status).toBe(200)
    expect((await ask(`${path}&from=1`)).body.toString()).toBe('')
    expect((await ask(path.replace('/kv/', '/eventlog/'))).status).not.toBe(401)
  })

  it.each([
    ['another key', (path: string) => path.replace('open/value', 'secret/value'), 401],
    ['a key below', (path: string) => path.replace('open/value', 'open/value/x'), 401],
    ['another namespace', (path: string) => `${path}&namespace=private`, 401],
    ['a job of that name', (path: string) => path.replace(/kv.*\?/, 'jobs/value?'), 401],
    ['a later time', (path: string) => path.replace(/\.(\d)/, '.9$1'), 401],
    [
      'another signature',
      (path: string) => path.replace(/.$/, (end) => (end === 'A' ? 'B' : 'A')),
      401,
    ],
    ['another maker', (path: string) => path.replace('owner', '0123456789ab'), 401],
    ['follow', (path: string) => path.replace('link=r', 'link=f'), 401],
    ['no signature', (path: string) => path.replace(/link=.*/, 'link='), 401],
    ['a ?follow', (path: string) => `${path}&follow=true`, 403],
    ['an old root', (path: string) => `${path}&at=1`, 403],
    ['a wait', (path: string) => `${path}&minSeq=1`, 403],
    ['its stat', (path: string) => path.replace('/kv/', '/stat/'), 403],
    ['its treeobj', (path: string) => path.replace('/kv/', '/treeobj/'), 403],
    ['a second link', (path: string) => `${path}&link=x`, 400],
  ])('does not let read %s', async (_, change, status) => {
    const path = change(await pathOf({ key: 'open/value' }))
    expect((await ask(path)).status).toBe(status)
    if (status === 401) expect((await serving.askLocally('GET', path)).status).toBe(status)
  })

  it('lets write nothing, and goes with no token', async () => {
    const path = await pathOf({ key: 'open/value' })
    for (const method of ['PUT', 'POST', 'DELETE']) {
      const body = method === 'DELETE' ? undefined : 'x'
      expect((await serving.ask(method, path, { token: '', body })).status).toBe(403)
    }
    expect((await ask(path, serving.server.token)).status).toBe(400)
  })

  it('lets follow, until its time is over', async () => {
    const path = await pathOf({ key: 'open/log', follow: true, ttl: 1_500 })
    const follow = httpRequest(serving.url + path)
      .on('error', () => {})
      .end()
    const [followed] = (await once(follow, 'response')) as [IncomingMessage]
    expect(followed.statusCode).toBe(200)
    await once(
      followed.on('data', () => {}),
      'error',
    )
    expect((await ask(path)).status).toBe(401)
  })

  it('gives what its maker may read, and ends with its maker', async () => {
    const made = await serving.store.tokens.create('maker', { grants: ['read@primary/open'] })
    await using maker = await connect(serving.url, { token: made.token })
    expect((await refusal(maker.tokens.link({ key: 'secret/value' }))).code).toBe('EPERM')
    expect((await refusal(maker.tokens.link({ key: 'open/log', follow: true }))).code).toBe('EPERM')
    const { path } = await maker.tokens.link({ key: 'open/value' })
    const { path: out } = await maker.tokens.link({ key: 'open/out' })
    expect((await ask(path)).body.toString()).toBe('v')
    expect((await ask(out)).status).toBe(403)
    await serving.store.tokens.revoke(made.id)
    expect((await ask(path)).status).toBe(401)
  })

  it('lets read a job, its output and its events', async () => {
    const { jobs } = serving.store
    const submission = { command: ['echo', 'hi'], cwd: '/', env: {} }
    const { id } = await jobs.submit({ ...submission, env: { PATH: process.env['PATH'] ?? '' } })
    await jobs.wait(id)
    const other = await jobs.submit(submission)
    const path = await pathOf({ job: id, follow: true })
    expect((await ask(path)).body.toString()).toBe('hi\n')
    const query = path.slice(path.indexOf('?'))
    expect((await ask(`/v1/jobs/${id}/events${query}`)).status).toBe(200)
    expect((await ask(`/v1/jobs/${id}?${query.replace(/.*(?=link)/, '')}`)).status).toBe(200)
    expect((await ask(path.replace(id, other.id))).status).toBe(401)
    expect((await serving.ask('DELETE', path, { token: '' })).status).toBe(403)
  })

  it.each([
    {},
    { key: 'a', job: 'f1' },
    { job: 'f1', namespace: 'x' },
    { key: '' },
    { key: 'a', ttl: 1 },
  ])('of %j is EINVAL', async (options) => {
    expect((await refusal(serving.store.tokens.link(options))).code).toBe('EINVAL')
  })

  it('is signed with this text', () => {
    const subject = { what: 'key', namespace: 'primary', key: 'a/ü' } as const
    expect(signedText(subject, { maker: 'owner', expires: 7, follow: true })).toBe(
      '[1,"f",7,"owner","key","primary","a/ü"]',
    )
  })

  it('is not told by the log', async () => {
    const { store } = serving
    await store.append('open/broken', 'x')
    const path = `/v1/kv/open/value?link=r.1.owner.secretsecret&ticket=other`
    expect(withoutSecrets(path)).toBe('/v1/kv/open/value?link=…&ticket=…')
    const answer = await ask(`/v1/kv/open/value?link=secretsecret`)
    expect(answer.body.toString()).not.toContain('secretsecret')
    expect(serving.log.join()).not.toContain('secretsecret')
  })
})

describe('a ticket', () => {
  const ticketOf = async (token: string) =>
    ((await serving.ask('POST', '/v1/tickets', { token, body: '{}' })).json as { ticket: string })
      .ticket

  it('stands for its token, once', async () => {
    const token = await tokenOf('read@primary/open')
    const path = `/v1/kv/open/value?ticket=${await ticketOf(token)}`
    expect((await serving.ask('GET', path, { token: '' })).body.toString()).toBe('v')
    expect((await serving.ask('GET', path, { token: '' })).status).toBe(401)
    const other = `/v1/kv/secret/value?ticket=${await ticketOf(token)}`
    expect((await serving.ask('GET', other, { token: '' })).status).toBe(403)
    const write = `/v1/kv/open/value?ticket=${await ticketOf(serving.server.token)}`
    expect((await serving.ask('PUT', write, { token: '', body: 'x' })).status).toBe(403)
  })

  it('opens a websocket with its first frame', async () => {
    const ticket = await ticketOf(await tokenOf('read@primary/open'))
    await using peer = await Peer.connect(serving, { token: 'none' })
    peer.send({ id: 1, op: 'auth', token: ticket })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'result' })
    peer.send({ id: 2, op: 'stat', body: { key: 'secret/value' } })
    expect(await peer.next()).toMatchObject({ id: 2, code: 'EPERM' })
  })

  it('is worth nothing once its token was revoked', async () => {
    const { token, id } = await serving.store.tokens.create('short', { grants: ['read'] })
    const ticket = await ticketOf(token)
    await serving.store.tokens.revoke(id)
    const path = `/v1/kv/open/value?ticket=${ticket}`
    expect((await serving.ask('GET', path, { token: '' })).status).toBe(401)
  })

  it(`is one of at most ${ticketsMax}, each good for ${ticketMs} ms`, async () => {
    const clock = new TestClock()
    await using other = await Serving.start({ environment: clock }, { environment: clock })
    const ask = () => other.askLocally('POST', '/v1/tickets', { body: '{}' })
    const first = ((await ask()).json as { ticket: string }).ticket
    clock.advance(ticketMs)
    const path = `/v1/kv/a?ticket=${first}`
    expect((await other.askLocally('GET', path)).status).toBe(401)
    await using peer = await Peer.connect(other)
    for (let id = 1; id <= ticketsMax; id++) peer.send({ id, op: 'tickets.create' })
    for (let count = 0; count < ticketsMax; count++) await peer.next()
    expect((await ask()).status).toBe(503)
    clock.advance(ticketMs)
    expect((await ask()).status).toBe(201)
    const { token } = await other.store.tokens.create('greedy', { grants: ['read'] })
    await using greedy = await Peer.connect(other, {
      headers: { authorization: `Bearer ${token}` },
    })
    for (let id = 1; id <= ticketsOfOneMax + 1; id++) greedy.send({ id, op: 'tickets.create' })
    let refused = 0
    for (let count = 0; count <= ticketsOfOneMax; count++) {
      if ((await greedy.next()).type === 'error') refused++
    }
    expect(refused).toBe(1)
    expect((await ask()).status).toBe(201)
  })
})

describe('the rate of a token', () => {
  it('bounds its requests and those of its children, over HTTP and websockets', async () => {
    const clock = new TestClock()
    await using other = await Serving.start({ environment: clock }, { environment: clock })
    const grants = ['read,admin']
    const parent = await other.store.tokens.create('parent', { grants, rate: 4 })
    const ask = (token: string) => other.ask('GET', '/v1/root', { token })
    const body = JSON.stringify({ name: 'child', grants: ['read'], rate: 0.5, ttl: 60_000 })
    const made = await other.ask('POST', '/v1/tokens', { token: parent.token, body })
    const { token: child } = made.json as { readonly token: string }
    expect((await ask(child)).status).toBe(200)
    const refused = await ask(child)
    expect(refused.status).toBe(429)
    expect(refused.headers['retry-after']).toBe('2')
    expect(refused.json).toMatchObject({ error: { code: 'EBUSY' } })
    // The parent has sent one request and its child another: a refused one takes nothing.
    await using peer = await Peer.connect(other, {
      headers: { authorization: `Bearer ${parent.token}` },
    })
    for (let id = 1; id <= 3; id++) peer.send({ id, op: 'root' })
    const frames = [await peer.next(), await peer.next(), await peer.next()]
    frames.sort((a, b) => a.id - b.id)
    expect(frames).toMatchObject([
      { id: 1, type: 'result' },
      { id: 2, type: 'result' },
      { id: 3, code: 'EBUSY', failed: { state: { retryAfterMs: 250 } } },
    ])
    peer.send({ id: 4, op: 'watch', key: 'a', mode: 'append', waitCreate: true })
    expect(await peer.next()).toMatchObject({ id: 4, code: 'EBUSY' })
    clock.advance(250)
    expect((await ask(parent.token)).status).toBe(200)
    clock.advance(2_000)
    expect((await ask(child)).status).toBe(200)
    expect((await ask(other.server.token)).status).toBe(200)
  })
})
