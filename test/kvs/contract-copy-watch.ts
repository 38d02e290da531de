/** The contract of `Kvs`, watchers of keys that are copied, moved and restored: rfc/18, rule 5; rfc/7, rules 7
 *  and 9. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { seeds } from './copied.js'
import { refusal, text } from './expect.js'

export function copyWatchContract(kvsOf: () => Kvs): void {
  describe('watchers of what is copied, moved and restored', () => {
    let kvs: Kvs
    const run = (...ops: Op[]) => kvs.commit({ ops })
    beforeEach(async () => {
      kvs = kvsOf()
      await run(...seeds)
    })

    it('wait for keys below a directory that appears', async () => {
      const waits = ['e/a', 'e/b/c', 'e/to-v'].map((key) =>
        kvs.watch(key, { mode: 'value', waitCreate: true }),
      )
      const firsts = waits.map((watch) => watch.next())
      const log = kvs.watch('logs/log', { mode: 'append', waitCreate: true })
      const first = log.next()
      await run(
        { op: 'copy', from: 'd', key: 'e' },
        { op: 'mkdir', key: 'l' },
        { op: 'copy', from: 'log', key: 'l/log' },
      )
      const values = (await Promise.all(firsts)).map(
        ({ value }) => value?.type === 'value' && text(value.data),
      )
      expect(values).toEqual(['A', 'C', 'value'])
      await run({ op: 'move', from: 'l', key: 'logs' })
      // Live, since there was nothing, and then what is there.
      const events = [(await first).value, (await log.next()).value]
      expect(events).toContainEqual(expect.objectContaining({ type: 'append', index: 0 }))
      for (const watch of [...waits, log]) await watch.return?.()
    })

    it('wait for keys of a root that is restored', async () => {
      const { seq } = await kvs.root()
      await run({ op: 'unlink', key: 'd', recursive: true })
      const watch = kvs.watch('d/b/c', { mode: 'value', waitCreate: true })
      const first = watch.next()
      await run({ op: 'restore', key: '/', at: seq })
      expect((await first).value).toMatchObject({ type: 'value' })
      await watch.return?.()
    })

    it('end where their key went or has another history, and go on where it goes on', async () => {
      await run(
        { op: 'append', key: 'dir/log', value: '1' },
        { op: 'append', key: 'dir/log', value: '2' },
        { op: 'append', key: 'dir/other', value: 'x' },
      )
      const { seq } = await kvs.root()
      await kvs.append('dir/log', '3')
      const seen: string[] = []
      const follow = async (key: string) => {
        for await (const event of kvs.watch(key, { mode: 'append' })) {
          if (event.type === 'append') seen.push(`${key} ${text(event.data)}`)
          if (event.type === 'live') live.push(key)
        }
      }
      const live: string[] = []
      const log = refusal(follow('dir/log'))
      const other = refusal(follow('dir/other'))
      await expect.poll(() => live.length).toBe(2)
      // Shorter: another history. The other log is what it was, and goes on.
      await run({ op: 'restore', key: 'dir', at: seq })
      expect(await log).toMatchObject({ code: 'EOVERWRITTEN' })
      await kvs.append('dir/other', 'y')
      await expect.poll(() => seen).toContain('dir/other y')
      await run({ op: 'move', from: 'dir', key: 'gone' })
      expect(await other).toMatchObject({ code: 'ENOENT' })
      expect(seen.filter((each) => each.startsWith('dir/log'))).toEqual([
        'dir/log 1',
        'dir/log 2',
        'dir/log 3',
      ])
    })

    it('a copy that extends the history of a watched log is more of it', async () => {
      await run({ op: 'fork', from: 'log', key: 'grows', count: 1 })
      const watch = kvs.watch('grows', { mode: 'append' })
      expect((await watch.next()).value).toMatchObject({ type: 'append', index: 0 })
      expect((await watch.next()).value).toMatchObject({ type: 'live' })
      await run({ op: 'copy', from: 'log', key: 'grows' })
      expect((await watch.next()).value).toMatchObject({ type: 'append', index: 1 })
      expect((await watch.next()).value).toMatchObject({ type: 'append', index: 2 })
      expect((await watch.next()).value).toMatchObject({ type: 'end', reason: 'sealed' })
    })
  })
}
