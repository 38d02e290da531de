/** The calls that a store makes of others: an entry, an update, leases, an eventlog, the output of a job. The same
 *  embedded and over a server. */

import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TakeEachOptions } from '../../src/api/lease.js'
import type { Store } from '../../src/api/store.js'
import { deferred } from '../../src/base/deferred.js'
import { connect } from '../../src/client/node.js'
import { open } from '../../src/open.js'
import { serve } from '../client/serving.js'
import { refusal, text } from '../kvs/expect.js'

type Made = { readonly store: Store; readonly close: () => Promise<void> }

const makers: readonly (readonly [string, () => Promise<Made>])[] = [
  [
    'embedded',
    async () => {
      const store = await open()
      return { store, close: () => store.close() }
    },
  ],
  [
    'over a Unix socket',
    async () => {
      const serving = await serve()
      const store = await connect(`unix:${serving.server.socket}`)
      const close = async () => {
        await store.close()
        await serving[Symbol.asyncDispose]()
      }
      return { store, close }
    },
  ],
]

/** Holds the event loop up. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

describe.each(makers)('a store %s', (_, make) => {
  let made: Made
  let store: Store
  beforeEach(async () => {
    made = await make()
    store = made.store
  })
  afterEach(() => made.close())

  describe('entry()', () => {
    it('gives a value and its ref of one root, nothing where there is none', async () => {
      expect(await store.entry('k')).toBeUndefined()
      const { result, seq } = await store.put('k', 'v'.repeat(1000))
      const entry = await store.entry('k')
      expect(text(entry?.value)).toBe('v'.repeat(1000))
      expect(entry?.stat).toMatchObject({ ref: result.ref, seq, size: 1000 })
    })

    it('gives what a trim left of a log', async () => {
      for (const word of ['one ', 'two ', 'three']) await store.append('log', word)
      await store.commit({ ops: [{ op: 'trim', key: 'log', keep: 2 }] })
      expect(text((await store.entry('log'))?.value)).toBe('two three')
    })
  })

  describe('update()', () => {
    it('loses no change of many at once', async () => {
      const add = (value: Uint8Array | undefined) => String(Number(value ? text(value) : 0) + 1)
      await Promise.all(Array.from({ length: 20 }, () => store.update('counter', add)))
      expect(text(await store.get('counter'))).toBe('20')
    })

    it('writes nothing where there is nothing to change, and throws what the change throws', async () => {
      await store.put('k', 'v')
      const { seq } = await store.root()
      expect(await store.update('k', () => undefined)).toBeUndefined()
      const failing = store.update('k', () => {
        throw new RangeError('mine')
      })
      await expect(failing).rejects.toThrow('mine')
      expect((await store.root()).seq).toBe(seq)
      expect(await refusal(store.update('k', 'v' as never))).toMatchObject({ code: 'EINVAL' })
    })
  })

  describe('leases.take()', () => {
    it('holds, shows its holder, fences, and gives back', async () => {
      const lease = await store.leases.take('job', { owner: 'me' })
      expect(await store.leases.show('job')).toEqual({
        held: true,
        token: lease.token,
        owner: 'me',
      })
      expect(await refusal(store.leases.take('job'))).toMatchObject({ code: 'ECONFLICT' })
      await store.put('out', '1', { guards: [lease.guard] })
      expect(lease.signal.aborted).toBe(false)
      await lease.release()
      await lease.release()
      expect(lease.signal.reason).toMatchObject({ code: 'ECLOSED' })
      expect(await store.leases.show('job')).toEqual({ held: false })
      const late = store.put('out', '2', { guards: [lease.guard] })
      expect(await refusal(late)).toMatchObject({ code: 'ECONFLICT' })
    })

    it('with wait takes it as soon as it is free', async () => {
      const first = await store.leases.take('job')
      const waiting = store.leases.take('job', { wait: true })
      await first.release()
      await using second = await waiting
      expect(second.token.seq).toBeGreaterThan(first.token.seq)
    })

    it('a wait ends with its signal', async () => {
      await using _held = await store.leases.take('job')
      const leaving = new AbortController()
      const waiting = store.leases.take('job', { wait: true, signal: leaving.signal })
      leaving.abort()
      expect(await refusal(waiting)).toMatchObject({ code: 'ECANCELED' })
    })

    it('is renewed for as long as it is held', async () => {
      const told: number[] = []
      const renewed = deferred<void>()
      const onHeld = (ms: number) => {
        told.push(ms)
        if (told.length === 4) renewed.resolve()
      }
      await using lease = await store.leases.take('job', { ttl: 1_000, onHeld })
      await renewed.promise
      expect(Math.max(...told)).toBeLessThanOrEqual(1_000)
      expect(lease.signal.aborted).toBe(false)
      expect(await store.leases.show('job')).toMatchObject({ held: true, token: lease.token })
    })

    it('takes a lease only where the guards hold, with wait too', async () => {
      await store.put('result', '1')
      const guards = [{ key: 'result', absent: true }] as const
      expect(await refusal(store.leases.take('job', { guards, wait: true }))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 0, state: { type: 'val' } },
      })
      expect(await store.leases.show('job')).toEqual({ held: false })
      await using lease = await store.leases.take('job', { guards: [{ key: 'no', absent: true }] })
      expect(lease.signal.aborted).toBe(false)
      const wrong = store.leases.take('other', { guards: [{ key: 'k' }] as never })
      expect(await refusal(wrong)).toMatchObject({ code: 'EINVAL' })
    })

    it('finish() writes and releases in one step', async () => {
      const lease = await store.leases.take('job', { exactlyOnce: true })
      const ops = [{ op: 'put', key: 'result', value: '1' }] as const
      const { seq, results } = await lease.finish({ ops })
      expect(results).toEqual([{ ref: (await store.stat('result'))?.ref }])
      expect((await store.root()).seq).toBe(seq)
      expect(await store.leases.show('job')).toEqual({ held: false })
      expect(lease.signal.reason).toMatchObject({ code: 'ECLOSED' })
      expect(await refusal(lease.finish({ ops }))).toMatchObject({ code: 'ECLOSED' })
      await lease.release()
      expect((await store.root()).seq).toBe(seq)
    })

    it('finish() that is refused leaves the lease, and counts the guards of its caller', async () => {
      await using lease = await store.leases.take('job')
      await store.put('there', '1')
      const guards = [
        { key: 'no', absent: true },
        { key: 'there', absent: true },
      ] as const
      expect(await refusal(lease.finish({ guards, ops: [] }))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 1 },
      })
      expect(lease.signal.aborted).toBe(false)
      expect(await store.leases.show('job')).toMatchObject({ held: true, token: lease.token })
      expect(await refusal(lease.finish({} as never))).toMatchObject({ code: 'EINVAL' })
    })

    it('finish() of a lease that was lost is EFENCED and writes nothing', async () => {
      const lease = await store.leases.take('job')
      const { token } = lease
      await store.commit({ ops: [{ op: 'lease', key: 'job', action: 'release', token }] })
      const late = lease.finish({ ops: [{ op: 'put', key: 'result', value: '1' }] })
      expect(await refusal(late)).toMatchObject({ code: 'EFENCED' })
      expect(lease.signal.reason).toMatchObject({ code: 'EFENCED' })
      expect(await store.get('result')).toBeUndefined()
    })

    it('is still held after the event loop stood still for longer than its ttl', async () => {
      const renewed = deferred<void>()
      let told = 0
      const onHeld = () => {
        if (++told === 2) renewed.resolve()
      }
      await using lease = await store.leases.take('job', { ttl: 1_000, onHeld })
      standStill(1_200)
      await renewed.promise
      expect(lease.signal.aborted).toBe(false)
      expect(await store.leases.show('job')).toMatchObject({ held: true, token: lease.token })
      standStill(2_500)
      await store.put('out', '1', { guards: [lease.guard] })
    })

    it('aborts its signal when the lease was lost while the event loop stood still', async () => {
      const lease = await store.leases.take('job', { ttl: 1_000 })
      const lost = once(lease.signal, 'abort')
      const { token } = lease
      await store.commit({ ops: [{ op: 'lease', key: 'job', action: 'release', token }] })
      standStill(1_500)
      await lost
      expect(lease.signal.reason).toMatchObject({ code: 'EFENCED' })
    })

    it('aborts its signal when the lease was lost', async () => {
      const lease = await store.leases.take('job', { ttl: 1_000 })
      const lost = once(lease.signal, 'abort')
      const { token } = lease
      await store.commit({ ops: [{ op: 'lease', key: 'job', action: 'release', token }] })
      await lost
      expect(lease.signal.reason).toMatchObject({ code: 'EFENCED' })
      await lease.release()
    })
  })

  describe('leases.takeEach() and finishAll()', () => {
    const put = (key: string) => ({ op: 'put', key, value: '1' }) as const
    const taken = async (keys: readonly string[], options: TakeEachOptions = {}) => {
      const leases = await store.leases.takeEach(keys, options)
      return leases.map((lease) => {
        if (lease instanceof Error) throw lease
        return lease
      })
    }

    it('take several leases in one transaction, and end them with another', async () => {
      const keys = ['a', 'b', 'c']
      const leases = await taken(keys, { owner: 'me', exactlyOnce: true })
      expect(leases.map(({ key }) => key)).toEqual(keys)
      expect(new Set(leases.map(({ token }) => token.seq)).size).toBe(1)
      await store.put('out', '1', { guards: leases.map(({ guard }) => guard) })
      const [first, ...others] = leases
      if (!first) throw new Error('three were taken')
      await first.release()
      const { results } = await store.leases.finishAll(others, { ops: [put('x'), put('y')] })
      expect(results.length).toBe(2)
      for (const key of keys) expect(await store.leases.show(key)).toEqual({ held: false })
      for (const { signal } of leases) expect(signal.reason).toMatchObject({ code: 'ECLOSED' })
      expect(await store.leases.takeEach([])).toEqual([])
    })

    it('take those that are free, and say of each other one why it was not taken', async () => {
      await using held = await store.leases.take('b', { owner: 'me' })
      await store.put('c', '1')
      const got = await store.leases.takeEach(['a', 'b', 'c', 'd', 'a'], { ifAbsent: true })
      expect(got.map((each) => (each instanceof Error ? each.failed?.state : each.key))).toEqual([
        'a',
        { lease: { key: 'b', token: held.token, ttl: 30_000, owner: 'me' } },
        { present: true },
        'd',
        { lease: { key: 'a', token: expect.anything(), ttl: 30_000 } },
      ])
      expect(got[1]).toMatchObject({ code: 'ECONFLICT' })
      expect(await store.leases.show('c')).toEqual({ held: false })
      const [again] = await store.leases.takeEach(['c'])
      expect(again).toMatchObject({ key: 'c' })
      const op = { op: 'lease', key: 'x', action: 'take', ttl: 9_000, ifAbsent: true } as const
      await store.put('x', '1')
      const refused = await refusal(store.commit({ ops: [op] }))
      expect(refused).toMatchObject({
        code: 'ECONFLICT',
        failed: { op: 0, state: { present: true } },
      })
    })

    it('are answered as before under an idempotency key, refusals too', async () => {
      await using held = await store.leases.take('b')
      await store.put('c', '1')
      const ops = ['a', 'b', 'c'].map((key) => ({
        ...({ op: 'lease', key, action: 'take', ttl: 9_000 } as const),
        ...{ ifAbsent: true, optional: true, owner: 'me' },
      }))
      const first = await store.commit({ ops }, { idempotencyKey: 'once' })
      expect(first.results.map(({ refused }) => refused && Object.keys(refused))).toEqual([
        undefined,
        ['lease'],
        ['present'],
      ])
      await held.release()
      const again = await store.commit({ ops }, { idempotencyKey: 'once' })
      expect(again).toEqual({ ...first, repeated: true })
    })

    it('write nothing if one lease has gone: the error says which, and the others are held', async () => {
      const leases = await taken(['a', 'b', 'c'])
      const { token } = leases[1] ?? {}
      if (!token) throw new Error('three were taken')
      await store.commit({ ops: [{ op: 'lease', key: 'b', action: 'release', token }] })
      for (let tries = 0; tries < 2; tries++) {
        const lost = await refusal(store.leases.finishAll(leases, { ops: [put('x')] }))
        expect(lost).toMatchObject({ code: 'EFENCED', failed: { guard: 1 } })
      }
      expect(await store.get('x')).toBeUndefined()
      expect(leases.map(({ signal }) => signal.aborted)).toEqual([false, true, false])
      const left = leases.filter(({ signal }) => !signal.aborted)
      await store.put('there', '1')
      const guards = [
        { key: 'no', absent: true },
        { key: 'there', absent: true },
      ] as const
      const refused = store.leases.finishAll(left, { guards, ops: [put('x')] })
      expect(await refusal(refused)).toMatchObject({ code: 'ECONFLICT', failed: { guard: 1 } })
      await store.leases.finishAll(left, { ops: [put('x')] })
      expect(text(await store.get('x'))).toBe('1')
    })

    it('refuse what means nothing', async () => {
      await store.namespaces.create('n')
      await using here = await store.leases.take('a')
      await using there = await store.leases.take('a', { namespace: 'n' })
      const many = Array.from({ length: 257 }, (_, at) => `k${at}`)
      const wrong: (() => Promise<unknown>)[] = [
        () => store.leases.takeEach(many),
        () => store.leases.takeEach(['a', 1 as never]),
        () => store.leases.takeEach(['a'], { wait: true } as never),
        () => store.leases.takeEach('ab' as never),
        () => store.leases.finishAll([], { ops: [] }),
        () => store.leases.finishAll([here, there], { ops: [] }),
        () => store.leases.finishAll([{ ...here } as never], { ops: [] }),
        () => store.leases.finishAll([here], { ops: [] }, { wait: true } as never),
      ]
      for (const call of wrong) expect(await refusal(call())).toMatchObject({ code: 'EINVAL' })
    })
  })

  describe('eventlog()', () => {
    it('appends, reads and follows events of its key', async () => {
      await store.namespaces.create('n')
      const log = store.eventlog('ci/events', { namespace: 'n' })
      const events = ['start', 'end'].map((name) => ({ timestamp: 1, name }))
      await log.append(events.slice(0, 1))
      await log.append(events.slice(1), { seal: true })
      const read = []
      for await (const event of log.read()) read.push(event)
      const followed = []
      for await (const event of log.follow()) followed.push(event)
      expect(read).toEqual(events)
      expect(followed).toEqual(events)
      expect(await store.stat('ci/events')).toBeUndefined()
    })
  })

  describe('jobs', () => {
    const submission = {
      command: ['sh', '-c', 'echo out; sleep 0.05; echo err >&2; echo last'],
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '' },
    }

    it('output() gives what a job wrote, of both streams or of one, live and later', async () => {
      const { id } = await store.jobs.submit(submission)
      let both = ''
      for await (const piece of store.jobs.output(id, { follow: true })) {
        both += `${piece.stream}@${piece.offset}:${text(piece.data)}`
        expect(piece.time).toBeGreaterThan(1_600_000_000_000)
      }
      expect(both).toMatch(/^stdout@0:out\n/)
      expect(both).toContain('stderr@0:err\n')
      const read = async (options: Parameters<typeof store.jobs.output>[1]) => {
        let out = ''
        for await (const { data } of store.jobs.output(id, options)) out += text(data)
        return out
      }
      expect(await read({ stream: 'stdout' })).toBe('out\nlast\n')
      expect(await read({ stream: 'stdout', from: -5 })).toBe('last\n')
      expect(await read({ stream: 'stdout', tail: 1 })).toBe('last\n')
      expect(await read({ stream: 'stderr' })).toBe('err\n')
      expect(await refusal(read({ from: 1 }))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(read({ lines: 1 } as never))).toMatchObject({ code: 'EINVAL' })
    })

    it('events() gives what became of a job, and ENOENT where there is none', async () => {
      const { id } = await store.jobs.submit(submission)
      const names = []
      for await (const { name } of store.jobs.events(id, { follow: true })) names.push(name)
      expect(names[0]).toBe('submit')
      expect(names.at(-1)).toBe('finish')
      const none = store.jobs.events('f000000000000')
      expect(await refusal(none.next())).toMatchObject({ code: 'ENOENT' })
    })
  })

  it('close() ends what waits, and every call after it', async () => {
    const waiting = store.watch('k', { mode: 'append', waitCreate: true })
    await waiting.next()
    const next = waiting.next()
    await Promise.all([store.close(), store.close()])
    expect(await refusal(next)).toMatchObject({ code: 'ECLOSED' })
    expect(await refusal(store.get('k'))).toMatchObject({ code: 'ECLOSED' })
  })
})

it('connection is offline while the server answers that it stops', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-stopping-'))
  const path = join(directory, 'server.sock')
  const error = { code: 'ECLOSED', message: 'the server is stopping: connect again' }
  const stopping = createServer((_request, response) => {
    response.writeHead(503, { 'tailrace-error': 'ECLOSED', 'content-type': 'application/json' })
    response.end(JSON.stringify({ error }))
  }).listen(path)
  await once(stopping, 'listening')
  const options = { storeId: '0'.repeat(32), reconnect: false }
  const store = await connect(`unix:${path}`, options)
  expect(store.connection.online).toBe(true)
  expect((await refusal(store.get('k'))).code).toBe('ECLOSED')
  expect(store.connection.online).toBe(false)
  await store.close()
  stopping.close()
  stopping.closeAllConnections()
  await rm(directory, { recursive: true, force: true })
})

it('connection says when the server went and came back', async () => {
  await using serving = await serve()
  const store = await connect(`unix:${serving.server.socket}`, {
    reconnect: { minMs: 5, maxMs: 20 },
  })
  const { connection } = store
  expect(connection.online).toBe(true)
  const changes = connection.changes()
  expect((await changes.next()).value).toMatchObject({ online: true })
  await store.append('log', 'x')
  const watching = store.watch('log', { mode: 'append' })
  await watching.next()
  await serving.server.stop()
  expect((await changes.next()).value).toMatchObject({ online: false })
  expect(connection.since).toBeGreaterThan(0)
  const end = changes.next()
  await store.close()
  expect((await end).done).toBe(true)
})
