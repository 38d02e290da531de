/** The contract of `Kvs`, what a transaction is: guards with the states that fail them, ops in their order, all
 *  or nothing, bounds on both sides. rfc/6, rules 1 to 3 and 14; rfc/17, rule 3. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import {
  type Guard,
  guardsMax,
  keyNamesMax,
  type Op,
  opsMax,
  transactionSizeMax,
} from '../../src/api/transaction.js'
import { refusal, text } from './expect.js'

export function transactionsContract(kvsOf: () => Kvs): void {
  let kvs: Kvs
  beforeEach(() => {
    kvs = kvsOf()
  })
  const guarded = (...guards: Guard[]) => kvs.commit({ guards, ops: [] })
  const refOf = async (key: string) => String((await kvs.stat(key))?.ref)
  const nowhere = `blake3-${'0'.repeat(64)}`

  describe('transactions', () => {
    it('ops apply in order and see what came before them', async () => {
      const { results, seq } = await kvs.commit({
        ops: [
          { op: 'append', key: 'k', value: 'a' },
          { op: 'append', key: 'k', value: 'b' },
          { op: 'put', key: 'k', value: 'c' },
          { op: 'append', key: 'k', value: 'd' },
        ],
      })
      expect(text(await kvs.get('k'))).toBe('cd')
      expect(results.map(({ index }) => index)).toEqual([0, 1, undefined, 1])
      expect(seq).toBe(1)
    })

    it('an empty transaction is one seq', async () => {
      expect(await kvs.commit({ ops: [] })).toMatchObject({ seq: 1, results: [] })
    })

    it('guards hold or refuse with the state that they met', async () => {
      const { result } = await kvs.put('k', 'v')
      await kvs.append('log', 'x')
      const ops = [{ op: 'put', key: 'new', value: 'n' }] as const
      const guarded = (guard: Parameters<Kvs['commit']>[0]['guards']) =>
        kvs.commit({ guards: guard ?? [], ops })
      const ref = String(result.ref)
      expect(await refusal(guarded([{ key: 'k', absent: true }]))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 0, state: { type: 'val', ref, size: 1 } },
      })
      const other = `blake3-${'0'.repeat(64)}`
      expect(await refusal(guarded([{ key: 'k', ref: other }]))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 0, state: { ref } },
      })
      expect(
        await refusal(
          guarded([
            { key: 'k', ref },
            { key: 'log', count: 2 },
          ]),
        ),
      ).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 1, state: { count: 1 } },
      })
      expect(await refusal(guarded([{ seq: 7 }]))).toMatchObject({
        code: 'ECONFLICT',
        failed: { guard: 0, state: { seq: 2 } },
      })
      expect(await kvs.get('new')).toBeUndefined()
      await guarded([
        { key: 'k', ref },
        { key: 'log', count: 1 },
        { key: 'none', absent: true },
        { key: 'none', count: 0 },
        { seq: 2 },
      ])
      expect(text(await kvs.get('new'))).toBe('n')
    })

    it('of many that create the same key, one wins', async () => {
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) =>
          kvs.put('once', `${index}`, { guards: [{ key: 'once', absent: true }] }),
        ),
      )
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    })

    it('a failing transaction leaves nothing, its neighbours go on', async () => {
      const outcomes = await Promise.allSettled([
        kvs.put('a', '1'),
        kvs.commit({
          ops: [
            { op: 'put', key: 'b', value: '2' },
            { op: 'append', key: '', value: '' },
          ],
        }),
        kvs.put('c', '3'),
      ])
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect((await kvs.list('')).entries.map((entry) => entry.name)).toEqual(['a', 'c'])
      expect((await kvs.root()).seq).toBe(2)
    })

    it('noMerge gives a group of its own: each of its seqs has a root', async () => {
      const answers = await Promise.all(
        Array.from({ length: 5 }, (_, index) =>
          kvs.commit({ ops: [{ op: 'put', key: 'k', value: `${index}` }], noMerge: true }),
        ),
      )
      expect(new Set(answers.map(({ ref }) => ref)).size).toBe(5)
      for (const { seq } of answers) expect(await kvs.get('k', { at: seq })).toBeDefined()
      const values = await Promise.all(answers.map(({ seq }) => kvs.get('k', { at: seq })))
      expect(values.map((value) => text(value))).toEqual(['0', '1', '2', '3', '4'])
    })

    it('too many ops and too many bytes are E2BIG, and nothing is lost', async () => {
      const ops = Array.from({ length: 4_097 }, () => ({ op: 'mkdir', key: 'd' }) as const)
      expect(await refusal(kvs.commit({ ops }))).toMatchObject({ code: 'E2BIG' })
      const value = new Uint8Array(8 * 1024 * 1024 + 1)
      expect(await refusal(kvs.append('k', value))).toMatchObject({ code: 'E2BIG' })
      expect((await kvs.root()).seq).toBe(0)
    })

    it('the same keys and values give the same root, whatever the history', async () => {
      await kvs.namespaces.create('other')
      for (const key of ['b', 'a/x', 'c']) await kvs.put(key, key)
      await kvs.put('gone', '')
      await kvs.commit({ ops: [{ op: 'unlink', key: 'gone' }] })
      for (const key of ['c', 'a/x', 'b']) await kvs.put(key, key, { namespace: 'other' })
      const one = await kvs.stat('/')
      const two = await kvs.stat('/', { namespace: 'other' })
      expect(one?.ref).toBe(two?.ref)
    })
  })

  describe('guards', () => {
    it('that fail say exactly what they met, whatever is there', async () => {
      const { results, seq } = await kvs.commit({
        ops: [
          { op: 'put', key: 'val', value: 'abc' },
          { op: 'append', key: 'log', value: 'x', producer: { id: 'p', epoch: 3, seq: 0 } },
          { op: 'append', key: 'log', value: 'yz', seal: true },
          { op: 'put', key: 'dir/in', value: 'v' },
          { op: 'symlink', key: 'link', target: 'val' },
          { op: 'lease', key: 'lock', action: 'take', ttl: 60_000, owner: 'me' },
        ],
      })
      const val = { type: 'val', ref: await refOf('val'), count: 1, size: 3, sealed: false }
      const log = { type: 'valref', ref: await refOf('log'), count: 2, size: 3, sealed: true }
      const dir = { type: 'dir', ref: await refOf('dir'), count: 1, size: 1, sealed: false }
      const missing = { absent: true, count: 0 }
      const failing: readonly (readonly [Guard, unknown])[] = [
        [{ key: 'val', absent: true }, val],
        [{ key: 'val', ref: nowhere }, val],
        [{ key: 'val', count: 0 }, val],
        [{ key: 'log', absent: true }, log],
        [{ key: 'log', ref: nowhere }, log],
        [{ key: 'log', count: 1 }, log],
        [{ key: 'log', count: 3 }, log],
        [{ key: 'dir', absent: true }, dir],
        [{ key: 'dir', count: 1 }, dir],
        [{ key: 'link', absent: true }, val],
        [{ key: 'link', ref: nowhere }, val],
        [{ key: 'none', ref: nowhere }, missing],
        [{ key: 'none', count: 1 }, missing],
        [{ key: 'val/below', ref: nowhere }, missing],
        [{ seq: seq + 1 }, { seq }],
        [{ seq: seq - 1 }, { seq }],
        [
          { key: 'log', producer: 'p', epoch: 3, next: 2 },
          { producer: 'p', epoch: 3, next: 1 },
        ],
        [
          { key: 'log', producer: 'q', epoch: 0, next: 1 },
          { producer: 'q', epoch: 0, next: 0 },
        ],
      ]
      for (const [guard, state] of failing) {
        const error = await refusal(guarded({ seq }, guard))
        expect(error.code, JSON.stringify(guard)).toBe('ECONFLICT')
        expect(error.failed, JSON.stringify(guard)).toEqual({ guard: 1, state })
      }
      const token = results.at(-1)?.token ?? { incarnation: '', seq: 0 }
      for (const [lease, wrong] of [
        ['lock', { ...token, seq: token.seq + 1 }],
        ['none', token],
      ] as const) {
        const error = await refusal(guarded({ lease, token: wrong }))
        expect(error).toMatchObject({ failed: { guard: 0, state: expect.anything() } })
      }
      await guarded(
        { key: 'val', ref: val.ref },
        { key: 'link', ref: val.ref },
        { key: 'val', count: 1 },
        { key: 'log', ref: log.ref },
        { key: 'log', count: 2 },
        { key: 'dir', ref: dir.ref },
        { key: 'none', absent: true },
        { key: 'none', count: 0 },
        { key: 'val/below', absent: true },
        { key: 'log', producer: 'p', epoch: 3, next: 1 },
        { key: 'none', producer: 'p', epoch: 9, next: 0 },
        { lease: 'lock', token },
        { seq },
      )
    })

    it('are judged before the first op, and in their order', async () => {
      const ops: Op[] = [{ op: 'put', key: 'k', value: 'v' }]
      await kvs.commit({ guards: [{ key: 'k', absent: true }], ops })
      const guards: Guard[] = [{ seq: 1 }, { key: 'k', absent: true }, { seq: 9 }]
      expect(await refusal(kvs.commit({ guards, ops }))).toMatchObject({ failed: { guard: 1 } })
    })

    it('see what earlier transactions of the group did', async () => {
      const append = (at: number) =>
        kvs.commit({
          guards: [{ key: 'log', count: at }],
          ops: [{ op: 'append', key: 'log', value: `${at}` }],
        })
      const first = kvs.commit({ ops: [{ op: 'append', key: 'log', value: '0' }] })
      const outcomes = await Promise.allSettled([first, ...[1, 1, 1].map(append)])
      expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(2)
      expect(text(await kvs.get('log'))).toMatch(/^01?$/)
    })
  })

  describe('a transaction', () => {
    const steps: readonly Op[] = [
      { op: 'put', key: 'a', value: '1' },
      { op: 'append', key: 'log', value: '2', producer: { id: 'p', epoch: 0, seq: 0 } },
      { op: 'symlink', key: 'to-log', target: 'log' },
      { op: 'append', key: 'to-log', value: '3' },
      { op: 'copy', key: 'd/copy', from: 'log' },
      { op: 'append', key: 'd/copy', value: '4' },
      { op: 'move', key: 'moved', from: 'd' },
      { op: 'put', key: 'd', value: 'a value now' },
      { op: 'unlink', key: 'a' },
      { op: 'mkdir', key: 'a/b' },
      { op: 'lease', key: 'lock', action: 'take', ttl: 60_000 },
      { op: 'put', key: 'session', value: 's', ttl: 60_000 },
      { op: 'trim', key: 'log', before: 1 },
      { op: 'fork', key: 'fork', from: 'moved/copy', count: 2 },
      { op: 'seal', key: 'log' },
    ]

    it('does its ops strictly in their order', async () => {
      const { results } = await kvs.commit({ ops: steps })
      const none = undefined
      expect(results.map(({ index, count }) => index ?? count)).toEqual([
        ...[none, 0, none, 1, none, 2],
        ...[none, none, none, none, none, none],
        ...[2, 2, 2],
      ])
      expect(text(await kvs.get('log'))).toBe('3')
      expect(text(await kvs.get('moved/copy'))).toBe('234')
      expect(text(await kvs.get('fork'))).toBe('23')
      expect(text(await kvs.get('d'))).toBe('a value now')
      expect((await kvs.stat('a/b'))?.type).toBe('dir')
      expect((await kvs.stat('log'))?.sealed).toBe(true)
    })

    it('whose op fails is undone, wherever that is, with all that it had done', async () => {
      await kvs.put('keep', 'kept')
      const before = await kvs.stat('/')
      for (let at = 0; at <= steps.length; at++) {
        const ops: Op[] = [...steps.slice(0, at), { op: 'seal', key: 'none' }, ...steps.slice(at)]
        expect(await refusal(kvs.commit({ ops })), `${at}`).toMatchObject({
          code: 'ENOENT',
          failed: { op: at },
        })
        expect({ ...(await kvs.stat('/')) }).toEqual(before)
        await guarded({ key: 'log', producer: 'p', epoch: 0, next: 0 })
        // The guard above was a transaction: it has taken a seq, and changed nothing.
        Object.assign(before ?? {}, { seq: (await kvs.root()).seq })
      }
      // It may still be done: no lease and no producer is in its way.
      await kvs.commit({ ops: steps })
      expect(text(await kvs.get('keep'))).toBe('kept')
    })

    it('has bounds, and is taken just below them', async () => {
      const mkdirs = (count: number) =>
        Array.from({ length: count }, (): Op => ({ op: 'mkdir', key: 'd' }))
      expect((await kvs.commit({ ops: mkdirs(opsMax) })).results).toHaveLength(opsMax)
      expect(await refusal(kvs.commit({ ops: mkdirs(opsMax + 1) }))).toMatchObject({
        code: 'E2BIG',
      })
      const deep = Array.from({ length: 128 }, () => 'd').join('/')
      const walks = Array.from(
        { length: keyNamesMax / 128 },
        (): Op => ({ op: 'mkdir', key: deep }),
      )
      await kvs.commit({ ops: walks })
      expect(
        await refusal(kvs.commit({ ops: [...walks, { op: 'mkdir', key: 'd' }] })),
      ).toMatchObject({ code: 'E2BIG' })
      const absent: Guard = { key: 'none', absent: true }
      const many = (count: number) => Array.from({ length: count }, () => absent)
      await guarded(...many(guardsMax))
      expect(await refusal(guarded(...many(guardsMax + 1)))).toMatchObject({ code: 'E2BIG' })
      const half = new Uint8Array(transactionSizeMax / 2)
      const both = (last: Uint8Array): Op[] => [
        { op: 'append', key: 'log', value: half },
        { op: 'put', key: 'v', value: last },
      ]
      await kvs.commit({ ops: both(half) })
      const seq = (await kvs.root()).seq
      const above = both(new Uint8Array(half.length + 1))
      expect(await refusal(kvs.commit({ ops: above }))).toMatchObject({ code: 'E2BIG' })
      expect((await kvs.root()).seq).toBe(seq)
    })
  })
}
