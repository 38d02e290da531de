/** The contract of the result cache: run embedded and over a server, by two users of one store, who act in the order that
 *  a test forces. See rfc/22. */

import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Cache, type Claim, type Hit, layersMax, outputsMax } from '../../src/api/cache.js'
import type { Store } from '../../src/api/store.js'
import { transactionSizeMax } from '../../src/api/transaction.js'
import { openCache, storedBytes } from '../../src/cache/cache.js'
import { refusal, text } from '../kvs/expect.js'
import { type Gated, gated } from './gates.js'

export type Shared = {
  /** Two stores with the same content; embedded they are the same. */
  readonly stores: readonly [Store, Store]
  readonly close: () => Promise<void>
}

const action = { task: 'train', code: 'v3', inputs: ['x'] }
const namespace = 'cache-main'

export function cacheContract(name: string, make: () => Promise<Shared>): void {
  describe(`cache: ${name}`, () => {
    let shared: Shared
    let store: Store
    let a: Gated
    let b: Gated
    let cacheA: Cache
    let cacheB: Cache
    beforeEach(async () => {
      shared = await make()
      store = shared.stores[0]
      a = gated(shared.stores[0])
      b = gated(shared.stores[1])
      cacheA = openCache(a.store, { owner: 'a', code: 'r1' })
      cacheB = openCache(b.store, { owner: 'b' })
      // Both layers are open, so that each claim begins with its look.
      await cacheA.load(action)
      await cacheB.load(action)
    })
    afterEach(() => shared.close())

    const claimed = async (cache: Cache, what: unknown = action): Promise<Claim> => {
      const got = await cache.claim(what)
      if (got.type !== 'claimed') throw new Error(`a ${got.type} where a claim was expected`)
      return got
    }
    const hit = async (cache: Cache, what: unknown = action): Promise<Hit> => {
      const got = await cache.claim(what)
      if (got.type !== 'hit') throw new Error(`a ${got.type} where a hit was expected`)
      return got
    }
    const seqOf = async () => (await store.root({ namespace })).seq
    /** What the end of a lease by time does, without the time. */
    const endLease = async ({ token, guard }: Claim) => {
      const key = 'lease' in guard ? guard.lease : ''
      await store.commit({ ops: [{ op: 'lease', key, action: 'release', token }] }, { namespace })
    }

    it('publishes bytes that stand in the store by reference, or nothing if they are gone', async () => {
      const bytes = Buffer.alloc(600_000, 7)
      await store.put('elsewhere', bytes)
      const place = { key: 'elsewhere', namespace: 'primary', size: bytes.length }
      const claim = await claimed(cacheA)
      await expect(claim.publish(storedBytes({ ...place, key: 'nowhere' }))).rejects.toMatchObject({
        code: 'ENOENT',
      })
      const published = await claim.publish({ value: storedBytes(place), more: 'text' })
      expect(published.result.outputs).toMatchObject({ value: { size: bytes.length } })
      await store.put('elsewhere', 'other')
      const found = await hit(cacheB)
      expect(Buffer.compare(await found.get(), bytes)).toBe(0)
      expect(text(await found.get('more'))).toBe('text')
    })

    describe('two writers', () => {
      it('who both missed: one computes, and the other gets its result without a write', async () => {
        const takeB = b.hold('take')
        const second = cacheB.claim(action)
        await takeB.reached
        const first = await claimed(cacheA)
        takeB.open()
        await first.publish('A')
        const seq = await seqOf()
        const got = await second
        expect(got.type === 'hit' && text(await got.get())).toBe('A')
        expect(await seqOf()).toBe(seq)
      })

      it('one publishes between the look and the claim of the other', async () => {
        const takeB = b.hold('take')
        const second = cacheB.claim(action)
        await takeB.reached
        await (await claimed(cacheA)).publish('A')
        const seq = await seqOf()
        takeB.open()
        const got = await second
        expect(got.type === 'hit' && text(await got.get())).toBe('A')
        expect(await seqOf()).toBe(seq)
      })

      it('one waits while the other publishes', async () => {
        const first = await claimed(cacheA)
        const finish = a.hold('finish')
        const published = first.publish('A')
        const second = cacheB.claim(action)
        await expect.poll(() => b.calls.includes('take')).toBe(true)
        await finish.reached
        finish.open()
        await published
        const got = await second
        expect(got.type === 'hit' && text(await got.get())).toBe('A')
      })

      it('the first gives up: the second gets the claim', async () => {
        const first = await claimed(cacheA)
        const second = cacheB.claim(action)
        await expect.poll(() => b.calls.includes('take')).toBe(true)
        await first.abandon()
        const got = await second
        expect(got.type).toBe('claimed')
        if (got.type === 'claimed') await got.publish('B')
        expect(text(await (await hit(cacheA)).get())).toBe('B')
      })
    })

    describe('many claims at once', () => {
      const many = Array.from({ length: 40 }, (_, at) => ({ at }))
      const skip = { wait: 'skip' } as const
      const isOneOf = (places: readonly number[]) => (_: unknown, at: number) => places.includes(at)

      it.each([2, 12])(
        'are each answered as if alone, where another one holds %d of them',
        async (held) => {
          const places = Array.from({ length: held }, (_, at) => at * 3)
          const others = await Promise.all(places.map((at) => claimed(cacheB, many[at])))
          const before = await seqOf()
          const got = await Promise.all(many.map((each) => cacheA.claim(each, skip)))
          expect(got.map(({ type }) => type)).toEqual(
            many.map((_, at) => (places.includes(at) ? 'busy' : 'claimed')),
          )
          if (held === 2) expect((await seqOf()) - before).toBe(1)
          await Promise.all(others.map((claim, at) => claim.publish(`B ${places[at]}`)))
          const mine = got.flatMap((each) => (each.type === 'claimed' ? [each] : []))
          await Promise.all(mine.map((claim) => claim.publish('A')))
          const found = await Promise.all(many.map((each) => hit(cacheB, each)))
          const values = await Promise.all(found.map(async (each) => text(await each.get())))
          expect(values).toEqual(many.map((_, at) => (places.includes(at) ? `B ${at}` : 'A')))
          const busy = got.filter(isOneOf(places))
          const waited = await Promise.all(busy.map((each) => each.type === 'busy' && each.result))
          expect(waited.map((each) => (each ? each.result.by.owner : undefined))).toEqual(
            places.map(() => 'b'),
          )
        },
      )

      it('tell how long the work took, from where it began', async () => {
        const claim = await claimed(cacheA)
        const asked = Date.now()
        while (Date.now() < asked + 60) await store.root()
        claim.begin()
        const began = Date.now()
        const { result } = await claim.publish('A')
        expect(result.started).toBeGreaterThanOrEqual(asked + 60)
        expect(result.tookMs).toBeLessThanOrEqual(Date.now() - began + 1)
      })

      it('ask at once without a look, and still find what has come since', async () => {
        await (await claimed(cacheB, many[0])).publish('B')
        await claimed(cacheB, many[1])
        const before = a.calls.length
        const options = { look: false, wait: 'skip' } as const
        const got = await Promise.all(many.slice(0, 3).map((each) => cacheA.claim(each, options)))
        expect(got.map(({ type }) => type)).toEqual(['hit', 'busy', 'claimed'])
        // For the result that has come.
        expect(a.calls.slice(before).filter((call) => call === 'look').length).toBe(1)
      })

      it('publish in few transactions; one whose claim was lost publishes nothing', async () => {
        const claims = await Promise.all(many.map((each) => claimed(cacheA, each)))
        const [lost] = claims.filter(isOneOf([5]))
        if (!lost) throw new Error('it was claimed')
        await endLease(lost)
        await (await claimed(cacheB, many[5])).publish('B')
        const before = await seqOf()
        const outcomes = await Promise.allSettled(
          claims.map((claim, at) => claim.publish(`A ${at}`)),
        )
        expect(outcomes.flatMap(({ status }, at) => (status === 'rejected' ? [at] : []))).toEqual([
          5,
        ])
        expect(outcomes[5]).toMatchObject({ reason: { code: 'EFENCED' } })
        expect((await seqOf()) - before).toBe(1)
        const found = await Promise.all(many.map((each) => hit(cacheB, each)))
        const values = await Promise.all(found.map(async (each) => text(await each.get())))
        expect(values).toEqual(many.map((_, at) => (at === 5 ? 'B' : `A ${at}`)))
        const log = store.eventlog('log', { namespace })
        const told: unknown[] = []
        for await (const { name, context } of log.read()) {
          if (name === 'publish') told.push(context?.['action'])
        }
        expect(new Set(told)).toEqual(new Set(found.map(({ result }) => result.id)))
        expect(told.length).toBe(many.length)
      })

      it('publish beside a copy whose source is gone, which alone fails', async () => {
        const claims = await Promise.all(many.slice(0, 3).map((each) => claimed(cacheA, each)))
        const gone = storedBytes({ key: 'gone', namespace: 'primary', size: 3 })
        const outcomes = await Promise.allSettled(
          claims.map((claim, at) => claim.publish(at === 1 ? gone : 'A')),
        )
        expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
        expect(outcomes[1]).toMatchObject({ reason: { code: 'ENOENT' } })
      })

      it('stage large outputs apart from each other, though they were taken together', async () => {
        const claims = await Promise.all(many.slice(0, 3).map((each) => claimed(cacheA, each)))
        const large = (at: number) => Buffer.alloc(5 * 1024 * 1024, at)
        await Promise.all(claims.map((claim, at) => claim.publish(large(at))))
        for (const at of claims.keys()) {
          const bytes = await (await hit(cacheB, many[at])).get()
          expect(Buffer.compare(bytes, large(at))).toBe(0)
        }
      })
    })

    describe('a write and reads', () => {
      it('many who read wait for the one who writes, then read at the same time, without a lock', async () => {
        const big = Buffer.alloc(100_000, 'x')
        const first = await claimed(cacheA)
        const readers = Array.from({ length: 20 }, () => cacheB.claim(action))
        await expect.poll(() => b.calls).toContain('watch')
        await first.publish(big)
        const seq = await seqOf()
        const streams = (await Promise.all(readers)).map((got) => {
          if (got.type !== 'hit') throw new Error(got.type)
          return got.stream()
        })
        // Each has its first piece before any has its last.
        const firsts = await Promise.all(streams.map((stream) => stream.next()))
        expect(firsts.every(({ value }) => value instanceof Uint8Array)).toBe(true)
        for (const [at, stream] of streams.entries()) {
          expect(Buffer.compare(await joined(stream, firsts[at]?.value ?? undefined), big)).toBe(0)
        }
        expect(await seqOf()).toBe(seq)
      })

      it('a write after a read: the reader is undisturbed, the writer finds the result and does not write', async () => {
        const big = Buffer.alloc(1_000_000, 'x')
        await (await claimed(cacheA)).publish(big)
        const seq = await seqOf()
        const stream = (await hit(cacheB)).stream()
        const { value } = await stream.next()
        expect((await cacheA.claim(action)).type).toBe('hit')
        expect(await cacheA.claim(action, { wait: 'fail' })).toMatchObject({ type: 'hit' })
        expect(Buffer.compare(await joined(stream, value ?? undefined), big)).toBe(0)
        expect(await seqOf()).toBe(seq)
      })

      it('a removal, then a read: a miss, which is no error', async () => {
        await (await claimed(cacheA)).publish('A')
        expect(await cacheB.remove(action)).toBe(true)
        expect(await cacheB.remove(action)).toBe(false)
        expect(await cacheA.load(action)).toBeUndefined()
        const again = await claimed(cacheB)
        await again.publish('B')
        expect(text(await (await hit(cacheA)).get())).toBe('B')
      })

      it.each(['a removal', 'a removal and another result', 'a rerun'])(
        '%s during a read: the reader finishes with the right bytes',
        async (what) => {
          const big = Buffer.alloc(3_000_000, 'old')
          await (await claimed(cacheA)).publish(big)
          const found = await hit(cacheB)
          const stream = found.stream()
          const { value } = await stream.next()
          if (what === 'a rerun') {
            await (await cacheA.rerun(action)).publish(Buffer.alloc(3_000_000, 'new'))
          } else {
            expect(await cacheA.remove(action)).toBe(true)
          }
          if (what === 'a removal and another result') {
            await (await claimed(cacheA)).publish(Buffer.alloc(3_000_000, 'new'))
          }
          await store.upkeep.collect()
          expect(Buffer.compare(await joined(stream, value ?? undefined), big)).toBe(0)
          expect(Buffer.compare(await found.get(), big)).toBe(0)
        },
      )

      it('place() tells where a large output stands, and nothing of a small one', async () => {
        const big = Buffer.alloc(300_000, 'x')
        await (await claimed(cacheA)).publish({ big, small: 'x' })
        const found = await hit(cacheB)
        expect(found.place('small')).toBeUndefined()
        const { key = '', ...scope } = found.place('big') ?? {}
        expect(Buffer.compare((await store.get(key, scope)) ?? new Uint8Array(), big)).toBe(0)
        expect(() => found.place('none')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
      })

      it('a look before a removal and a read behind it: the bytes, or ECOMPACTED, never others', async () => {
        const big = Buffer.alloc(300_000, 'old')
        await (await claimed(cacheA)).publish(big)
        const found = await hit(cacheB)
        await cacheA.remove(action)
        await (await claimed(cacheA)).publish(Buffer.alloc(300_000, 'new'))
        await store.namespaces.configure(namespace, { historyCount: 1, historyAgeMs: 0 })
        expect(await refusal(found.get())).toMatchObject({ code: 'ECOMPACTED' })
      })

      it('a read long after its look gets a result that is still there', async () => {
        const big = Buffer.alloc(300_000, 'old')
        await (await claimed(cacheA)).publish(big)
        const found = await hit(cacheB)
        await (await claimed(cacheA, 'another')).publish('x')
        await store.namespaces.configure(namespace, { historyCount: 1, historyAgeMs: 0 })
        expect(Buffer.compare(await found.get(), big)).toBe(0)
        expect(Buffer.compare(await joined(found.stream()), big)).toBe(0)
      })
    })

    describe('claims of one action in one process', () => {
      it('that nobody has are a look, a take and a publish', async () => {
        const before = a.calls.length
        let runs = 0
        const calls = Array.from({ length: 64 }, () => cacheA.cached(action, () => ++runs))
        expect(new Set(await Promise.all(calls))).toEqual(new Set([1]))
        expect(a.calls.slice(before)).toEqual(['look', 'take', 'finish'])
      })

      it('that another process computes are a look, a take and a watch, which brings the result', async () => {
        const first = await claimed(cacheA)
        const before = b.calls.length
        const claims = Array.from({ length: 64 }, () => cacheB.claim(action))
        await expect.poll(() => b.events).toEqual(['lease'])
        await first.publish('A')
        const hits = (await Promise.all(claims)).flatMap((got) => (got.type === 'hit' ? [got] : []))
        expect(hits.length).toBe(64)
        expect(b.calls.slice(before)).toEqual(['look', 'take', 'watch'])
        expect(new Set(hits).size).toBe(64)
        const bytes = await hits[0]?.get()
        bytes?.fill(0)
        expect(text(await hits[1]?.get())).toBe('A')
      })

      it('of many actions share the looks of one turn', async () => {
        await Promise.all(Array.from({ length: 10 }, (_, at) => cacheA.cached({ at }, () => at)))
        const before = b.calls.length
        const all = Array.from({ length: 10 }, (_, at) => cacheB.cached({ at }, () => 'not this'))
        expect(await Promise.all(all)).toEqual(Array.from({ length: 10 }, (_, at) => at))
        expect(b.calls.slice(before)).toEqual(['look'])
      })

      it('are not disturbed by the record of another action that is none', async () => {
        await Promise.all(Array.from({ length: 3 }, (_, at) => cacheA.cached({ at }, () => at)))
        const found = await Promise.all([1, 2].map((at) => cacheB.load({ at })))
        const [none = '', directory = ''] = found.map((each) => each?.result.id)
        await store.put(`results/${none}`, 'none', { namespace })
        await store.commit(
          {
            ops: [
              { op: 'unlink', key: `results/${directory}` },
              { op: 'put', key: `results/${directory}/x`, value: '' },
            ],
          },
          { namespace },
        )
        const looks = [0, 1, 2].map((at) => cacheB.load({ at }))
        const outcomes = await Promise.allSettled(looks)
        expect(outcomes).toMatchObject([
          { status: 'fulfilled', value: { type: 'hit' } },
          { status: 'rejected', reason: { code: 'EINVAL' } },
          { status: 'rejected', reason: { code: 'EISDIR' } },
        ])
      })

      it.each(['gives up', 'loses it'])(
        'are computed by the next one if who has it %s',
        async (how) => {
          const first = await cacheA.claim(action, { ttl: 1_000 })
          if (first.type !== 'claimed') throw new Error(first.type)
          const before = a.calls.length
          const others = Array.from({ length: 3 }, () => cacheA.claim(action))
          await expect.poll(() => a.calls.slice(before)).toEqual(['look'])
          if (how === 'gives up') await first.abandon()
          else await endLease(first)
          const next = await Promise.race(others)
          expect(next.type).toBe('claimed')
          if (next.type === 'claimed') await next.publish('next')
          const types = (await Promise.all(others)).map(({ type }) => type)
          expect(types.sort()).toEqual(['claimed', 'hit', 'hit'])
        },
      )

      it('end each by its own signal and its own time', async () => {
        const first = await claimed(cacheA)
        const leaving = new AbortController()
        const before = b.calls.length
        const gone = refusal(cacheB.claim(action, { signal: leaving.signal }))
        await expect.poll(() => b.calls.slice(before)).toContain('watch')
        const late = refusal(cacheB.claim(action, { timeoutMs: 1 }))
        const others = Array.from({ length: 3 }, () => cacheB.claim(action))
        expect(await late).toMatchObject({ code: 'ETIMEDOUT' })
        // Who waits at the store leaves: another one waits there.
        const watches = () => b.calls.slice(before).filter((call) => call === 'watch').length
        leaving.abort()
        expect(await gone).toMatchObject({ code: 'ECANCELED' })
        await expect.poll(watches).toBe(2)
        await first.publish('A')
        for (const got of await Promise.all(others)) expect(got.type).toBe('hit')
        expect(watches()).toBe(2)
      })

      it('whose taker leaves before its lease is granted do not wait for that lease', async () => {
        const leaving = new AbortController()
        const take = a.hold('take')
        const gone = refusal(cacheA.claim(action, { signal: leaving.signal }))
        await take.reached
        const other = cacheA.claim(action)
        leaving.abort()
        expect(await gone).toMatchObject({ code: 'ECANCELED' })
        take.open()
        expect((await other).type).toBe('claimed')
        expect(a.calls).not.toContain('watch')
      })

      it('keep their own ways: skip and fail are answered at once, beside who waits', async () => {
        const first = await claimed(cacheA)
        const waiting = cacheA.claim(action)
        const busy = await cacheA.claim(action, { wait: 'skip' })
        expect(busy).toMatchObject({ type: 'busy', holder: { owner: 'a', token: first.token } })
        expect(await refusal(cacheA.claim(action, { wait: 'fail' }))).toMatchObject({
          code: 'ECONFLICT',
          failed: { state: { lease: { owner: 'a', token: first.token } } },
        })
        await expect.poll(() => a.events).toEqual(['lease'])
        await first.abandon()
        const next = await waiting
        expect(busy.type === 'busy' && (await busy.result)).toBeUndefined()
        expect(next.type).toBe('claimed')
        expect(a.calls.filter((call) => call === 'watch').length).toBe(1)
      })

      it('keep their own ways: one with a bound of holders waits for as many', async () => {
        const first = await claimed(cacheA)
        const waiting = refusal(cacheA.claim(action, { tries: 1 }))
        await expect.poll(() => a.events).toEqual(['lease'])
        const look = a.hold('look')
        await first.abandon()
        await look.reached
        await using _second = await claimed(cacheB)
        look.open()
        expect(await waiting).toMatchObject({ code: 'ECONFLICT' })
      })

      it('do not take a result that was removed before they looked', async () => {
        const answer = a.hold('finished')
        const first = await claimed(cacheA)
        const published = first.publish('A')
        await answer.reached
        expect(await cacheB.remove(action)).toBe(true)
        const before = a.calls.length
        const later = cacheA.claim(action)
        await expect.poll(() => a.calls.length).toBe(before + 1)
        await seqOf()
        answer.open()
        await published
        expect((await later).type).toBe('claimed')
      })
    })

    describe('a claim that was lost', () => {
      it.each(['small', 'large'])(
        'publishes nothing: %s; the result of the other stays',
        async (size) => {
          const late = await claimed(cacheA)
          const bytes = Buffer.alloc(size === 'small' ? 10 : transactionSizeMax + 1, 'late')
          const point = size === 'small' ? 'finish' : 'put'
          const stop = a.hold(point)
          const refused = refusal(late.publish(bytes))
          await stop.reached
          await endLease(late)
          const other = await claimed(cacheB)
          await other.publish('B')
          stop.open()
          expect(await refused).toMatchObject({ code: 'EFENCED' })
          expect(text(await (await hit(cacheA)).get())).toBe('B')
          if (size === 'small') expect(late.signal.reason).toMatchObject({ code: 'EFENCED' })
          await late.abandon()
          expect(text(await (await hit(cacheB)).get())).toBe('B')
        },
      )

      it('before its upload ended publishes nothing of it', async () => {
        const late = await claimed(cacheA)
        const stream = async function* () {
          for (let at = 0; at < 12; at++) yield Buffer.alloc(100_000, at)
          await endLease(late)
        }
        expect(await refusal(late.publish({ first: 'x', second: stream() }))).toMatchObject({
          code: 'EFENCED',
        })
        expect(await cacheB.load(action)).toBeUndefined()
      })

      it('while the function runs: cached() gives the result of the new holder', async () => {
        let runs = 0
        const first = cacheA.cached(
          action,
          async (signal) => {
            runs++
            const [lease] = await Promise.all([
              store.leases.show(`results/${(await idOf(cacheB)) ?? ''}`, { namespace }),
              expect.poll(() => a.calls.includes('take')).toBe(true),
            ])
            const { token } = lease
            if (!token) throw new Error('the claim is held')
            const key = `results/${(await idOf(cacheB)) ?? ''}`
            await store.commit(
              { ops: [{ op: 'lease', key, action: 'release', token }] },
              { namespace },
            )
            await (await claimed(cacheB)).publish(Buffer.from('a142', 'hex'))
            if (!signal.aborted) await once(signal, 'abort').catch(() => {})
            return 'A'
          },
          { ttl: 1_000 },
        )
        expect(await first).toBe('B')
        expect(runs).toBe(1)
      })
    })

    describe('claim()', () => {
      it('of a hit takes no lock and writes nothing, and says what is known of the result', async () => {
        const started = Date.now()
        const first = await claimed(cacheA)
        const { token, id } = first
        await first.publish('A')
        const seq = await seqOf()
        const { result } = await hit(cacheB)
        expect(result).toEqual({
          ...{ id, layer: 'main', seq, token, code: 'r1' },
          outputs: { value: { size: 1 } },
          by: { host: expect.any(String), pid: process.pid, owner: 'a' },
          started: expect.any(Number),
          tookMs: expect.any(Number),
        })
        expect(result.started).toBeGreaterThanOrEqual(started)
        expect(await seqOf()).toBe(seq)
        expect(b.calls).not.toContain('take')
      })

      it('with skip returns at once who has it, and tells when the result is there', async () => {
        const first = await claimed(cacheA)
        const busy = await cacheB.claim(action, { wait: 'skip' })
        expect(busy).toMatchObject({ type: 'busy', holder: { owner: 'a', token: first.token } })
        await first.publish('A')
        const result = busy.type === 'busy' ? await busy.result : undefined
        expect(text(await result?.get())).toBe('A')
      })

      it('with skip tells when the holder gave up', async () => {
        const first = await claimed(cacheA)
        const busy = await cacheB.claim(action, { wait: 'skip' })
        await first.abandon()
        expect(busy.type === 'busy' && (await busy.result)).toBeUndefined()
      })

      it('with fail throws ECONFLICT and names the holder', async () => {
        const first = await claimed(cacheA)
        expect(await refusal(cacheB.claim(action, { wait: 'fail' }))).toMatchObject({
          code: 'ECONFLICT',
          failed: { state: { lease: { owner: 'a', token: first.token } } },
        })
      })

      it('waits for as many holders as asked, and as long as asked', async () => {
        const first = await claimed(cacheA)
        const waiting = refusal(cacheB.claim(action, { tries: 1 }))
        await expect.poll(() => b.calls.includes('take')).toBe(true)
        const look = b.hold('look')
        await first.abandon()
        await look.reached
        await using _second = await claimed(cacheA)
        look.open()
        expect(await waiting).toMatchObject({ code: 'ECONFLICT' })
        const late = cacheB.claim(action, { timeoutMs: 1 })
        expect(await refusal(late)).toMatchObject({ code: 'ETIMEDOUT' })
        const leaving = new AbortController()
        const left = refusal(cacheB.claim(action, { signal: leaving.signal }))
        leaving.abort()
        expect(await left).toMatchObject({ code: 'ECANCELED' })
      })

      it.each<[string, () => Promise<unknown>]>([
        ['an action', () => cacheA.claim({ when: new Date(0) })],
        ['an option', () => cacheA.claim(action, { waiting: 'fail' } as never)],
        ['a way to wait', () => cacheA.claim(action, { wait: 'ever' } as never)],
        [
          'a way to wait of cached()',
          () => cacheA.cached(action, () => 1, { wait: 'skip' } as never),
        ],
        ['a function', () => cacheA.cached(action, 1 as never)],
        ['a layer', async () => openCache(store, { layer: 'A/b' })],
        ['an output', async () => (await claimed(cacheA)).publish(7 as never)],
        ['an output of a name', async () => (await claimed(cacheA)).publish({ a: null } as never)],
        ['a name of an output', async () => (await claimed(cacheA)).publish({ '': 'x' })],
      ])('refuses %s that is wrong with EINVAL', async (_what, call) => {
        expect(await refusal(call())).toMatchObject({ code: 'EINVAL' })
      })

      it('of a layer that is not there is ENONS', async () => {
        const nowhere = openCache(store, { layer: 'nowhere' })
        expect(await refusal(nowhere.claim(action))).toMatchObject({ code: 'ENONS' })
        await cacheA.layers.create('nowhere')
        expect(await nowhere.load(action)).toBeUndefined()
      })
    })

    describe('publish()', () => {
      it.each([0, 1, 16_384, 16_385, 300_000, transactionSizeMax / 2 + 1, transactionSizeMax + 1])(
        'a value of %i bytes comes back byte for byte, whole and as a stream',
        async (size) => {
          const bytes = Buffer.alloc(size, 'abcdefg')
          await (await claimed(cacheA)).publish(bytes)
          const found = await hit(cacheB)
          expect(found.result.outputs).toEqual({ value: { size } })
          expect(Buffer.compare(await found.get(), bytes)).toBe(0)
          expect(Buffer.compare(await joined(found.stream()), bytes)).toBe(0)
        },
      )

      it('shows all outputs together, streams too, and leaves nothing behind', async () => {
        const first = await claimed(cacheA)
        const stream = async function* () {
          for (let at = 0; at < 100; at++) yield Buffer.alloc(100_000, at)
          expect(await cacheB.load(action)).toBeUndefined()
        }
        const names = ['a/b', '..', 'ä %', '__proto__']
        const outputs = Object.fromEntries(names.map((name) => [name, `of ${name}`]))
        await first.publish({ ...outputs, stream: stream(), big: Buffer.alloc(100_000, 'b') })
        const found = await hit(cacheB)
        expect(Object.keys(found.result.outputs).length).toBe(names.length + 2)
        for (const name of names) expect(text(await found.get(name))).toBe(`of ${name}`)
        expect(found.result.outputs['stream']).toEqual({ size: 10_000_000 })
        let at = 0
        for await (const chunk of found.stream('stream')) {
          expect(chunk.every((byte, index) => byte === Math.floor((at + index) / 100_000))).toBe(
            true,
          )
          at += chunk.length
        }
        expect(at).toBe(10_000_000)
        expect(await refusal(found.get('none'))).toMatchObject({ code: 'ENOENT' })
        expect((await store.list('staged', { namespace })).entries).toEqual([])
      })

      it('of a stream that breaks publishes nothing; the claim goes on', async () => {
        const first = await claimed(cacheA)
        const broken = async function* () {
          yield Buffer.alloc(2_000_000)
          throw new RangeError('the source broke')
        }
        await expect(
          first.publish({ good: Buffer.alloc(9_000_000), broken: broken() }),
        ).rejects.toThrow('broke')
        expect(first.signal.aborted).toBe(false)
        expect(await cacheB.load(action)).toBeUndefined()
        await first.publish('A')
        expect(text(await (await hit(cacheB)).get())).toBe('A')
        expect(await refusal(first.publish('B'))).toMatchObject({ code: 'ECLOSED' })
      })

      it('removes what it has stored if the claim is abandoned', async () => {
        const first = await claimed(cacheA)
        const wrong = first.publish({ good: Buffer.alloc(9_000_000), wrong: broken() })
        await expect(wrong).rejects.toThrow('broke')
        await first.abandon()
        expect((await store.list('staged', { namespace })).entries).toEqual([])
        expect((await claimed(cacheB)).type).toBe('claimed')
      })

      it('publishes the bytes as they were at the call', async () => {
        const bytes = Buffer.from('A')
        const first = await claimed(cacheA)
        const second = cacheA.claim(action)
        const finish = a.hold('finish')
        const published = first.publish(bytes)
        await finish.reached
        bytes.fill('x')
        finish.open()
        expect(text(await (await published).get())).toBe('A')
        const got = await second
        expect(got.type === 'hit' && text(await got.get())).toBe('A')
        expect(text(await (await hit(cacheB)).get())).toBe('A')
      })

      it('takes a bounded number of outputs', async () => {
        const named = (count: number) =>
          Object.fromEntries(
            Array.from({ length: count }, (_, at) => [`${at}`.padStart(85, '\u0001'), '']),
          )
        const first = await claimed(cacheA)
        expect(await refusal(first.publish(named(outputsMax + 1)))).toMatchObject({ code: 'E2BIG' })
        await first.publish(named(outputsMax))
        expect(Object.keys((await hit(cacheB)).result.outputs).length).toBe(outputsMax)
      })
    })

    it('an action is what it was at the call, whatever becomes of it', async () => {
      const changing = { task: 'changing' }
      const claiming = cacheA.claim(changing)
      changing.task = 'changed'
      const got = await claiming
      expect(got.type).toBe('claimed')
      if (got.type === 'claimed') await got.publish('x')
      expect(await cacheB.load({ task: 'changing' })).toBeDefined()
      expect(await cacheB.load(changing)).toBeUndefined()
    })

    describe('rerun()', () => {
      it('replaces a result in one step, and warns once who may keep the old one', async () => {
        await (await claimed(cacheA)).publish({ a: 'old', b: 'old' })
        const warned = once(process, 'warning')
        const again = await cacheB.rerun(action)
        const [warning] = await warned
        expect(warning).toMatchObject({
          code: 'RERUN',
          message: expect.stringMatching(/of \d{4}-.* by process \d+ of .* keeps that/),
        })
        const old = await hit(cacheA)
        await again.publish({ b: 'new' })
        expect((await hit(cacheA)).result.outputs).toEqual({ b: { size: 3 } })
        expect(text(await old.get('a'))).toBe('old')
        expect(text(await (await hit(cacheA)).get('b'))).toBe('new')
        const more: unknown[] = []
        const count = (warning: unknown) => more.push(warning)
        process.on('warning', count)
        await (await cacheB.rerun(action)).publish('newer')
        await (await cacheB.rerun('without a result')).abandon()
        process.off('warning', count)
        expect(more).toEqual([])
      })

      it('waits for a claim, and a claim does not wait for it', async () => {
        await (await claimed(cacheA)).publish('old')
        const first = await cacheA.rerun(action)
        expect(text(await (await hit(cacheB)).get())).toBe('old')
        expect(await refusal(cacheB.rerun(action, { wait: 'fail' }))).toMatchObject({
          code: 'ECONFLICT',
        })
        const second = cacheB.rerun(action)
        await first.publish('new')
        await (await second).publish('newest')
        expect(text(await (await hit(cacheA)).get())).toBe('newest')
      })
    })

    describe('cached()', () => {
      it('runs the function once for all who call at the same time', async () => {
        let runs = 0
        const call = (cache: Cache) =>
          cache.cached(action, async () => {
            runs++
            return { runs, bytes: Buffer.of(1), left: undefined }
          })
        const all = await Promise.all(
          [cacheA, cacheB].flatMap((cache) => Array.from({ length: 10 }, () => call(cache))),
        )
        expect(runs).toBe(1)
        for (const value of all) expect(value).toEqual({ runs: 1, bytes: Uint8Array.of(1) })
      })

      it('keeps undefined and null apart, and refuses what it cannot keep', async () => {
        for (const [at, value] of [undefined, null, 0, '', [], 7n].entries()) {
          const what = { at }
          expect(await cacheA.cached(what, () => value)).toEqual(value)
          expect(await cacheB.cached<unknown>(what, () => 'another')).toEqual(value)
        }
        const dated = cacheA.cached(action, () => ({ when: new Date(0) }))
        expect(await refusal(dated)).toMatchObject({
          code: 'EINVAL',
          message: expect.stringContaining('the result.when is a Date'),
        })
        expect(await cacheA.cached(action, () => 'then')).toBe('then')
      })

      it('throws what the function throws; the next one runs its own', async () => {
        const failing = cacheA.cached(action, () => {
          throw new RangeError('mine')
        })
        await expect(failing).rejects.toThrow('mine')
        expect(await cacheB.cached(action, () => 'B')).toBe('B')
      })

      it.each(['this layer', 'its parent'])(
        'computes anew where the bytes of the result in %s are gone',
        async (where) => {
          const big = 'x'.repeat(100_000)
          await cacheA.cached(action, () => big)
          const { id } = (await hit(cacheA)).result
          await store.commit(
            { ops: [{ op: 'unlink', key: `outputs/${id}`, recursive: true }] },
            { namespace },
          )
          await cacheA.layers.create('pr', { parent: 'main' })
          const layer = where === 'this layer' ? 'main' : 'pr'
          const cache = openCache(b.store, { layer })
          expect(await cache.cached(action, () => 'anew')).toBe('anew')
          expect(await cache.cached(action, () => 'not again')).toBe('anew')
        },
      )

      it.each([
        ['record', 'this layer'],
        ['record', 'its parent'],
        ['output', 'this layer'],
        ['output', 'its parent'],
      ])('computes anew where the blobs of the %s in %s are gone', async (what, where) => {
        await cacheA.cached('another', () => 1)
        await cacheA.cached(action, () => 'x'.repeat(100_000))
        const { id } = (await hit(cacheA)).result
        const key = what === 'record' ? `results/${id}` : `outputs/${id}/value`
        const data = [`blake3-${'0'.repeat(64)}`]
        const treeobj = { ver: 1, type: 'valref', data, sizes: [100_000] }
        await store.commit(
          { ops: [{ op: 'treeobj', key, treeobj, dangling: true }] },
          { namespace },
        )
        await cacheA.layers.create('pr', { parent: 'main' })
        const cache = openCache(b.store, { layer: where === 'this layer' ? 'main' : 'pr' })
        if (what === 'record') {
          expect(await cache.load(action)).toBeUndefined()
          expect(await cacheA.results.load(id)).toBeUndefined()
          expect((await cacheA.results.list()).results.length).toBe(1)
          await (await claimed(cache)).abandon()
        }
        expect(await cache.cached(action, () => 'anew')).toBe('anew')
        expect(await cache.cached(action, () => 'not again')).toBe('anew')
      })
    })

    describe('layers', () => {
      it('reads go up, publishing stays in the own layer, nothing reads downwards', async () => {
        await cacheA.layers.create('pr', { parent: 'main' })
        await cacheA.layers.create('fix', { parent: 'pr' })
        const [pr, fix] = [openCache(store, { layer: 'pr' }), openCache(store, { layer: 'fix' })]
        expect(await cacheA.cached('m', () => 'main')).toBe('main')
        expect(await pr.cached('p', () => 'pr')).toBe('pr')
        expect(await fix.cached('m', () => 'fix')).toBe('main')
        expect(await fix.cached('p', () => 'fix')).toBe('pr')
        expect(await cacheA.load('p')).toBeUndefined()
        expect(await pr.remove('m')).toBe(false)
        expect((await fix.load('m'))?.result.layer).toBe('main')
        await (await fix.rerun('m')).publish('own')
        expect((await fix.load('m'))?.result.layer).toBe('fix')
        expect(await cacheB.cached('m', () => 'not')).toBe('main')
        await cacheA.layers.remove('pr')
        expect(await cacheB.cached('m', () => 'not')).toBe('main')
        expect(await fix.load('p')).toBeUndefined()
      })

      it('are made once, above one another to a bound', async () => {
        let parent = 'main'
        for (let at = 1; at < layersMax; at++) {
          await cacheA.layers.create(`l${at}`, { parent })
          parent = `l${at}`
        }
        expect(await refusal(cacheA.layers.create('more', { parent }))).toMatchObject({
          code: 'E2BIG',
        })
        expect(await refusal(cacheA.layers.create('l1'))).toMatchObject({ code: 'EEXIST' })
        expect(await refusal(cacheA.layers.create('x', { parent: 'none' }))).toMatchObject({
          code: 'ENONS',
        })
        expect(await refusal(cacheA.layers.remove('none'))).toMatchObject({ code: 'ENONS' })
        await cacheA.cached('m', () => 'main')
        const deepest = openCache(store, { layer: parent })
        expect(await deepest.cached('m', () => 'not')).toBe('main')
      })

      it('of a former form are emptied by the next claim', async () => {
        await store.namespaces.create('cache-old')
        const scope = { namespace: 'cache-old' }
        // {created: 7}, as layers were without a form.
        await store.put('layer', Buffer.from('9300a76372656174656407', 'hex'), scope)
        for (const key of ['r/x/result', 'u/7/x', 's/t/x']) await store.put(key, 'former', scope)
        const old = openCache(store, { layer: 'old' })
        expect(await old.load(action)).toBeUndefined()
        expect((await store.list('', scope)).entries.length).toBe(4)
        expect(await old.cached(action, () => 'new')).toBe('new')
        const names = (await store.list('', scope)).entries.map(({ name }) => name)
        expect(names).toEqual(['layer', 'log', 'removals', 'results', 'uses'])
        expect(await openCache(store, { layer: 'old' }).cached(action, () => 'not')).toBe('new')
      })

      it('take over a namespace that a crash left without its record', async () => {
        await store.namespaces.create('cache-half')
        const half = openCache(store, { layer: 'half' })
        expect(await refusal(half.load(action))).toMatchObject({ code: 'ENONS' })
        await cacheA.layers.create('half', { parent: 'main' })
        await cacheA.cached(action, () => 'main')
        expect(await half.cached(action, () => 'half')).toBe('main')
      })
    })

    describe('results by their ids', () => {
      it('have their whole action, however large it is, and leave nothing when they go', async () => {
        const sizes = [100, 4_000, 4_096, 5_000, 500_000]
        for (const size of sizes) {
          const large = { bytes: Buffer.alloc(size, 7) }
          await cacheA.cached(large, () => 'x'.repeat(size))
          const found = await cacheB.load(large)
          expect(await found?.action()).toEqual({ bytes: Uint8Array.from(large.bytes) })
          expect(found?.result).not.toHaveProperty('action')
          expect(await cacheB.remove(large)).toBe(true)
        }
        const left = ['results', 'actions', 'outputs', 'staged']
        const stats = await Promise.all(left.map((key) => store.stat(key, { namespace })))
        expect(stats.reduce((all, stat) => all + (stat?.count ?? 0), 0)).toBe(0)
      })

      it('are listed in pages, read with their actions, and removed', async () => {
        const actions = Array.from({ length: 5 }, (_, at) => ({
          at,
          bytes: Buffer.of(at),
          big: 1n,
        }))
        for (const each of actions) await cacheA.cached(each, () => each.at)
        const { results, more } = await cacheB.results.list()
        expect([results.length, more]).toEqual([5, false])
        const ids = results.map(({ id }) => id)
        expect(ids).toEqual([...ids].sort())
        const pages: string[] = []
        for (let after: string | undefined; ; ) {
          const page = await cacheB.results.list({ limit: 2, ...(after && { after }) })
          pages.push(...page.results.map(({ id }) => id))
          if (!page.more) break
          after = pages.at(-1)
        }
        expect(pages).toEqual(ids)
        const [id = ''] = ids
        const found = await cacheB.results.load(id)
        const its = await found?.action()
        expect(
          actions.map((each) => ({ ...each, bytes: Uint8Array.from(each.bytes) })),
        ).toContainEqual(its)
        expect((await cacheB.load(its))?.result.id).toBe(id)
        expect((await cacheB.results.load(id.slice(0, 20)))?.result.id).toBe(id)
        expect(await cacheB.results.remove(id)).toBe(true)
        expect(await cacheB.results.remove(id)).toBe(false)
        expect(await cacheB.results.load(id)).toBeUndefined()
        expect(await cacheB.results.load(id.slice(0, 20))).toBeUndefined()
      })

      it('are looked for upwards, and a beginning that several have is refused', async () => {
        await cacheA.layers.create('pr', { parent: 'main' })
        const pr = openCache(store, { layer: 'pr' })
        for (let at = 0; at < 17; at++) await cacheA.cached(at, () => at)
        const ids = (await cacheA.results.list()).results.map(({ id }) => id)
        const double = ids
          .map((id) => id.slice(0, 1))
          .find((start, at, all) => all.indexOf(start) < at)
        expect(await refusal(pr.results.load(double ?? ''))).toMatchObject({ code: 'EINVAL' })
        expect((await pr.results.load(ids[0] ?? ''))?.result.layer).toBe('main')
        expect((await pr.results.list()).results).toEqual([])
        expect(await pr.results.remove(ids[0] ?? '')).toBe(false)
      })

      it.each<[string, () => Promise<unknown>]>([
        ['no beginning of an id', () => cacheA.results.load('xyz')],
        ['an empty beginning', () => cacheA.results.load('')],
        ['a cut id to remove', () => cacheA.results.remove('00')],
        ['a page of nothing', () => cacheA.results.list({ limit: 0 })],
      ])('%s is EINVAL', async (_what, call) => {
        expect(await refusal(call())).toMatchObject({ code: 'EINVAL' })
      })
    })

    it('a look makes no layer; the first claim does', async () => {
      expect(await refusal(store.root({ namespace }))).toMatchObject({ code: 'ENONS' })
      expect((await cacheA.results.list()).results).toEqual([])
      expect(await cacheA.remove(action)).toBe(false)
      expect(await cacheA.layers.show('main')).toEqual({
        layer: 'main',
        parents: [],
        results: 0,
        size: 0,
        bounds: {},
      })
      expect(await refusal(store.root({ namespace }))).toMatchObject({ code: 'ENONS' })
      await cacheA.cached(action, () => 1)
      expect(await cacheA.layers.show('main')).toMatchObject({
        results: 1,
        size: expect.any(Number),
      })
    })

    it('why() compares two actions as they are packed', () => {
      const before = { code: 1, left: undefined, zero: -0, inputs: ['a'] }
      expect(cacheA.why(before, { zero: 0, code: 2, inputs: ['a', 'b'] })).toEqual([
        { path: 'code', before: 1, after: 2 },
        { path: 'inputs[1]', after: 'b' },
      ])
      expect(() => cacheA.why(before, { when: new Date(0) })).toThrow('action.when is a Date')
    })

    describe('withLock()', () => {
      it('runs one at a time, with a guard that fences', async () => {
        let running = 0
        const call = (cache: Cache) =>
          cache.withLock('deploy', async (lease) => {
            expect(++running).toBe(1)
            await store.update('count', (value) => String(Number(value ? text(value) : 0) + 1))
            await store.put('by', 'x', { guards: [lease.guard] })
            running--
            return lease.key
          })
        const calls = [cacheA, cacheB, cacheA, cacheB].map(call)
        expect(await Promise.all(calls)).toEqual(calls.map(() => 'deploy'))
        expect(text(await store.get('count'))).toBe('4')
        const failing = cacheA.withLock('deploy', () => {
          throw new RangeError('mine')
        })
        await expect(failing).rejects.toThrow('mine')
        expect(await store.leases.show('deploy')).toEqual({ held: false })
        expect(
          await refusal(cacheA.withLock('deploy', () => 1, { wait: true } as never)),
        ).toMatchObject({ code: 'EINVAL' })
      })
    })
  })
}

/** The id of the action. */
async function idOf(cache: Cache): Promise<string | undefined> {
  const busy = await cache.claim(action, { wait: 'skip' })
  return busy.type === 'busy' ? busy.id : undefined
}

async function* broken(): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(2_000_000)
  throw new RangeError('the source broke')
}

async function joined(stream: AsyncIterable<Uint8Array>, first?: Uint8Array): Promise<Buffer> {
  const chunks: Uint8Array[] = first ? [first] : []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}
