/** Writes that land once, whatever becomes of the connection, of the server's answer, and of the client:
 *  rfc/20, rules 1 to 8; rfc/12, rules 20 and 21. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { answerMarkMs } from '../../src/api/transaction.js'
import { connect } from '../../src/client/node.js'
import type { EmbeddedStore } from '../../src/open.js'
import { TestClock } from '../clock.js'
import { refusal, text } from '../kvs/expect.js'
import { bundledPrograms } from '../support/programs.js'
import { CuttingProxy } from './cutting-proxy.js'
import { fast, openSocket, type Serving, serve, serveCutting } from './serving.js'

const ways = ['http', 'socket'] as const
const programs = bundledPrograms({ producing: 'test/client/producing.ts' })
const exactlyOnce = true

let serving: Serving
let proxy: CuttingProxy
let client: Store
let store: Serving['store']

beforeEach(async () => {
  const served = await serveCutting()
  ;({ serving, store, proxy, client } = served)
  return served.end
})

const stream = async function* () {
  for (let at = 0; at < 5; at++) yield Buffer.alloc(300_000, `${at}`)
}

describe.each(ways)(
  'the connection (%s) is cut after the commit and before the answer',
  (requests) => {
    beforeEach(async () => {
      const way = await connect(proxy.target, { reconnect: fast, requests })
      client = way
      if (requests === 'socket') await openSocket(client)
      return () => way[Symbol.asyncDispose]()
    })

    const writes: readonly (readonly [string, (client: Store) => Promise<unknown>])[] = [
      ['append', (each) => each.append('k', 'x', { exactlyOnce })],
      ['append with a seal', (each) => each.append('k', 'x', { seal: true, exactlyOnce })],
      ['append by a producer', (each) => each.append('k', 'x', { producer: p(0), exactlyOnce })],
      ['put', (each) => each.put('k', 'x', { exactlyOnce })],
      ['put if absent', (each) => each.put('k', 'x', { guards: [absent], exactlyOnce })],
      ['put of a stream', (each) => each.put('k', stream(), { exactlyOnce })],
      ['commit', (each) => each.commit({ guards: [absent], ops: [append] }, { exactlyOnce })],
      [
        'append with guards',
        (each) => each.append('k', 'x', { guards: [{ seq: 0 }], exactlyOnce }),
      ],
      ['put if absent, and take the lease', (each) => each.commit(takeAndPut, { exactlyOnce })],
      [
        'append under a key of its own',
        (each) => each.append('k', 'x', { idempotencyKey: 'ü', exactlyOnce }),
      ],
    ]

    it.each(writes)('%s: done once', async (_name, write) => {
      proxy.loseAnswers(3)
      expect(await write(client)).toMatchObject({ seq: expect.any(Number) })
      expect(proxy.losing).toBe(0)
      expect([1, 1_500_000]).toContain((await store.stat('k'))?.size)
      const seqs = (await store.history.roots()).roots.filter(({ keys }) => keys?.includes('k'))
      expect(seqs).toHaveLength(1)
    })

    it('a take: the lease is known again by its name', async () => {
      proxy.loseAnswers(3)
      await using lease = await client.leases.take('k', { exactlyOnce })
      expect(proxy.losing).toBe(0)
      expect(await store.leases.show('k')).toMatchObject({ held: true, token: lease.token })
      expect((await store.root()).seq).toBe(lease.token.seq)
    })

    it('a take of many: each is known again by its name', async () => {
      await using _held = await store.leases.take('l')
      proxy.loseAnswers(3)
      const leases = await client.leases.takeEach(['k', 'l', 'm'], { exactlyOnce })
      expect(proxy.losing).toBe(0)
      expect(leases.map((lease) => lease instanceof Error)).toEqual([false, true, false])
      for (const lease of leases) {
        if (lease instanceof Error) continue
        const { key, token } = lease
        expect(await store.leases.show(key)).toMatchObject({ held: true, token })
        await lease.release()
      }
    })

    it('resend: done once; what is refused behind an unanswered try is EUNKNOWN', async () => {
      await using lease = await client.leases.take('k')
      const ops = [{ op: 'append', key: 'k', value: 'x' }] as const
      proxy.loseAnswers(1)
      const refused = await refusal(lease.finish({ ops }, { resend: true }))
      expect(refused).toMatchObject({ code: 'EUNKNOWN', cause: { code: 'ECONFLICT' } })
      expect(await store.stat('k')).toMatchObject({ count: 1 })
      expect(await store.leases.show('k')).toEqual({ held: false })
      const both = client.put('k', 'x', { resend: true, exactlyOnce })
      expect(await refusal(both)).toMatchObject({ code: 'EINVAL' })
    })

    it('without asking for it, it is EUNKNOWN', async () => {
      proxy.loseAnswers(1)
      expect(await refusal(client.append('k', 'x'))).toMatchObject({ code: 'EUNKNOWN' })
      proxy.loseAnswers(1)
      const numbered = client.append('k', 'x', { producer: p(0) })
      expect(await refusal(numbered)).toMatchObject({ code: 'EUNKNOWN' })
      const again = await client.append('k', 'x', { producer: p(0) })
      expect(again.result).toEqual({ index: 1, count: 2, repeated: true })
    })

    it('the answer of then comes, though the key has gone on', async () => {
      await client.put('seen', 'x')
      proxy.loseAnswers(1, () => void store.put('k', 'newer'))
      const { repeated, result } = await client.append('k', 'x', { exactlyOnce })
      expect([repeated, result]).toEqual([true, { index: 0, count: 1 }])
      await expect.poll(async () => text(await store.get('k'))).toBe('newer')
    })

    it.each(['exactlyOnce', 'resend'])('%s: its caller may write to its buffer', async (option) => {
      const bytes = Buffer.from('mine')
      proxy.loseAnswers(2)
      const put = client.put('k', bytes, { [option]: true })
      bytes.fill('x')
      await put
      expect(text(await store.get('k'))).toBe('mine')
    })
  },
)

describe.each(ways)(
  'the answer is lost, and forgotten before the write is sent again (%s)',
  (requests) => {
    let clock: TestClock
    let lossy: CuttingProxy
    let kept: EmbeddedStore
    let way: Store
    beforeEach(async () => {
      clock = new TestClock()
      const own = await serve({}, { environment: clock })
      kept = own.store
      lossy = await CuttingProxy.start(own.directory, own.server.socket)
      way = await connect(lossy.target, { reconnect: fast, requests })
      if (requests === 'socket') await openSocket(way)
      return async () => {
        await way[Symbol.asyncDispose]()
        await lossy[Symbol.asyncDispose]()
        await own[Symbol.asyncDispose]()
      }
    })

    /** Raises the floor of answers above 0. Over HTTP the client has seen no seq then; on the socket the
     *  proxy would take the answer to its question for that of a write. */
    async function raiseFloor(): Promise<void> {
      await kept.append('before', 'x', { idempotencyKey: 'before' })
      clock.advance(answerMarkMs)
      await kept.append('before', 'x', { idempotencyKey: 'raises the floor' })
      if (requests === 'socket') await way.put('seen', 'x')
    }

    const writes: readonly (readonly [string, (client: Store) => Promise<unknown>])[] = [
      ['append', (each) => each.append('k', 'x', { exactlyOnce })],
      ['large append', (each) => each.append('k', new Uint8Array(300_000), { exactlyOnce })],
      ['put', (each) => each.put('k', 'x', { exactlyOnce })],
      ['put of a stream', (each) => each.put('k', stream(), { exactlyOnce })],
      ['commit', (each) => each.commit({ ops: [append] }, { exactlyOnce })],
      [
        'append under a key of its own',
        (each) => each.append('k', 'x', { idempotencyKey: 'own', exactlyOnce }),
      ],
      ['append numbered 0', (each) => each.append('k', 'x', { producer: p(0), exactlyOnce })],
      [
        'first append of a producer',
        (each) => each.producer('k', { epoch: 0 }).then((own) => own.append('x')),
      ],
    ]

    it.each(writes)('%s: EUNKNOWN, and done once', async (_name, write) => {
      await raiseFloor()
      lossy.loseAnswers(1, () => clock.advance(answerMarkMs))
      const { seq } = await kept.root()
      expect(await refusal(write(way))).toMatchObject({
        code: 'EUNKNOWN',
        failed: { state: { floor: seq + 1 } },
      })
      expect(lossy.losing).toBe(0)
      expect((await kept.root()).seq).toBe(seq + 1)
    })

    it.each(writes)(
      '%s: an answer that is kept comes, though others are forgotten',
      async (_name, write) => {
        await raiseFloor()
        const { seq } = await kept.root()
        lossy.loseAnswers(1)
        expect(await write(way)).toMatchObject({ seq: seq + 1 })
        expect(lossy.losing).toBe(0)
      },
    )

    it('a write that was never done is done, though others are forgotten', async () => {
      await raiseFloor()
      lossy.close()
      const late = way.append('k', 'x', { exactlyOnce })
      await expect.poll(() => lossy.refused).toBeGreaterThan(1)
      lossy.open()
      expect((await late).result).toEqual({ index: 0, count: 1 })
    })
  },
)

describe('exactly once', () => {
  it('waits for a server that is away', async () => {
    proxy.close()
    const append = client.append('k', 'x', { exactlyOnce })
    await expect.poll(() => proxy.requests.length).toBeGreaterThan(0)
    proxy.open()
    expect((await append).result).toEqual({ index: 0, count: 1 })
  })

  it('ends with a refusal, with its signal, and with the client', async () => {
    await store.put('k', 'there')
    const refused = client.put('k', 'x', { guards: [absent], exactlyOnce })
    expect(await refusal(refused)).toMatchObject({ code: 'ECONFLICT', failed: { guard: 0 } })
    proxy.close()
    const abort = new AbortController()
    const canceled = refusal(client.put('k', 'x', { exactlyOnce, signal: abort.signal }))
    const closed = refusal(client.put('k', 'x', { exactlyOnce }))
    abort.abort()
    expect(await canceled).toMatchObject({ code: 'ECANCELED' })
    await client[Symbol.asyncDispose]()
    expect(await closed).toMatchObject({ code: 'ECLOSED' })
    expect(text(await store.get('k'))).toBe('there')
  })

  it('of a stream too large to be held is E2BIG', async () => {
    const endless = async function* () {
      for (;;) yield new Uint8Array(1024 * 1024)
    }
    const put = client.put('k', endless(), { exactlyOnce })
    expect(await refusal(put)).toMatchObject({ code: 'E2BIG' })
  })
})

describe('a producer', () => {
  it('retries for ever, and each of its appends lands once, in order', async () => {
    await using producer = await client.producer('log')
    const appends: Promise<unknown>[] = []
    for (let at = 0; at < 60; at++) {
      if (at % 3 === 0) proxy.loseAnswers(2)
      const append = producer.append(`${at}\n`)
      appends.push(append)
      // Some alone, some together.
      if (at % 4 < 2) await append
    }
    await Promise.all(appends)
    const lines = text(await store.get('log'))
      .trimEnd()
      .split('\n')
    expect(lines).toEqual(Array.from({ length: 60 }, (_, at) => `${at}`))
    expect((await store.stat('log'))?.count).toBe(60)
  })

  it('tells where each landed, though the answer came twice', async () => {
    await using producer = await client.producer('log')
    await producer.append('a')
    proxy.loseAnswers(1)
    expect((await producer.append('b')).result).toEqual({ index: 1, count: 2, repeated: true })
  })

  it('that begins anew while the old one still sends: the old one appends nothing more', async () => {
    await using other = await connect(serving.target, { reconnect: fast })
    await using old = await client.producer('log', { id: 'p' })
    await old.append('old 0\n')
    let ended: unknown
    const sends = (async () => {
      for (let at = 1; ended === undefined; at++) {
        if (at % 2 === 0) proxy.loseAnswers(1)
        await old.append(`old ${at}\n`).catch((error: unknown) => {
          ended = error
        })
      }
    })()
    await expect.poll(async () => (await store.stat('log'))?.count).toBeGreaterThan(5)
    await using young = await other.producer('log', { id: 'p' })
    expect(young.epoch).toBe(1)
    for (let at = 0; at < 20; at++) await young.append(`young ${at}\n`)
    await sends
    expect(ended).toMatchObject({ code: 'EFENCED' })
    const lines = text(await store.get('log'))
      .trimEnd()
      .split('\n')
    const first = lines.indexOf('young 0')
    expect(lines.slice(0, first)).toEqual(lines.slice(0, first).map((_, at) => `old ${at}`))
    expect(lines.slice(first)).toEqual(Array.from({ length: 20 }, (_, at) => `young ${at}`))
  })

  it('whose process is killed, with appends on their way that arrive after those of the next', async () => {
    const start = () =>
      spawn(process.execPath, [programs.producing, proxy.target], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
    const first = start()
    const acknowledged: string[] = []
    for await (const line of createInterface({ input: first.stdout })) {
      acknowledged.push(line)
      if (acknowledged.length === 10) proxy.holdWrites()
      if (acknowledged.length === 10) {
        await expect.poll(() => proxy.writesHeld).toBeGreaterThan(0)
        first.kill('SIGKILL')
      }
    }
    if (first.exitCode === null && first.signalCode === null) await once(first, 'exit')

    // The next incarnation goes around what is held.
    await using direct = await connect(serving.target)
    await using next = await direct.producer('log', { id: 'p' })
    await next.append('next 0\n')
    const before = text(await store.get('log'))
    const { seq } = await store.root()
    proxy.releaseWrites()
    // Over HTTP, or on the websocket, if it was open by then.
    await expect.poll(() => proxy.lateAnswers.join()).toMatch(/409 Conflict|EFENCED/)
    await next.append('next 1\n')
    expect(text(await store.get('log'))).toBe(`${before}next 1\n`)
    expect((await store.root()).seq).toBe(seq + 1)
    const lines = before.trimEnd().split('\n')
    expect(lines.slice(0, acknowledged.length)).toEqual(acknowledged)
    expect(new Set(lines).size).toBe(lines.length)
  }, 30_000)
})

const absent = { key: 'k', absent: true } as const
const append = { op: 'append', key: 'k', value: 'x' } as const
const take = { op: 'lease', key: 'k', action: 'take', ttl: 60_000, takeId: 't' } as const
const takeAndPut = { guards: [absent], ops: [take, { ...append, op: 'put' }] } as const

function p(seq: number) {
  return { id: 'p', epoch: 0, seq }
}
