/** The contract of `Kvs`, producers: rfc/20, rules 1 to 4. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import {
  type Op,
  producerIdSizeMax,
  producerResultsMax,
  producersMax,
} from '../../src/api/transaction.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { refusal, text } from './expect.js'

export function producersContract(kvsOf: () => Kvs): void {
  let kvs: Kvs
  beforeEach(() => {
    kvs = kvsOf()
  })
  const add = (seq: number, options: { key?: string; epoch?: number; id?: string } = {}) => {
    const { key = 'log', epoch = 0, id = 'p' } = options
    return kvs.append(key, `${id}${epoch}.${seq};`, { producer: { id, epoch, seq } })
  }
  const log = async (key = 'log') => text(await kvs.get(key))
  const guard = (epoch: number, next: number, key = 'log') =>
    ({ key, producer: 'p', epoch, next }) as const

  describe('producers', () => {
    it('the next append is taken, a repeat is answered as the success it was', async () => {
      const first = await add(0)
      expect(first.result).toEqual({ index: 0, count: 1 })
      expect((await add(1)).result).toEqual({ index: 1, count: 2 })
      const again = await add(0)
      expect(again.result).toEqual({ index: 0, count: 1, repeated: true })
      expect(again.seq).toBeGreaterThan(first.seq)
      expect(await log()).toBe('p0.0;p0.1;')
    })

    it('a repeat of an append of several blobs tells where it landed', async () => {
      const bytes = new Uint8Array(blobSizeMax + 1)
      const producer = { id: 'p', epoch: 0, seq: 0 }
      await kvs.append('log', 'before')
      expect((await kvs.append('log', bytes, { producer })).result).toEqual({ index: 1, count: 3 })
      const { result } = await kvs.append('log', bytes, { producer })
      expect(result).toEqual({ index: 1, count: 3, repeated: true })
      expect((await kvs.stat('log'))?.count).toBe(3)
    })

    it('where the last few landed is remembered; that older ones did, too', async () => {
      for (let seq = 0; seq <= producerResultsMax; seq++) await add(seq)
      expect((await add(0)).result).toEqual({ repeated: true })
      expect((await add(1)).result).toEqual({ index: 1, count: 2, repeated: true })
      const last = producerResultsMax
      expect((await add(last)).result).toEqual({ index: last, count: last + 1, repeated: true })
      expect((await kvs.stat('log'))?.count).toBe(producerResultsMax + 1)
    })

    it('a gap is ECONFLICT and says what is next', async () => {
      await add(0)
      expect(await refusal(add(2))).toMatchObject({
        code: 'ECONFLICT',
        failed: { op: 0, state: { producer: 'p', epoch: 0, next: 1 } },
      })
      expect((await add(1)).result.index).toBe(1)
    })

    it('a producer that is not known begins at 0, in any epoch', async () => {
      const unknown = await refusal(add(1))
      expect(unknown).toMatchObject({
        code: 'ECONFLICT',
        failed: { op: 0, state: { producer: 'p', epoch: 0, next: 0 } },
      })
      expect(await kvs.stat('log')).toBeUndefined()
      await add(0, { epoch: 7 })
      expect((await add(1, { epoch: 7 })).result.index).toBe(1)
    })

    it('a higher epoch begins at 0 and fences the lower ones, repeats too', async () => {
      await add(0)
      await add(1)
      const state = { producer: 'p', epoch: 0, next: 2 }
      expect(await refusal(add(2, { epoch: 1 }))).toMatchObject({
        code: 'ECONFLICT',
        failed: { state },
      })
      await add(0, { epoch: 2 })
      const fenced = { code: 'EFENCED', failed: { op: 0, state: { epoch: 2, next: 1 } } }
      expect(await refusal(add(2))).toMatchObject(fenced)
      expect(await refusal(add(0))).toMatchObject(fenced)
      expect(await refusal(add(0, { epoch: 1 }))).toMatchObject(fenced)
      expect((await add(0, { epoch: 2 })).result.repeated).toBe(true)
      expect(await log()).toBe('p0.0;p0.1;p2.0;')
    })

    it('each producer and each key count for themselves', async () => {
      await add(0)
      await add(0, { id: 'q' })
      await add(0, { key: 'other' })
      await kvs.append('log', 'plain;')
      await add(1)
      expect(await log()).toBe('p0.0;q0.0;plain;p0.1;')
    })

    it('the key behind links is what counts', async () => {
      await kvs.commit({ ops: [{ op: 'symlink', key: 'link', target: 'log' }] })
      await add(0, { key: 'link' })
      expect((await add(0)).result.repeated).toBe(true)
      const held = { guards: [guard(0, 1, 'link')], ops: [] }
      await kvs.commit(held)
      expect(await log()).toBe('p0.0;')
    })

    it('a repeat on a sealed log is a success still, what is new is ESEALED', async () => {
      await kvs.append('log', 'all', { producer: { id: 'p', epoch: 0, seq: 0 }, seal: true })
      expect((await add(0)).result).toEqual({ index: 0, count: 1, repeated: true })
      expect(await refusal(add(1))).toMatchObject({ code: 'ESEALED' })
    })

    it('a repeat is no change, and the rest of its transaction is done', async () => {
      await add(0)
      const producer = { id: 'p', epoch: 0, seq: 0 }
      const before = await kvs.stat('log')
      const { results, seq } = await kvs.commit({
        ops: [
          { op: 'append', key: 'log', value: 'x', producer },
          { op: 'put', key: 'new', value: 'v' },
          { op: 'append', key: 'log', value: 'next', producer: { ...producer, seq: 1 } },
          { op: 'append', key: 'log', value: 'next', producer: { ...producer, seq: 1 } },
        ],
      })
      expect(results[0]).toEqual({ index: 0, count: 1, repeated: true })
      expect(results.slice(2)).toEqual([
        { index: 1, count: 2 },
        { index: 1, count: 2, repeated: true },
      ])
      expect(text(await kvs.get('new'))).toBe('v')
      await add(1)
      const page = await kvs.history.roots({ after: seq })
      expect(page.roots.map(({ keys }) => keys)).toEqual([[]])
      expect((await kvs.stat('log'))?.count).toBe((before?.count ?? 0) + 1)
    })

    it('a transaction that is refused leaves nothing of its producers', async () => {
      const producer = { id: 'p', epoch: 3, seq: 0 }
      const ops: Op[] = [
        { op: 'append', key: 'log', value: 'x', producer },
        { op: 'seal', key: 'none' },
      ]
      expect(await refusal(kvs.commit({ ops }))).toMatchObject({
        code: 'ENOENT',
        failed: { op: 1 },
      })
      expect(await kvs.stat('log')).toBeUndefined()
      expect((await add(0)).result.index).toBe(0)
    })

    it('what is known of producers ends with the value', async () => {
      const ends: readonly (readonly Op[])[] = [
        [{ op: 'put', key: 'd/log', value: 'new' }],
        [{ op: 'unlink', key: 'd/log' }],
        [{ op: 'unlink', key: 'd', recursive: true }],
        [{ op: 'symlink', key: 'd/log', target: 'elsewhere' }],
        [{ op: 'move', key: 'e', from: 'd' }],
        [{ op: 'move', key: 'e', from: 'd/log' }],
        [
          { op: 'put', key: 'v', value: 'v' },
          { op: 'copy', key: 'd/log', from: 'v' },
        ],
        [{ op: 'restore', key: 'd', at: 0 }],
        [{ op: 'treeobj', key: 'd/log', treeobj: { ver: 1, type: 'val', data: 'eA==' } }],
      ]
      const d = { key: 'd/log' }
      for (const ops of ends) {
        await kvs.commit({ ops: [{ op: 'unlink', key: 'd', recursive: true }] })
        await kvs.commit({ ops: [{ op: 'unlink', key: 'e', recursive: true }] })
        await add(0, d)
        await add(1, d)
        await kvs.commit({ ops })
        const state = { epoch: 0, next: 0 }
        expect(await refusal(add(2, d)), JSON.stringify(ops)).toMatchObject({ failed: { state } })
        const moved = ops.some(({ op }) => op === 'move')
        if (moved) {
          const key = (await kvs.stat('e'))?.type === 'dir' ? 'e/log' : 'e'
          expect(await refusal(add(2, { key }))).toMatchObject({ failed: { state } })
          expect((await kvs.stat(key))?.count).toBe(2)
        }
      }
    })

    it('no copy and no older root revives one', async () => {
      await add(0)
      const { seq } = await add(1)
      await kvs.commit({ ops: [{ op: 'copy', key: 'copy', from: 'log' }] })
      expect(await refusal(add(2, { key: 'copy' }))).toMatchObject({ code: 'ECONFLICT' })
      await kvs.commit({ ops: [{ op: 'unlink', key: 'log' }] })
      await kvs.commit({ ops: [{ op: 'restore', key: 'log', at: seq }] })
      expect(await log()).toBe('p0.0;p0.1;')
      expect(await refusal(add(2))).toMatchObject({ code: 'ECONFLICT' })
      await kvs.namespaces.create('copied', { from: { at: seq } })
      const producer = { id: 'p', epoch: 0, seq: 2 }
      const call = kvs.append('log', 'x', { producer, namespace: 'copied' })
      expect(await refusal(call)).toMatchObject({ code: 'ECONFLICT' })
    })

    it('no import does', async () => {
      await add(0)
      await add(1)
      const chunks: Uint8Array[] = []
      for await (const chunk of kvs.upkeep.export()) chunks.push(chunk)
      const stream = async function* () {
        yield* chunks
      }
      await kvs.upkeep.import(stream(), { namespace: 'primary', replace: true })
      expect(await log()).toBe('p0.0;p0.1;')
      expect(await refusal(add(2))).toMatchObject({ code: 'ECONFLICT' })
    })

    it('a guard on a key in another namespace is EPERM', async () => {
      await kvs.namespaces.create('other')
      await kvs.commit({
        ops: [{ op: 'symlink', key: 'there', target: 'log', namespace: 'other' }],
      })
      const call = kvs.commit({ guards: [guard(0, 0, 'there')], ops: [] })
      expect(await refusal(call)).toMatchObject({ code: 'EPERM' })
    })

    it('ids, epochs and seqs have bounds', async () => {
      const append = (producer: object) =>
        kvs.append('log', 'x', { producer: { id: 'p', epoch: 0, seq: 0, ...producer } })
      const wrong = [
        ...['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(producerIdSizeMax + 1), 'ü'.repeat(65)],
      ].map((id) => ({ id }))
      const numbers = [-1, 0.5, 2 ** 53].flatMap((each) => [{ epoch: each }, { seq: each }])
      for (const producer of [...wrong, ...numbers]) {
        expect(await refusal(append(producer)), JSON.stringify(producer)).toMatchObject({
          code: 'EINVAL',
        })
      }
      const right = ['x'.repeat(producerIdSizeMax), 'ü'.repeat(64), ' a\n', '…', 'a b']
      for (const id of right) expect((await append({ id })).result.count).toBeDefined()
      const large = { id: 'large', epoch: Number.MAX_SAFE_INTEGER, seq: 0 }
      expect((await append(large)).result.index).toBe(right.length)
    })

    it(`a key knows ${producersMax} of them: above, the least recently used one is forgotten`, async () => {
      const id = (at: number) => `p${at}`
      for (let at = 0; at < 4; at++) await add(0, { id: id(at) })
      const ops = Array.from({ length: producersMax - 4 }, (_, at): Op => {
        const producer = { id: id(at + 4), epoch: 0, seq: 0 }
        return { op: 'append', key: 'log', value: '', producer }
      })
      await kvs.commit({ ops })
      await add(1, { id: id(0) })
      const known = async (at: number) => {
        const call = kvs.commit({
          guards: [{ key: 'log', producer: id(at), epoch: 0, next: 9 }],
          ops: [],
        })
        const { failed } = await refusal(call)
        return JSON.stringify(failed?.state).includes('"next":0') === false
      }
      const lost = async () => {
        const gone: number[] = []
        for (let at = 0; at < 4; at++) if (!(await known(at))) gone.push(at)
        return gone
      }
      expect(await lost()).toEqual([])
      await add(0, { id: 'one more' })
      expect(await lost()).toEqual([1])
      expect(await refusal(add(1, { id: id(1) }))).toMatchObject({ code: 'ECONFLICT' })
      await add(0, { id: 'and another' })
      expect(await lost()).toEqual([1, 2])
    })

    it('a guard holds for the append that would be taken', async () => {
      const holds = async (epoch: number, next: number) => {
        const call = kvs.commit({ guards: [guard(epoch, next)], ops: [] })
        return call.then(
          () => true,
          (error) => {
            expect(error).toMatchObject({ code: 'ECONFLICT', failed: { guard: 0 } })
            return false
          },
        )
      }
      expect([await holds(0, 0), await holds(5, 0), await holds(0, 1)]).toEqual([true, true, false])
      await add(0, { epoch: 1 })
      expect([await holds(1, 1), await holds(2, 0)]).toEqual([true, true])
      expect([await holds(1, 0), await holds(1, 2), await holds(2, 1), await holds(0, 0)]).toEqual(
        Array.from({ length: 4 }, () => false),
      )
      expect(await refusal(kvs.commit({ guards: [guard(0, 0)], ops: [] }))).toMatchObject({
        failed: { guard: 0, state: { producer: 'p', epoch: 1, next: 1 } },
      })
    })
  })

  describe('a producer', () => {
    it('numbers appends, in order, in a few transactions', async () => {
      await using producer = await kvs.producer('log')
      expect([producer.epoch, producer.next]).toEqual([0, 0])
      const before = (await kvs.root()).seq
      const answers = await Promise.all(
        Array.from({ length: 300 }, (_, at) => producer.append(`${at}\n`)),
      )
      expect(answers.map(({ result }) => result.index)).toEqual(answers.map((_, at) => at))
      expect(producer.next).toBe(300)
      expect((await kvs.root()).seq - before).toBeLessThan(30)
      const lines = text(await kvs.get('log'))
        .trimEnd()
        .split('\n')
        .map(Number)
      expect(lines).toEqual(answers.map((_, at) => at))
    })

    it('a new incarnation fences the old one', async () => {
      await using old = await kvs.producer('log', { id: 'p' })
      await old.append('old;')
      await using young = await kvs.producer('log', { id: 'p' })
      expect(young.epoch).toBe(1)
      await old.append('old still;')
      await young.append('new;')
      expect(await refusal(old.append('late;'))).toMatchObject({ code: 'EFENCED' })
      expect(await refusal(old.append('later;'))).toMatchObject({ code: 'EFENCED' })
      await young.append('new again;')
      expect(text(await kvs.get('log'))).toBe('old;old still;new;new again;')
    })

    it('of two that begin at once the later one takes the next epoch', async () => {
      await using one = await kvs.producer('log', { id: 'p' })
      await using two = await kvs.producer('log', { id: 'p' })
      expect([one.epoch, two.epoch]).toEqual([0, 0])
      await one.append('one;')
      await two.append('two;')
      expect(two.epoch).toBe(1)
      expect(await refusal(one.append('one again;'))).toMatchObject({ code: 'EFENCED' })
      expect(text(await kvs.get('log'))).toBe('one;two;')
    })

    it('an epoch that somebody has had already is refused', async () => {
      await using one = await kvs.producer('log', { id: 'p', epoch: 4 })
      await one.append('one;')
      await using two = await kvs.producer('log', { id: 'p', epoch: 4 })
      expect(await refusal(two.append('two;'))).toMatchObject({
        code: 'ECONFLICT',
        failed: { state: { epoch: 4, next: 1 } },
      })
      await using three = await kvs.producer('log', { id: 'p', epoch: 5 })
      await three.append('three;')
      expect(text(await kvs.get('log'))).toBe('one;three;')
    })

    it('seals, and ends with the log', async () => {
      await using producer = await kvs.producer('log')
      const [first, last, late] = await Promise.allSettled([
        producer.append('a'),
        producer.append('b', { seal: true }),
        producer.append('c'),
      ])
      expect([first?.status, last?.status]).toEqual(['fulfilled', 'fulfilled'])
      expect(late).toMatchObject({ status: 'rejected', reason: { code: 'ESEALED' } })
      expect(await refusal(producer.append('d'))).toMatchObject({ code: 'ESEALED' })
      expect(await kvs.stat('log')).toMatchObject({ count: 2, sealed: true })
    })

    it('a value that was replaced ends it, and nothing is appended to the new one', async () => {
      await using producer = await kvs.producer('log')
      await producer.append('a')
      await kvs.put('log', 'new')
      expect(await refusal(producer.append('b'))).toMatchObject({ code: 'ECONFLICT' })
      expect(text(await kvs.get('log'))).toBe('new')
    })

    it('copies what it is given, refuses what no append may be, and goes on', async () => {
      await using producer = await kvs.producer('log')
      const bytes = Buffer.from('abc')
      const appended = producer.append(bytes)
      bytes.fill('x')
      await appended
      expect(await refusal(producer.append('\ud800'))).toMatchObject({ code: 'EINVAL' })
      const large = new Uint8Array(8 * 1024 * 1024 + 1)
      expect(await refusal(producer.append(large))).toMatchObject({ code: 'E2BIG' })
      await producer.append('def')
      expect(text(await kvs.get('log'))).toBe('abcdef')
    })

    it('disposed of, it takes nothing more; who waits may leave before', async () => {
      const producer = await kvs.producer('log')
      const signal = AbortSignal.abort()
      expect(await refusal(producer.append('a', { signal }))).toMatchObject({ code: 'ECANCELED' })
      await producer.append('b')
      await producer[Symbol.asyncDispose]()
      expect(await refusal(producer.append('c'))).toMatchObject({ code: 'ECLOSED' })
      expect(text(await kvs.get('log'))).toBe('ab')
    })

    it('of a namespace that is not there: ENONS', async () => {
      const call = kvs.producer('log', { namespace: 'none' })
      expect(await refusal(call)).toMatchObject({ code: 'ENONS' })
    })
  })
}
