/** The contract of `Kvs` for what comes to lie too deep for a key, where a directory is moved below another:
 *  rfc/5, rule 27. Nothing but asking for it by a key is impossible. */

import { beforeEach, describe, expect, it } from 'vitest'
import type { DiffEntry } from '../../src/api/history.js'
import type { Kvs, ListEntry } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { refusal, text } from './expect.js'

const name = 'd'.repeat(224)
/** 899 bytes. */
const path = [name, name, name, name].join('/')

export function deepContract(kvsOf: () => Kvs): void {
  describe('what is too deep for a key', () => {
    let kvs: Kvs
    let before: number
    const run = (...ops: Op[]) => kvs.commit({ ops })
    const lower: Op = { op: 'move', from: 'low', key: `high/${path}/low` }
    const lift: Op = { op: 'move', from: `high/${path}/low`, key: 'low' }
    /** Of the directories that a key can name, the deepest has one entry that none can. */
    const listed = [
      'high',
      ...[1, 2, 3, 4].map((depth) => `high/${Array(depth).fill(name).join('/')}`),
    ]
    const deepest = [`high/${path}/low`, `high/${path}/low/${name}`]
    beforeEach(async () => {
      kvs = kvsOf()
      const { seq } = await run(
        { op: 'append', key: `low/${path}/log`, value: 'one' },
        { op: 'put', key: `low/${path}/v`, value: 'value' },
        { op: 'mkdir', key: `high/${path}` },
      )
      before = seq
      await run(lower)
    })

    /** All pages of so many entries. */
    async function paged<Entry>(
      limit: number | undefined,
      nameOf: (entry: Entry) => string,
      page: (options: {
        readonly after?: string
        readonly limit?: number
      }) => Promise<{ readonly entries: readonly Entry[]; readonly more: boolean }>,
    ): Promise<Entry[]> {
      const all: Entry[] = []
      for (let more = true; more; ) {
        const last = all.at(-1)
        const read = await page({
          ...(last ? { after: nameOf(last) } : {}),
          ...(limit === undefined ? {} : { limit }),
        })
        all.push(...read.entries)
        more = read.more
      }
      return all
    }

    it.each([undefined, 1])(
      'a listing names what a directory has that can be asked for (%s)',
      async (limit) => {
        const entries = await paged(
          limit,
          (entry: ListEntry) => entry.name,
          (page) => kvs.list('/', { recursive: true, ...page }),
        )
        expect(entries.map((entry) => entry.name)).toEqual([...listed, ...deepest])
        expect(entries.at(-1)).toMatchObject({ type: 'dir', count: 2, size: 8 })
        expect((await kvs.list(`high/${path}/low`)).entries).toMatchObject([{ name, type: 'dir' }])
      },
    )

    it.each([undefined, 1])(
      'so does a difference, where a directory stands for what is below it (%s)',
      async (limit) => {
        const differing = async (from: number) => {
          const { seq: to } = await kvs.root()
          const entries = await paged(
            limit,
            (entry: DiffEntry) => entry.key,
            (page) => kvs.history.diff({ from, to, ...page }),
          )
          return entries.map(({ key, change }) => `${change} ${key}`)
        }
        const moved = await kvs.root()
        expect(await differing(before)).toEqual([
          ...deepest.map((key) => `added ${key}`),
          ...[0, 1, 2, 3, 4].map(
            (depth) => `removed ${['low', ...Array(depth).fill(name)].join('/')}`,
          ),
          `removed low/${path}/log`,
          `removed low/${path}/v`,
        ])
        await run(lift, { op: 'append', key: `low/${path}/log`, value: 'two' }, lower)
        expect(await differing(moved.seq)).toEqual([`changed ${deepest[1]}`])
        await run({ op: 'unlink', key: 'high', recursive: true })
        expect(await differing(moved.seq)).toEqual(
          [...listed, ...deepest].map((key) => `removed ${key}`),
        )
      },
    )

    it('it is there again where its directory is moved, copied or restored to', async () => {
      await run({ op: 'copy', from: `high/${path}/low`, key: 'copy' })
      expect(text(await kvs.get(`copy/${path}/v`))).toBe('value')
      const { seq } = await kvs.root()
      await run({ op: 'unlink', key: 'high', recursive: true })
      await run({ op: 'restore', key: 'high', at: seq })
      const watch = kvs.watch(`low/${path}/log`, { mode: 'append', waitCreate: true })
      const first = watch.next()
      await run(lift)
      // Live, since there was nothing, and then what is there.
      const events = [(await first).value, (await watch.next()).value]
      expect(events).toContainEqual(expect.objectContaining({ type: 'append', index: 0 }))
      await watch.return?.()
      expect(text(await kvs.get(`low/${path}/v`))).toBe('value')
      expect((await kvs.history.log('high')).entries.length).toBeGreaterThan(2)
    })

    it('it is exported, imported, pinned, collected and forgotten with what is above it', async () => {
      const imported = await kvs.upkeep.import(kvs.upkeep.export(), { namespace: 'copy' })
      expect(imported).toMatchObject({ keys: 2, size: 8 })
      await kvs.commit({ ops: [lift] }, { namespace: 'copy' })
      expect(text(await kvs.get(`low/${path}/log`, { namespace: 'copy' }))).toBe('one')
      await kvs.history.pin('deep')
      await kvs.upkeep.collect()
      expect((await kvs.stat('high', { at: (await kvs.root()).seq }))?.count).toBe(2)
      await kvs.upkeep.forget('high')
      expect(await kvs.stat('high')).toBeUndefined()
    })

    it('no key leads there, and no other is taken for one', async () => {
      const key = `high/${path}/low/${name}`
      expect(await refusal(kvs.get(key))).toMatchObject({ code: 'EINVAL' })
      await run({ op: 'symlink', key: 'link', target: `high/${path}/low` })
      expect(await refusal(kvs.get(`link/${path}/v`))).toMatchObject({ code: 'EINVAL' })
      const after = `${key}/${name}`
      expect(await refusal(kvs.list('/', { recursive: true, after }))).toMatchObject({
        code: 'EINVAL',
      })
    })
  })
}
