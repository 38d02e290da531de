/** The client against a real server: the contract of watches, and what only a network can do. */

import { once } from 'node:events'
import { symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { connect } from '../../src/client/node.js'
import { watchContract } from '../watch/contract.js'
import { changesContract } from '../watch/contract-changes.js'
import type { CuttingProxy } from './cutting-proxy.js'
import { makeServed, openSocket, type Serving, serveCutting } from './serving.js'

watchContract('over a server', () => makeServed('socket'))
changesContract('over a server', () => makeServed('socket'))

let serving: Serving
let proxy: CuttingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  const served = await serveCutting({ server: { listen: ['127.0.0.1:0'] } })
  ;({ serving, store, proxy, client } = served)
  return served.end
})

describe('watch', () => {
  it('of changes goes on over lost connections, without a gap and without an entry twice', async () => {
    const told = new Map<string, string>()
    const watching = client.watch('dir', { mode: 'changes', initial: true })
    const take = async (isDone: () => boolean) => {
      while (!isDone()) {
        const { value } = await watching.next()
        if (value?.type !== 'changes') continue
        for (const { key, before, after } of value.entries) {
          expect(told.get(key)).toBe(before?.ref)
          if (after) told.set(key, after.ref)
          else told.delete(key)
        }
      }
    }
    const ops = Array.from({ length: 2_500 }, (_, index) => {
      return { op: 'put', key: `dir/${index}`, value: String(index) } as const
    })
    await store.commit({ ops: ops.slice(0, 2_400) })
    await take(() => told.size >= 1_000)
    proxy.cut()
    await store.commit({ ops: ops.slice(2_400) })
    await store.commit({ ops: [{ op: 'unlink', key: 'dir/7' }] })
    await take(() => told.has('dir/2499') && !told.has('dir/7'))
    expect([...told.keys()].filter((key) => key !== 'dir')).toHaveLength(2_499)
    await watching.return?.()
  })

  it('that lends its events uses their memory again, and one that does not never', async () => {
    for (let n = 0; n < 40; n++) await store.append('k', Buffer.alloc(blobSizeMax, n))
    await store.commit({ ops: [{ op: 'seal', key: 'k' }] })
    const buffersOf = async (lend: boolean) => {
      const buffers = new Set<ArrayBufferLike>()
      for await (const event of client.watch('k', { mode: 'append', lend })) {
        if (event.type === 'append') buffers.add(event.data.buffer)
      }
      return buffers.size
    }
    expect(await buffersOf(false)).toBe(40)
    // As many as the credit lets be on their way, and those that wait to be used again.
    expect(await buffersOf(true)).toBeLessThan(30)
  })
})

describe('connect', () => {
  it('learns the store, and refuses another one before anything is written', async () => {
    expect(client.storeId).toBe(store.storeId)
    await using wrong = await connect(serving.target, { storeId: 'another' })
    await expect(wrong.put('k', 'v')).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
    expect(await store.get('k')).toBeUndefined()
  })

  it('where nobody listens is ECLOSED and says what to do', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as { port: number }
    closed.close()
    await once(closed, 'close')
    for (const target of ['unix:/tmp/tailrace-nobody.sock', `http://127.0.0.1:${port}`]) {
      await expect(connect(target)).rejects.toMatchObject({
        code: 'ECLOSED',
        message: expect.stringContaining('tailrace serve'),
      })
    }
  })

  it.each(['unix:tailrace.sock', 'ftp://host', 'localhost:80', 'http://host/path', ''])(
    'of "%s" is EINVAL',
    async (target) => {
      await expect(connect(target)).rejects.toMatchObject({ code: 'EINVAL' })
    },
  )

  it('by https where there is no TLS is told at once', async () => {
    const target = `https://${serving.server.listen[0]}`
    await expect(connect(target)).rejects.toMatchObject({ code: 'EMISCONFIGURED' })
  })

  it('reaches a socket whatever its path is called', async () => {
    await store.append('log', 'a')
    const path = `${serving.directory}/a b:c?d%20e#ü.sock`
    await symlink(serving.server.socket, path)
    await using odd = await connect(`unix:${path}`)
    const watching = odd.watch('log', { mode: 'append' })
    expect((await watching.next()).value).toMatchObject({ index: 0 })
  })

  it('over TCP needs the token, for watches too', async () => {
    await store.append('log', 'a')
    const target = `http://${serving.server.listen[0]}`
    for (const options of [{}, { token: 'wrong' }]) {
      await using stranger = await connect(target, options)
      await expect(stranger.get('log')).rejects.toMatchObject({
        code: 'EUNAUTH',
        message: expect.stringContaining('`token`'),
      })
      await expect(stranger.watch('log', { mode: 'append' }).next()).rejects.toMatchObject({
        code: 'EUNAUTH',
        message: expect.stringContaining('`token`'),
      })
      await expect(stranger.put('k', 'v')).rejects.toMatchObject({ code: 'EUNAUTH' })
    }
    await using friend = await connect(target, { token: serving.server.token })
    expect(Buffer.from((await friend.get('log')) ?? []).toString()).toBe('a')
    for await (const event of friend.watch('log', { mode: 'append' })) {
      expect(event).toMatchObject({ index: 0 })
      break
    }
  })
})

describe('a connection that is lost', () => {
  it('after a write was sent: EUNKNOWN, sent once', async () => {
    proxy.holdAnswers()
    const write = client.append('log', 'a')
    const outcome = expect(write).rejects.toMatchObject({ code: 'EUNKNOWN' })
    await expect.poll(async () => (await store.stat('log'))?.count).toBe(1)
    proxy.cut()
    await outcome
    expect((await store.stat('log'))?.count).toBe(1)
  })

  it('while a read waits: asked again', async () => {
    await store.put('k', 'v')
    const before = proxy.requests.length
    const waiting = client.get('k', { minSeq: 2 })
    await expect.poll(() => proxy.requests.length).toBe(before + 1)
    proxy.cut()
    await expect.poll(() => proxy.requests.length).toBeGreaterThanOrEqual(before + 2)
    await store.put('k', 'w')
    expect(Buffer.from((await waiting) ?? []).toString()).toBe('w')
  })

  it('for good: a read is ECLOSED after its tries, a write that was not sent too', async () => {
    proxy.close()
    await expect(client.get('k')).rejects.toMatchObject({ code: 'ECLOSED' })
    await expect(client.put('k', 'v')).rejects.toMatchObject({ code: 'ECLOSED' })
    proxy.open()
    await client.put('k', 'v')
    expect(Buffer.from((await client.get('k')) ?? []).toString()).toBe('v')
  })

  it('in the middle of a streamed put: the old value stays, and it did not happen', async () => {
    await store.put('k', 'old')
    const cutting = (async function* () {
      for (let done = 0; ; done++) {
        yield Buffer.alloc(100_000, done)
        if (done === 30) proxy.cut()
      }
    })()
    await expect(client.put('k', cutting)).rejects.toMatchObject({ code: 'ECLOSED' })
    expect(Buffer.from((await store.get('k')) ?? []).toString()).toBe('old')
  })

  it('in the middle of a streamed read: ECLOSED, never an early end', async () => {
    await store.put('k', Buffer.alloc(20 * blobSizeMax, 1))
    const reading = await client.read('k')
    let size = 0
    const read = async () => {
      for await (const chunk of reading?.chunks ?? []) {
        size += chunk.length
        proxy.cut()
      }
    }
    await expect(read()).rejects.toMatchObject({ code: 'ECLOSED' })
    expect(size).toBeGreaterThan(0)
  })
})

describe('a stream that is put', () => {
  it('is taken no faster than it is sent, and its buffer may be used again', async () => {
    const chunk = Buffer.alloc(50_000)
    const stream = (async function* () {
      for (let round = 0; round < 100; round++) {
        chunk.fill(round)
        yield chunk
      }
    })()
    await client.put('k', stream)
    const value = (await store.get('k')) ?? new Uint8Array()
    expect(value.length).toBe(5_000_000)
    for (let round = 0; round < 100; round++) {
      expect(value[round * 50_000]).toBe(round)
      expect(value[round * 50_000 + 49_999]).toBe(round)
    }
  })

  it('that fails leaves the old value, and fails with what the source threw', async () => {
    await store.put('k', 'old')
    const failing = (async function* () {
      yield Buffer.alloc(1_000_000)
      throw new RangeError('no more')
    })()
    await expect(client.put('k', failing)).rejects.toThrow('no more')
    expect(Buffer.from((await store.get('k')) ?? []).toString()).toBe('old')
  })

  it('is ended when the server refuses it before its end', async () => {
    await store.commit({ ops: [{ op: 'mkdir', key: 'dir' }] })
    let ended = false
    const endless = (async function* () {
      try {
        for (let size = 0; size < 200_000_000; size += 100_000) yield Buffer.alloc(100_000)
      } finally {
        ended = true
      }
    })()
    const refused = client.put('a/b', endless, { namespace: 'jobs' })
    await expect(refused).rejects.toMatchObject({ code: 'EPERM' })
    expect(ended).toBe(true)
    expect(await client.get('k')).toBeUndefined()
  })

  it('with guards that no header can say is one transaction', async () => {
    const stream = (async function* () {
      yield Buffer.from('a')
      yield Buffer.from('b')
    })()
    const { seq } = await client.root()
    await client.put('k', stream, { guards: [{ seq }, { key: 'k', absent: true }] })
    expect(Buffer.from((await store.get('k')) ?? []).toString()).toBe('ab')
    const late = client.put('k', 'c', { guards: [{ seq }, { key: 'k', absent: true }] })
    await expect(late).rejects.toMatchObject({ code: 'ECONFLICT', failed: { guard: 0 } })
  })
})

describe('cancel', () => {
  it('ends a wait, a put and a read with ECANCELED', async () => {
    const abort = new AbortController()
    const { signal } = abort
    const endless = (async function* () {
      for (;;) yield Buffer.alloc(10_000)
    })()
    const calls = [
      client.get('k', { minSeq: 1_000, signal }),
      client.root({ waitSeq: 1_000, signal }),
      client.put('k', endless, { signal }),
    ].map((call) => expect(call).rejects.toMatchObject({ code: 'ECANCELED' }))
    await expect.poll(() => proxy.requests.length).toBeGreaterThanOrEqual(3)
    abort.abort()
    await Promise.all(calls)
    await expect(client.get('k', { signal })).rejects.toMatchObject({ code: 'ECANCELED' })
    await expect(client.put('k', 'v', { signal })).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(await store.get('k')).toBeUndefined()
  })
})

describe('dispose', () => {
  it('ends what is on its way: reads ECLOSED, writes EUNKNOWN, and no connection is left', async () => {
    proxy.holdAnswers()
    const read = expect(client.get('k')).rejects.toMatchObject({ code: 'ECLOSED' })
    const write = expect(client.append('log', 'a')).rejects.toMatchObject({ code: 'EUNKNOWN' })
    await expect.poll(async () => (await store.stat('log'))?.count).toBe(1)
    await client[Symbol.asyncDispose]()
    await Promise.all([read, write])
    await expect.poll(() => proxy.connections).toBe(0)
  })
})

describe('jobs', () => {
  it('run, are shown, signalled and waited for, over a lost connection too', async () => {
    const base = { cwd: '/', env: { PATH: process.env['PATH'] ?? '' } }
    const job = await client.jobs.submit({ ...base, command: ['cat'], stdin: true })
    expect(await client.jobs.show(job.id)).toMatchObject({ id: job.id, command: ['cat'] })
    await openSocket(client)
    const before = proxy.askedBytes
    const finished = client.jobs.wait(job.id)
    await expect.poll(() => proxy.askedBytes).toBeGreaterThan(before)
    proxy.cut()
    await client.jobs.stdin(
      job.id,
      (async function* () {
        yield Buffer.from('hello')
      })(),
    )
    expect(await finished).toMatchObject({ state: 'finished', status: 0 })
    expect((await client.jobs.list()).jobs.map(({ id }) => id)).toEqual([job.id])
    await expect(client.jobs.signal(job.id, 'SIGTERM')).rejects.toMatchObject({ code: 'ECONFLICT' })
    await expect(client.jobs.wait('none')).rejects.toMatchObject({ code: 'ENOENT' })
    const long = await client.jobs.submit({ ...base, command: ['sleep', '100'] })
    await client.jobs.signal(long.id, 'SIGTERM')
    expect(await client.jobs.wait(long.id)).toMatchObject({ signal: 'SIGTERM' })
  })
})

describe('finished jobs', () => {
  it('are removed and pruned as in the store itself', async () => {
    const run = async () => {
      const { id } = await client.jobs.submit({ command: ['echo', 'x'], cwd: '/', env: {} })
      return client.jobs.wait(id)
    }
    const [first, second] = [await run(), await run()]
    await client.jobs.remove(first.id, { output: true })
    expect(await store.stat(`${first.id}/output`, { namespace: 'jobs' })).toBeUndefined()
    expect(await client.jobs.show(first.id)).toEqual(first)
    await client.jobs.remove(first.id)
    await expect(client.jobs.remove(first.id)).rejects.toMatchObject({ code: 'ENOENT' })
    const dry = await client.jobs.prune({ olderThanMs: 0, dryRun: true })
    expect(dry).toEqual({ jobs: [second] })
    const sought = await client.jobs.list({ states: ['finished', 'running'], limit: 1 })
    expect(sought).toEqual({ jobs: [second], more: false, total: 1, size: expect.any(Number) })
    expect((await client.jobs.list({ states: ['failed'], name: 'a b' })).jobs).toEqual([])
    expect(await client.jobs.prune({ olderThanMs: 0 })).toEqual(dry)
    expect((await client.jobs.list()).jobs).toEqual([])
    await expect(client.jobs.prune({ olderThanMs: -1 })).rejects.toMatchObject({ code: 'EINVAL' })
    const kept = { keepJobs: 5, keepJobsAgeMs: 60_000 }
    expect(await client.namespaces.configure('jobs', kept)).toMatchObject(kept)
    const view = (await client.namespaces.list()).find(({ name }) => name === 'jobs')
    expect(view?.settings).toMatchObject(kept)
  })
})

describe('a Unix socket whose queue of connections is full', () => {
  it('is waited for: more calls than it holds are all answered', async () => {
    await using direct = await connect(serving.target)
    const stream = async function* () {
      yield Buffer.from('x')
    }
    // Each stream has a connection of its own.
    const puts = Array.from({ length: 560 }, () => direct.put('k', stream()))
    expect(await Promise.all(puts)).toHaveLength(560)
  })
})
