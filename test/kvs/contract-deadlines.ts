/** The contract of `Kvs`, leases and expiry: rfc/9. With the real clock, so only what an event ends. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import {
  type Guard,
  type LeaseAction,
  type Op,
  type Token,
  transactionSizeMax,
} from '../../src/api/transaction.js'
import type { Watching } from '../../src/api/watch.js'
import { refusal, text } from './expect.js'

const minute = 60_000

export function deadlinesContract(kvsOf: () => Kvs): void {
  let kvs: Kvs
  beforeEach(() => {
    kvs = kvsOf()
  })
  const lease = (key: string, action: LeaseAction) =>
    kvs.commit({ ops: [{ op: 'lease', key, ...action }] })
  const take = async (key: string, ttl = minute, owner?: string): Promise<Token> => {
    const named = owner === undefined ? {} : { owner }
    const { results, seq } = await lease(key, { action: 'take', ttl, ...named })
    const [result] = results
    expect(result?.token?.seq).toBe(seq)
    if (!result?.token) throw new Error('a take answers its token')
    return result.token
  }
  const guarded = (guards: Guard[], ...ops: Op[]) => kvs.commit({ guards, ops })
  const shown = async (watching: Watching, count: number): Promise<unknown[]> => {
    const events: unknown[] = []
    while (events.length < count) {
      const { value } = await watching.next()
      if (value?.type === 'value') events.push(`value ${text(value.data)}`)
      else if (value?.type === 'lease') events.push(value.held ? `held ${value.owner}` : 'free')
      else events.push(value)
    }
    return events
  }

  describe('leases', () => {
    it('one at a time holds a lease: take, renew, release, and the next', async () => {
      const token = await take('lock', minute, 'me')
      expect(token).toEqual({ incarnation: (await kvs.root()).incarnation, seq: 1 })
      const state = { lease: { key: 'lock', token, ttl: minute, owner: 'me' } }
      expect(await refusal(take('lock'))).toMatchObject({
        code: 'ECONFLICT',
        failed: { op: 0, state },
      })
      const renewed = await lease('lock', { action: 'renew', token, ttl: 2 * minute })
      expect(renewed.results).toEqual([{ token }])
      expect(await refusal(take('lock'))).toMatchObject({
        failed: { state: { lease: { ttl: 2 * minute } } },
      })
      const { results } = await lease('lock', { action: 'release', token })
      expect(results).toEqual([{}])
      const next = await take('lock')
      expect(next.seq).toBeGreaterThan(token.seq)
      for (const action of ['renew', 'release'] as const) {
        expect(await refusal(lease('lock', { action, token }))).toMatchObject({
          code: 'EFENCED',
          failed: { op: 0, state: { lease: { key: 'lock', token: next } } },
        })
      }
    })

    it('a guard on a token fences who writes late', async () => {
      const late = await take('lock')
      await guarded([{ lease: 'lock', token: late }], { op: 'put', key: 'v', value: 'first' })
      await lease('lock', { action: 'release', token: late })
      const write: Op = { op: 'put', key: 'v', value: 'late' }
      const guard = { lease: 'lock', token: late }
      expect(await refusal(guarded([guard], write))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 0, state: { lease: null } },
      })
      const token = await take('lock', minute, 'next')
      expect(await refusal(guarded([{ key: 'none', absent: true }, guard], write))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 1, state: { lease: { key: 'lock', token, owner: 'next' } } },
      })
      expect(text(await kvs.get('v'))).toBe('first')
      const other = { lease: 'lock', token: { ...token, incarnation: 'another' } }
      expect(await refusal(guarded([other], write))).toMatchObject({ code: 'ECONFLICT' })
    })

    it('a guard on a token is judged when all of a long stream is stored', async () => {
      const token = await take('lock')
      const guards = [{ lease: 'lock', token }]
      const size = transactionSizeMax + 1
      const stream = async function* (end: () => Promise<unknown> = async () => {}) {
        for (let left = size; left > 0; left -= 1_000_000) {
          yield Buffer.alloc(Math.min(left, 1_000_000), left % 251)
        }
        await end()
      }
      const { seq } = await kvs.put('result', stream(), {
        guards,
        contentType: 'application/octet-stream',
      })
      const stored = await kvs.stat('result')
      expect(stored).toMatchObject({ size, attrs: { contentType: 'application/octet-stream' } })
      const release = () => lease('lock', { action: 'release', token })
      expect(await refusal(kvs.put('result', stream(release), { guards }))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 0, state: { lease: null } },
      })
      expect(await kvs.stat('result')).toEqual({ ...stored, seq: seq + 1 })
    })

    it('any guard goes with a stream', async () => {
      const stream = async function* () {
        for (let at = 0; at < 12; at++) yield Buffer.alloc(100_000, at)
      }
      const { seq } = await kvs.put('other', 'v')
      const { incarnation } = await kvs.root()
      const token = { incarnation, seq }
      const cases: readonly (readonly [readonly Guard[], number | undefined])[] = [
        [[{ seq }], undefined],
        [[{ seq }], 0],
        [
          [
            { key: 'ünd so', absent: true },
            { key: 'other', count: 1 },
          ],
          undefined,
        ],
        [
          [
            { key: 'ünd so', absent: true },
            { key: 'other', count: 2 },
          ],
          1,
        ],
        [[{ key: 'other', producer: 'p', epoch: 0, next: 0 }], undefined],
        [[{ key: 'other', producer: 'p', epoch: 0, next: 1 }], 0],
        [
          [
            { key: 'k', absent: true },
            { lease: 'other', token },
          ],
          0,
        ],
        [[{ lease: 'other', token }], 0],
      ]
      for (const [guards, failed] of cases) {
        const put = kvs.put('k', stream(), { guards })
        if (failed === undefined) expect((await put).result.ref).toBeDefined()
        else expect(await refusal(put)).toMatchObject({ failed: { guard: failed } })
      }
    })

    it('claim and publish are one transaction each: absent and free; fenced, written, released', async () => {
      const claim = guarded(
        [{ key: 'result', absent: true }],
        { op: 'lease', key: 'result', action: 'take', ttl: minute },
        { op: 'append', key: 'claims', value: 'one' },
      )
      const token = (await claim).results[0]?.token
      if (!token) throw new Error('a take answers its token')
      expect(await kvs.stat('result')).toBeUndefined()
      await guarded(
        [{ lease: 'result', token }],
        { op: 'put', key: 'result', value: 'done' },
        { op: 'lease', key: 'result', action: 'release', token },
      )
      expect(text(await kvs.get('result'))).toBe('done')
      await take('result')
    })

    it('a transaction that fails takes and releases nothing', async () => {
      const failing: Op = { op: 'seal', key: 'none' }
      const op: Op = { op: 'lease', key: 'lock', action: 'take', ttl: minute }
      expect(await refusal(guarded([], op, failing))).toMatchObject({ failed: { op: 1 } })
      const token = await take('lock')
      const undone = guarded([], { op: 'lease', key: 'lock', action: 'release', token }, failing)
      expect(await refusal(undone)).toMatchObject({ code: 'ENOENT' })
      expect(await refusal(take('lock'))).toMatchObject({ code: 'ECONFLICT' })
    })

    it('a key is leased by whatever name leads to it, parents need not be there', async () => {
      await kvs.commit({
        ops: [
          { op: 'symlink', key: 'link', target: 'deep/er' },
          { op: 'symlink', key: 'away', target: 'k', namespace: 'jobs' },
        ],
      })
      await take('link/lock')
      expect(await refusal(take('/deep//er/lock/'))).toMatchObject({ code: 'ECONFLICT' })
      expect(await kvs.stat('deep')).toBeUndefined()
      expect(await refusal(take('away'))).toMatchObject({ code: 'EPERM' })
      const token = { incarnation: 'x', seq: 1 }
      expect(await refusal(guarded([{ lease: 'away', token }]))).toMatchObject({ code: 'EPERM' })
      await kvs.put('v', '')
      await take('v')
      await take('deep')
    })

    it('a lease outlives its key, and a list or a copy shows nothing of it', async () => {
      await kvs.put('k', 'v')
      await take('k')
      await kvs.commit({ ops: [{ op: 'unlink', key: 'k' }] })
      expect((await kvs.list('')).entries).toEqual([])
      expect(await refusal(take('k'))).toMatchObject({ code: 'ECONFLICT' })
    })

    it('a lease that nobody renews goes by itself, and who waits hears it', async () => {
      const watching = kvs.watch('lock', { mode: 'value', lease: true, waitCreate: true })
      expect(await shown(watching, 1)).toEqual(['free'])
      const token = await take('lock', 20)
      expect(await shown(watching, 2)).toEqual(['held undefined', 'free'])
      await watching.return?.()
      const fenced = guarded([{ lease: 'lock', token }])
      expect(await refusal(fenced)).toMatchObject({ code: 'ECONFLICT' })
    })
  })

  describe('a watch of leases', () => {
    it('delivers the lease and the value, and no value for a change of the lease', async () => {
      await kvs.put('k', 'a')
      const watching = kvs.watch('k', { mode: 'value', lease: true })
      expect(await shown(watching, 2)).toEqual(['free', 'value a'])
      const token = await take('k', minute, 'me')
      await lease('k', { action: 'renew', token })
      await kvs.put('k', 'b')
      expect(await shown(watching, 2)).toEqual(['held me', 'value b'])
      await lease('k', { action: 'release', token })
      expect(await shown(watching, 1)).toEqual(['free'])
      const { results } = await guarded(
        [],
        { op: 'lease', key: 'k', action: 'take', ttl: minute, owner: 'you' },
        { op: 'put', key: 'k', value: 'c' },
      )
      const again = results[0]?.token ?? token
      expect(await shown(watching, 2)).toEqual(['held you', 'value c'])
      await guarded(
        [],
        { op: 'put', key: 'k', value: 'd' },
        { op: 'lease', key: 'k', action: 'release', token: again },
      )
      expect(await shown(watching, 2)).toEqual(['value d', 'free'])
      await kvs.commit({ ops: [{ op: 'unlink', key: 'k' }] })
      expect(await refusal(watching.next())).toMatchObject({ code: 'ENOENT' })
    })

    it('begins with who holds it, follows links, and waits for a key that is not there', async () => {
      await take('real', minute, 'me')
      await kvs.commit({ ops: [{ op: 'symlink', key: 'link', target: 'real' }] })
      const absent = kvs.watch('link', { mode: 'value', lease: true })
      expect(await refusal(absent.next())).toMatchObject({ code: 'ENOENT' })
      const watching = kvs.watch('link', { mode: 'value', lease: true, waitCreate: true })
      expect(await shown(watching, 1)).toEqual(['held me'])
      await kvs.put('real', 'x')
      expect(await shown(watching, 1)).toEqual(['value x'])
      await kvs.commit({ ops: [{ op: 'symlink', key: 'link', target: 'other' }] })
      expect(await shown(watching, 1).catch((error: unknown) => error)).toMatchObject({
        code: 'ENOENT',
      })
    })

    it('of a key in another namespace tells of its lease there', async () => {
      await kvs.namespaces.create('other')
      await kvs.put('k', 'a', { namespace: 'other' })
      await kvs.commit({ ops: [{ op: 'symlink', key: 'l', target: 'k', namespace: 'other' }] })
      const watching = kvs.watch('l', { mode: 'value', lease: true })
      expect(await shown(watching, 2)).toEqual(['free', 'value a'])
      const op: Op = { op: 'lease', key: 'k', action: 'take', ttl: minute, owner: 'me' }
      await kvs.commit({ ops: [op] }, { namespace: 'other' })
      expect(await shown(watching, 1)).toEqual(['held me'])
      await kvs.put('k', 'b', { namespace: 'other' })
      expect(await shown(watching, 1)).toEqual(['value b'])
      await watching.return?.()
    })

    it('wakes nobody who did not ask: other watchers get no event', async () => {
      await kvs.put('k', 'a')
      await kvs.append('log', 'a')
      const value = kvs.watch('k', { mode: 'value' })
      const appends = kvs.watch('log', { mode: 'append', from: 1 })
      expect(await shown(value, 1)).toEqual(['value a'])
      expect((await appends.next()).value).toMatchObject({ type: 'live' })
      const next = [value.next(), appends.next()] as const
      for (const key of ['k', 'log']) await take(key)
      await kvs.put('k', 'b')
      await kvs.append('log', 'b')
      expect((await next[0]).value).toMatchObject({ type: 'value', seq: 5 })
      expect((await next[1]).value).toMatchObject({ type: 'append', index: 1 })
      await value.return?.()
      await appends.return?.()
    })

    it('is of values only', async () => {
      const wrong = async () => kvs.watch('k', { mode: 'append', lease: true }).next()
      expect(await refusal(wrong())).toMatchObject({ code: 'EINVAL' })
    })
  })

  describe('expiry', () => {
    /** Ends when the key is gone, which it may be already. */
    const outlived = async (key: string) => {
      for await (const _ of kvs.watch(key, { mode: 'value' }));
    }

    it('a put with a ttl goes by itself, and its watchers hear it', async () => {
      await kvs.put('k', 'v', { ttl: 20, contentType: 'text/plain' })
      await kvs.put('kept', 'v', { ttl: minute })
      expect(await refusal(outlived('k'))).toMatchObject({ code: 'ENOENT' })
      expect(await kvs.get('k')).toBeUndefined()
      expect(text(await kvs.get('kept'))).toBe('v')
    })

    it('stat says when a key goes, and nothing of one that does not', async () => {
      const before = Date.now()
      await kvs.put('a/k', 'v', { ttl: minute })
      await kvs.put('a/plain', 'v')
      await kvs.append('a/log', 'v', { ttl: 2 * minute, sliding: true })
      await kvs.commit({ ops: [{ op: 'symlink', key: 'link', target: 'a/k' }] })
      for (const [key, ttl] of [
        ['a/k', minute],
        ['link', minute],
        ['a/log', 2 * minute],
      ] as const) {
        const expires = (await kvs.stat(key))?.expires ?? 0
        expect(expires).toBeGreaterThanOrEqual(before + ttl)
        expect(expires).toBeLessThanOrEqual(Date.now() + ttl)
      }
      for (const key of ['a/plain', 'a']) expect(await kvs.stat(key)).not.toHaveProperty('expires')
      await kvs.put('a/k', 'w')
      expect(await kvs.stat('a/k')).not.toHaveProperty('expires')
    })

    it('a log with a ttl goes, sealed or not; its watchers get all of it first', async () => {
      await kvs.append('log', 'a', { ttl: minute, sliding: true })
      const watching = kvs.watch('log', { mode: 'append' })
      expect((await watching.next()).value).toMatchObject({ index: 0 })
      await kvs.commit({ ops: [{ op: 'append', key: 'log', value: 'b', ttl: 20 }] })
      const read: string[] = []
      const follow = async () => {
        for await (const event of watching) {
          if (event.type === 'append') read.push(text(event.data))
        }
      }
      expect(await refusal(follow())).toMatchObject({ code: 'ENOENT' })
      expect(read).toEqual(['b'])
      await kvs.append('sealed', 'a', { ttl: 20, seal: true })
      expect(await refusal(outlived('sealed'))).toMatchObject({ code: 'ENOENT' })
    })

    it('a put of a stream, and a put with guards, expire too', async () => {
      const stream = (async function* () {
        for (let at = 0; at < 30; at++) yield Buffer.alloc(50_000, at)
      })()
      await kvs.put('stream', stream, { ttl: 100 })
      const { seq } = await kvs.root()
      await kvs.put('guarded', 'v', { ttl: 100, guards: [{ seq }] })
      await kvs.append('appended', 'v', { ttl: 100, guards: [{ key: 'appended', count: 0 }] })
      for (const key of ['stream', 'guarded', 'appended']) {
        expect(await refusal(outlived(key))).toMatchObject({ code: 'ENOENT' })
      }
    })

    it.each([{ ttl: 0 }, { ttl: 1.5 }, { sliding: true }])('%j is EINVAL', async (options) => {
      expect(await refusal(kvs.put('k', 'v', options))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(kvs.append('k', 'v', options))).toMatchObject({ code: 'EINVAL' })
    })
  })
}
