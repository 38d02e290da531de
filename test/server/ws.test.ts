/** `/v1/ws`: requests, watches, tokens and ends, in both subprotocols. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { fewWaits, keptWaits, openWaitsMax } from '../../src/server/activity.js'
import { frameSizeMax, subprotocol, subprotocolJson } from '../../src/wire/frames.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

let serving: Serving
const position = expect.objectContaining({
  index: expect.any(Number),
  incarnation: expect.any(String),
})

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

describe.each([subprotocol, subprotocolJson] as const)('%s', (protocol) => {
  const key = `log-${protocol}`

  it('answers txn, read and root by id', async () => {
    await using peer = await Peer.connect(serving, { protocol })
    const value = Buffer.from([0, 255])
    peer.send({ id: 1, op: 'txn', body: { ops: [{ op: 'put', key: 'bytes', value }] } })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'result', body: { results: [{}] } })
    peer.send({ id: 2, op: 'read', body: { keys: ['bytes', 'nothing'] } })
    peer.send({ id: 3, op: 'root' })
    const answers = [await peer.next(), await peer.next()].sort((a, b) => a.id - b.id)
    expect(answers[0]).toMatchObject({ id: 2, type: 'result', body: { values: [value, null] } })
    expect(answers[1]).toMatchObject({ id: 3, type: 'result', body: { namespace: 'primary' } })
  })

  it('takes what comes behind a long frame after it', async () => {
    await using peer = await Peer.connect(serving, { protocol })
    const log = `behind-${protocol}`
    const append = (value: string) => ({ ops: [{ op: 'append', key: log, value }] })
    for (const long of [1, 3]) {
      peer.send({ id: long, op: 'txn', body: append('x'.repeat(200_000)) })
      peer.send({ id: long + 1, op: 'txn', body: append('y') })
    }
    const frames = [await peer.next(), await peer.next(), await peer.next(), await peer.next()]
    frames.sort((a, b) => a.id - b.id)
    const results = [0, 1, 2, 3].map((index) => ({ body: { results: [{ index }] } }))
    expect(frames).toMatchObject(results)
  })

  it('answers a long frame that is wrong, or too large, by its id', async () => {
    await using peer = await Peer.connect(serving, { protocol })
    const long = 'x'.repeat(100_000)
    peer.send({ id: 1, op: 'txn', body: { ops: [{ op: long }] } })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'EINVAL' })
    const body = { ops: [{ op: 'put', key: 'a', value: long }] }
    peer.send({ id: 1, op: 'txn', namespace: 'jobs', body })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'EPERM' })
    peer.send({ id: 2, op: 'txn', body: { ops: new Array(300_000).fill(null) } })
    expect(await peer.next()).toMatchObject({ id: 2, type: 'error', code: 'E2BIG' })
    peer.send({ id: 2, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 2, type: 'result' })
  })

  it('says what failed of a transaction', async () => {
    await using peer = await Peer.connect(serving, { protocol })
    const body = { guards: [{ seq: 0 }], ops: [{ op: 'mkdir', key: 'never' }] }
    peer.send({ id: 1, op: 'txn', body })
    expect(await peer.next()).toMatchObject({
      id: 1,
      type: 'error',
      code: 'ECONFLICT',
      failed: { guard: 0 },
    })
  })

  it('delivers a log: what was there, live, what comes, the end', async () => {
    await serving.store.append(key, 'one')
    await using peer = await Peer.connect(serving, { protocol })
    peer.send({ id: 5, op: 'watch', key, mode: 'append' })
    expect(await peer.next()).toEqual({
      id: 5,
      type: 'append',
      index: 0,
      offset: 0,
      seq: expect.any(Number),
      position: expect.objectContaining({ index: 1 }),
      data: Buffer.from('one'),
    })
    expect(await peer.next()).toEqual({ id: 5, type: 'live', position })
    await serving.store.append(key, '')
    expect(await peer.next()).toMatchObject({ index: 1, offset: 3, data: Buffer.alloc(0) })
    const large = Buffer.alloc(300_000, 7)
    await serving.store.append(key, large, { seal: true })
    const first = await peer.next()
    const second = await peer.next()
    expect(first).toMatchObject({ index: 2, offset: 3, more: true })
    expect(second).toMatchObject({ index: 3, offset: 3 + 262_120 })
    if (first.type !== 'append' || second.type !== 'append') throw new Error('not two appends')
    expect(second.more).toBeUndefined()
    expect(Buffer.concat([first.data, second.data]).equals(large)).toBe(true)
    expect(await peer.next()).toEqual({
      id: 5,
      type: 'end',
      reason: 'sealed',
      position: second.position,
    })
  })

  it('resumes at a position, and says when it is of another history', async () => {
    await serving.store.append(`${key}-again`, 'one')
    await serving.store.append(`${key}-again`, 'two')
    await using peer = await Peer.connect(serving, { protocol })
    peer.send({ id: 1, op: 'watch', key: `${key}-again`, mode: 'append' })
    const first = await peer.next()
    if (first.type !== 'append') throw new Error('not an append')
    peer.send({ id: 2, op: 'watch', key: `${key}-again`, mode: 'append', from: first.position })
    const frames = await peer.until((frame) => frame.id === 2)
    expect(frames.at(-1)).toMatchObject({ id: 2, type: 'append', index: 1 })
    await serving.store.put(`${key}-again`, 'three')
    peer.send({ id: 3, op: 'watch', key: `${key}-again`, mode: 'append', from: first.position })
    const answer = (await peer.until((frame) => frame.id === 3)).at(-1)
    expect(answer).toMatchObject({ id: 3, type: 'error', code: 'EOVERWRITTEN' })
  })

  it('delivers values', async () => {
    await serving.store.put(`${key}-value`, 'a')
    await using peer = await Peer.connect(serving, { protocol })
    peer.send({ id: 1, op: 'watch', key: `${key}-value`, mode: 'value' })
    expect(await peer.next()).toMatchObject({
      id: 1,
      type: 'value',
      size: 1,
      data: Buffer.from('a'),
    })
    await serving.store.put(`${key}-value`, 'bc')
    expect(await peer.next()).toMatchObject({ type: 'value', size: 2, data: Buffer.from('bc') })
    await serving.store.commit({ ops: [{ op: 'unlink', key: `${key}-value` }] })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'ENOENT' })
  })

  it('cancels, after which the id is free', async () => {
    await serving.store.append(`${key}-cancel`, 'x')
    await using peer = await Peer.connect(serving, { protocol })
    peer.send({ id: 1, op: 'watch', key: `${key}-cancel`, mode: 'append' })
    await peer.until((frame) => frame.type === 'live')
    peer.send({ id: 1, op: 'cancel' })
    peer.send({ id: 1, op: 'watch', key: `${key}-cancel`, mode: 'append' })
    expect(await peer.next()).toEqual({ id: 1, type: 'end', reason: 'canceled' })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'append', index: 0 })
  })
})

describe('a request that is wrong', () => {
  it.each([
    ['of an unknown op', { id: 4, op: 'fly' }, 4],
    ['with an unknown field', { id: 4, op: 'watch', key: 'a', mode: 'append', wait: true }, 4],
    ['without an id', { op: 'root' }, 0],
    ['that is no object', [1], 0],
    ['with a wrong body', { id: 4, op: 'txn', body: { ops: [{}] } }, 4],
    ['with an unknown field in its body', { id: 4, op: 'root', body: { seq: 1 } }, 4],
    ['on a key that is none', { id: 4, op: 'watch', key: '..', mode: 'append' }, 4],
    ['on a namespace that is none', { id: 4, op: 'root', namespace: 'A!' }, 4],
  ])('%s is EINVAL, and the connection goes on', async (_, frame, id) => {
    await using peer = await Peer.connect(serving)
    peer.send(frame)
    expect(await peer.next()).toMatchObject({ id, type: 'error', code: 'EINVAL' })
    peer.send({ id: 9, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 9, type: 'result' })
  })

  it.each([
    ['bytes that are no msgpack', subprotocol, Buffer.from([0x83])],
    ['text in msgpack', subprotocol, '{"id":1,"op":"root"}'],
    ['binary in JSON', subprotocolJson, Buffer.from('{"id":1,"op":"root"}')],
    ['text that is no JSON', subprotocolJson, '{'],
  ] as const)('because of %s is EINVAL with id 0', async (_, protocol, message) => {
    await using peer = await Peer.connect(serving, { protocol })
    peer.socket.send(message)
    expect(await peer.next()).toMatchObject({ id: 0, type: 'error', code: 'EINVAL' })
  })

  it('takes an id that is in use: EINVAL', async () => {
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', key: 'later', mode: 'append', waitCreate: true })
    expect(await peer.next()).toEqual({ id: 1, type: 'live' })
    peer.send({ id: 1, op: 'watch', key: 'later', mode: 'append', waitCreate: true })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'EINVAL' })
    peer.send({ id: 2, op: 'root', body: { waitSeq: 1_000_000 } })
    peer.send({ id: 2, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 2, type: 'error', code: 'EINVAL' })
    peer.send({ id: 2, op: 'cancel' })
    expect(await peer.next()).toMatchObject({ id: 2, type: 'error', code: 'ECANCELED' })
  })

  it('credits or cancels what is not there: nothing happens', async () => {
    await using peer = await Peer.connect(serving)
    peer.send({ id: 7, op: 'credit', bytes: 5 })
    peer.send({ id: 7, op: 'cancel' })
    peer.send({ id: 8, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 8, type: 'result' })
  })

  it.each([
    ['ENOENT', { key: 'nothing' }],
    ['ENONS', { key: 'a', namespace: 'none' }],
  ])('watches what is not there: %s', async (code, where) => {
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', mode: 'append', ...where })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code })
  })

  it.each(['jobs', 'cache', 'flows', 'system'])('writes to %s: EPERM', async (namespace) => {
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'txn', namespace, body: { ops: [] } })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'EPERM' })
  })

  it('is larger than a frame may be: the connection is closed with 1009', async () => {
    await using peer = await Peer.connect(serving)
    peer.socket.send(Buffer.alloc(frameSizeMax + 1))
    expect(await peer.closed()).toBe(1009)
  })

  it.each([
    ['watches', { op: 'watch', key: 'later', mode: 'append', waitCreate: true }],
    ['waits', { op: 'root', body: { waitSeq: 1_000_000 } }],
  ])('one more of its %s than are free: EBUSY, and others go on', async (_, request) => {
    await using peer = await Peer.connect(serving)
    await noWatchers(peer)
    const shared = openWaitsMax - keptWaits
    const most = shared / 2 + 1
    for (let id = 1; id <= most + 1; id++) peer.send({ id, ...request })
    const refused = (await peer.until(({ type }) => type === 'error')).at(-1)
    expect(refused).toMatchObject({ id: most + 1, type: 'error', code: 'EBUSY' })
    await using other = await Peer.connect(serving)
    const left = Math.floor((shared - most) / 2) + 1
    for (let id = 1; id <= left + 1; id++) other.send({ id, ...request })
    const next = (await other.until(({ type }) => type === 'error')).at(-1)
    expect(next).toMatchObject({ id: left + 1, code: 'EBUSY' })
    // What is kept for those that ask for few is still there, however many others come.
    for (let more = 0; more < 12; more++) {
      await using few = await Peer.connect(serving)
      for (let id = 1; id <= fewWaits; id++) few.send({ id, ...request })
      few.send({ id: 999, op: 'root' })
      expect((await few.until(({ id }) => id === 999)).map(({ type }) => type)).not.toContain(
        'error',
      )
    }
    await serving.ask('PUT', '/v1/kv/large', { body: Buffer.alloc(blobSizeMax + 1) })
    expect((await serving.ask('GET', '/v1/kv/large')).status).toBe(200)
  })
})

/** Those that another test has left must end, too: a connection's watches end in slices. */
async function noWatchers(peer: Peer): Promise<void> {
  while (serving.store.watchers > 0) {
    peer.send({ id: 1, op: 'root' })
    await peer.next()
  }
}

describe('an end', () => {
  it('of the connection leaves no watcher', async () => {
    const peer = await Peer.connect(serving)
    for (let id = 1; id <= 10; id++) {
      peer.send({ id, op: 'watch', key: 'later', mode: 'append', waitCreate: true })
    }
    peer.send({ id: 99, op: 'root' })
    await peer.until(({ id }) => id === 99)
    expect(serving.store.watchers).toBeGreaterThanOrEqual(10)
    await peer[Symbol.asyncDispose]()
    await using other = await Peer.connect(serving)
    await noWatchers(other)
  })

  it('of the namespace is ENONS', async () => {
    await serving.store.namespaces.create('short')
    await serving.store.append('a', 'x', { namespace: 'short' })
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', key: 'a', namespace: 'short', mode: 'append' })
    await peer.until((frame) => frame.type === 'live')
    await serving.store.namespaces.remove('short')
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'ENONS' })
  })

  it('of the server is ECLOSED for each watch, then 1001', async () => {
    const other = await Serving.start()
    await other.store.append('a', 'x')
    const peer = await Peer.connect(other)
    peer.send({ id: 1, op: 'watch', key: 'a', mode: 'append' })
    peer.send({ id: 2, op: 'watch', key: 'later', mode: 'value', waitCreate: true })
    peer.send({ id: 3, op: 'root', body: { waitSeq: 1_000 } })
    await peer.until((frame) => frame.type === 'live')
    await other.server.stop()
    expect(await peer.closed()).toBe(1001)
    const last = [await peer.next(), await peer.next(), await peer.next()]
    expect(last.map(({ id }) => id).sort()).toEqual([1, 2, 3])
    for (const frame of last) expect(frame).toMatchObject({ type: 'error', code: 'ECLOSED' })
    await other[Symbol.asyncDispose]()
  })

  it.each(['append', 'changes'] as const)(
    'of the server tells a watch of %s its position',
    async (mode) => {
      await using other = await Serving.start()
      await other.store.append('dir/log', 'x')
      const peer = await Peer.connect(other)
      peer.send({ id: 1, op: 'watch', key: mode === 'append' ? 'dir/log' : 'dir', mode })
      const events = await peer.until(({ type }) => type === 'live')
      const position = events
        .flatMap((event) => ('position' in event ? [event.position] : []))
        .at(-1)
      await other.server.stop()
      expect(position).toHaveProperty('incarnation')
      expect(await peer.next()).toMatchObject({ code: 'ECLOSED', failed: { state: { position } } })
    },
  )
})
