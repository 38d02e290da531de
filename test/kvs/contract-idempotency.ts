/** The contract of `Kvs`, idempotency keys: rfc/20, rules 5 to 7. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { type Op, opsMax } from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { refusal, text } from './expect.js'

export function idempotencyContract(kvsOf: () => Kvs): void {
  let kvs: Kvs
  beforeEach(() => {
    kvs = kvsOf()
  })

  describe('idempotency keys', () => {
    it('the same transaction is answered as it was, and takes no seq', async () => {
      const transaction = {
        guards: [{ key: 'a', absent: true }],
        ops: [
          { op: 'put', key: 'a', value: 'x' },
          { op: 'append', key: 'log', value: 'y' },
          { op: 'mkdir', key: 'd' },
        ],
      } as const
      const first = await kvs.commit(transaction, { idempotencyKey: 'k' })
      expect(first.repeated).toBeUndefined()
      const again = await kvs.commit(transaction, { idempotencyKey: 'k' })
      expect(again).toEqual({ ...first, repeated: true })
      await kvs.put('other', 'v')
      expect(await kvs.commit(transaction, { idempotencyKey: 'k' })).toEqual(again)
      expect((await kvs.root()).seq).toBe(first.seq + 1)
      expect(text(await kvs.get('log'))).toBe('y')
    })

    it('put and append too, text or bytes', async () => {
      const put = await kvs.put('v', 'grün', { idempotencyKey: 'put', contentType: 'a/b' })
      const append = await kvs.append('log', 'x', { idempotencyKey: 'append', seal: true })
      await kvs.put('v', 'newer')
      const bytes = new TextEncoder().encode('grün')
      expect(await kvs.put('v', bytes, { idempotencyKey: 'put', contentType: 'a/b' })).toEqual({
        ...put,
        repeated: true,
      })
      expect(await kvs.append('log', 'x', { idempotencyKey: 'append', seal: true })).toEqual({
        ...append,
        repeated: true,
      })
      expect(text(await kvs.get('v'))).toBe('newer')
    })

    it('a streamed put is the same however it is cut', async () => {
      const bytes = new Uint8Array(5 * blobSizeMax + 3).fill(7)
      const stream = async function* (step: number) {
        for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
      }
      const first = await kvs.put('v', stream(100_000), { idempotencyKey: 'k' })
      await kvs.put('v', 'newer')
      const again = { ...first, repeated: true }
      expect(await kvs.put('v', stream(77_777), { idempotencyKey: 'k' })).toEqual(again)
      expect(await kvs.put('v', bytes, { idempotencyKey: 'k' })).toEqual(again)
      expect(text(await kvs.get('v'))).toBe('newer')
      bytes[bytes.length - 1] = 8
      const other = kvs.put('v', stream(100_000), { idempotencyKey: 'k' })
      expect(await refusal(other)).toMatchObject({ code: 'EINVAL' })
    })

    it('another transaction under the same key is EINVAL', async () => {
      const ops: Op[] = [{ op: 'put', key: 'a', value: 'x' }]
      const { seq } = await kvs.commit({ ops }, { idempotencyKey: 'k' })
      const others: Parameters<Kvs['commit']>[0][] = [
        { ops: [{ op: 'put', key: 'a', value: 'y' }] },
        { ops: [{ op: 'put', key: 'b', value: 'x' }] },
        { ops: [{ op: 'put', key: 'a', value: 'x', contentType: 'a/b' }] },
        { ops: [{ op: 'append', key: 'a', value: 'x' }] },
        { ops: [...ops, ...ops] },
        { ops: [] },
        { ops, noMerge: true },
        { ops, guards: [{ seq }] },
      ]
      for (const other of others) {
        const call = kvs.commit(other, { idempotencyKey: 'k' })
        expect(await refusal(call), JSON.stringify(other)).toMatchObject({
          code: 'EINVAL',
          failed: { state: { seq } },
        })
      }
      expect((await kvs.root()).seq).toBe(seq)
    })

    it('a transaction that was refused leaves nothing, and may be sent again', async () => {
      const transaction = {
        guards: [{ key: 'a', count: 1 }],
        ops: [{ op: 'append', key: 'a', value: 'x' }],
      } as const
      const call = kvs.commit(transaction, { idempotencyKey: 'k' })
      expect(await refusal(call)).toMatchObject({ code: 'ECONFLICT' })
      await kvs.put('a', 'there')
      const done = await kvs.commit(transaction, { idempotencyKey: 'k' })
      expect(done.repeated).toBeUndefined()
      expect((await kvs.commit(transaction, { idempotencyKey: 'k' })).repeated).toBe(true)
    })

    it('two at once: one is done, the others are answered as it is', async () => {
      const one = () => kvs.append('log', 'x', { idempotencyKey: 'k' })
      const answers = await Promise.all(Array.from({ length: 10 }, one))
      const [done, ...more] = answers.filter(({ repeated }) => !repeated)
      expect(more).toEqual([])
      for (const { repeated: _, ...answer } of answers) expect(answer).toEqual(done)
      expect((await kvs.stat('log'))?.count).toBe(1)
    })

    it('each namespace has its own', async () => {
      await kvs.namespaces.create('other')
      await kvs.append('log', 'x', { idempotencyKey: 'k' })
      const there = await kvs.append('log', 'y', { idempotencyKey: 'k', namespace: 'other' })
      expect(there.repeated).toBeUndefined()
    })

    it('an answer of as many ops as there may be is kept whole', async () => {
      const ops = Array.from({ length: opsMax }, (_, at): Op => {
        return { op: 'put', key: `k${at}`, value: `${at}` }
      })
      const first = await kvs.commit({ ops }, { idempotencyKey: 'many' })
      expect(await kvs.commit({ ops }, { idempotencyKey: 'many' })).toEqual({
        ...first,
        repeated: true,
      })
    })

    it('keys have bounds', async () => {
      const put = (idempotencyKey: string) => kvs.put('k', 'v', { idempotencyKey })
      for (const wrong of ['', ' a', 'a ', 'a\nb', 'a\0', 'x'.repeat(256), 'ü'.repeat(128)]) {
        expect(await refusal(put(wrong)), JSON.stringify(wrong)).toMatchObject({ code: 'EINVAL' })
      }
      for (const right of ['a', 'x'.repeat(255), 'ü'.repeat(127), 'a b', '"quoted"', '…/../']) {
        expect((await put(right)).repeated).toBeUndefined()
        expect((await put(right)).repeated).toBe(true)
      }
    })

    it('sent again since a seq, it is answered or done', async () => {
      const { seq } = await kvs.append('log', 'first')
      const again = { idempotencyKey: 'k', idempotencySince: seq }
      const done = await kvs.append('log', 'x', again)
      expect(done.result).toEqual({ index: 1, count: 2 })
      expect(await kvs.append('log', 'x', again)).toEqual({ ...done, repeated: true })
      // The seq is no part of the transaction.
      for (const since of [0, done.seq, done.seq + 1_000]) {
        const other = { idempotencyKey: 'k', idempotencySince: since }
        expect(await kvs.append('log', 'x', other)).toEqual({ ...done, repeated: true })
      }
      const ops: Op[] = [{ op: 'append', key: 'log', value: 'y' }]
      const put = await kvs.put('v', 'x', { ...again, idempotencyKey: 'put' })
      expect((await kvs.commit({ ops }, { ...again, idempotencyKey: 'txn' })).seq).toBe(put.seq + 1)
    })

    it('since a seq that the namespace has not reached, it is EUNKNOWN, and not done', async () => {
      const { seq } = await kvs.append('log', 'first')
      const again = { idempotencyKey: 'k', idempotencySince: seq + 1 }
      for (const call of [
        () => kvs.append('log', 'x', again),
        () => kvs.put('v', 'x', again),
        () => kvs.commit({ ops: [{ op: 'put', key: 'v', value: 'x' }] }, again),
      ]) {
        expect(await refusal(call())).toMatchObject({
          code: 'EUNKNOWN',
          failed: { state: { floor: 0 } },
        })
      }
      expect((await kvs.root()).seq).toBe(seq)
      const reached = { ...again, idempotencySince: seq }
      expect((await kvs.append('log', 'x', reached)).result).toEqual({ index: 1, count: 2 })
    })

    it('a seq without a key, or that is no seq, is EINVAL', async () => {
      const ops: Op[] = [{ op: 'put', key: 'v', value: 'x' }]
      const wrong: unknown[] = [
        { idempotencySince: 0 },
        { idempotencySince: 0, exactlyOnce: true },
        ...[-1, 0.5, '0', null, Number.NaN].map((since) => {
          return { idempotencyKey: 'k', idempotencySince: since }
        }),
      ]
      for (const options of wrong as { readonly idempotencySince: number }[]) {
        for (const call of [
          () => kvs.put('v', 'x', options),
          () => kvs.append('v', 'x', options),
          () => kvs.commit({ ops }, options),
        ]) {
          expect(await refusal(call()), JSON.stringify(options)).toMatchObject({ code: 'EINVAL' })
        }
      }
      expect(await kvs.stat('v')).toBeUndefined()
    })

    it('a move of a key that is gone since is answered', async () => {
      await kvs.namespaces.create('other')
      await kvs.put('a', 'x', { namespace: 'other' })
      const ops: Op[] = [{ op: 'move', key: 'b', from: 'a', namespace: 'other' }]
      const first = await kvs.commit({ ops }, { idempotencyKey: 'k' })
      const seq = (await kvs.root({ namespace: 'other' })).seq
      expect(await kvs.commit({ ops }, { idempotencyKey: 'k' })).toEqual({
        ...first,
        repeated: true,
      })
      expect((await kvs.root({ namespace: 'other' })).seq).toBe(seq)
    })
  })
}
