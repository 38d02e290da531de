/** Logs that are capped as they are written, as every `Kvs` does it: rfc/19, rule 5. */

import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Cap, Op } from '../../src/api/transaction.js'
import { refusal, text } from './expect.js'

export function capContract(store: () => Kvs): void {
  const append = (value: string, cap?: Cap | null) =>
    store().append('log', value, cap === undefined ? {} : { cap })
  const left = async () => text(await store().get('log'))

  describe('cap', () => {
    it('keeps the last blobs from then on, whoever appends; stat shows it; indices go on', async () => {
      for (const letter of 'abcd') await append(letter)
      expect((await append('e', { keep: 3 })).result).toEqual({ index: 4, count: 5 })
      expect(await left()).toBe('cde')
      await append('f')
      const appends = [...'ghijkl'].map((value): Op => ({ op: 'append', key: 'log', value }))
      await store().commit({ ops: appends })
      const { seq: _, ref: __, ...stat } = (await store().stat('log')) ?? {}
      expect(stat).toEqual({
        type: 'valref',
        count: 12,
        size: 12,
        sealed: false,
        base: { count: 9, size: 9 },
        cap: { keep: 3 },
      })
      expect(text((await store().readMany(['log'])).values[0])).toBe('jkl')
    })

    it('keeps the last bytes, and of several bounds what the least of them keeps', async () => {
      for (const value of ['aaaa', 'bbb', 'cc']) await append(value, { keepBytes: 4 })
      // The blob that holds the first of these bytes stays whole.
      expect(await left()).toBe('bbbcc')
      await append('d', { keepBytes: 4, keep: 1 })
      expect(await left()).toBe('d')
      for (const value of ['e', 'fffffff']) await append(value, { keepBytes: 4, keep: 9 })
      expect(await left()).toBe('fffffff')
    })

    it('is exact though many append at once', async () => {
      await append('', { keep: 3 })
      await Promise.all(Array.from({ length: 40 }, (_, at) => append(`${at}|`)))
      const { count, base } = (await store().stat('log')) ?? {}
      expect([count, base?.count]).toEqual([41, 38])
      expect((await left()).split('|')).toHaveLength(4)
    })

    it('is another one, is taken away, and ends with the value', async () => {
      await append('a', { keep: 1 })
      await append('b', { keep: 2 })
      await append('c')
      expect(await left()).toBe('bc')
      await append('d', null)
      await append('e')
      expect(await left()).toBe('bcde')
      expect(await store().stat('log')).not.toHaveProperty('cap')
      for (const op of [
        { op: 'put', key: 'log', value: 'x' },
        { op: 'unlink', key: 'log' },
      ] as const) {
        await append('a', { keep: 1 })
        await store().commit({ ops: [{ op: 'copy', from: 'log', key: 'copy', replace: true }] })
        expect(await store().stat('copy')).not.toHaveProperty('cap')
        await store().commit({ ops: [op] })
        await append('b')
        await append('c')
        expect(await left()).toBe(op.op === 'put' ? 'xbc' : 'bc')
        await store().commit({ ops: [{ op: 'unlink', key: 'log' }] })
      }
    })

    it('of a put begins with the appends that follow, a streamed one too', async () => {
      await store().put('log', 'a', { cap: { keep: 2 } })
      for (const value of ['b', 'c']) await append(value)
      expect(await left()).toBe('bc')
      const long = async function* () {
        for (let at = 0; at < 12; at++) yield Buffer.alloc(100_000, at)
      }
      await store().put('log', long(), { cap: { keep: 1 } })
      await append('end')
      expect(await left()).toBe('end')
    })

    it('leaves producers and positions as they are', async () => {
      const first = { id: 'p', epoch: 0, seq: 0 }
      await store().append('log', 'a', { producer: first, cap: { keep: 2 } })
      const watching = store().watch('log', { mode: 'append' })
      const events: string[] = []
      const take = async () => {
        for (;;) {
          const { value: event } = await watching.next()
          if (event?.type !== 'append') continue
          events.push(`${event.index}${text(event.data)}`)
          return event.position
        }
      }
      const positions = [await take()]
      for (const [at, value] of ['b', 'c', 'd'].entries()) {
        await store().append('log', value, { producer: { ...first, seq: at + 1 } })
        positions.push(await take())
      }
      await watching.return?.()
      expect(events).toEqual(['0a', '1b', '2c', '3d'])
      const again = await store().append('log', 'c', { producer: { ...first, seq: 2 } })
      expect(again.result).toEqual({ index: 2, count: 3, repeated: true })
      expect(await left()).toBe('cd')
      const [position] = positions.slice(2)
      const resumed = store().watch('log', { mode: 'append', ...(position && { from: position }) })
      expect((await resumed.next()).value).toMatchObject({ type: 'append', index: 3 })
      await resumed.return?.()
    })

    it.each([
      {},
      { keep: 0 },
      { keep: 1.5 },
      { keepBytes: -1 },
      { keepAge: 0 },
      { keep: 1, last: 2 },
    ])('of %j is EINVAL', async (cap) => {
      expect(await refusal(append('a', cap as Cap))).toMatchObject({ code: 'EINVAL' })
      const put = store().put('log', 'a', { cap: cap as Cap })
      expect(await refusal(put)).toMatchObject({ code: 'EINVAL' })
    })
  })
}
