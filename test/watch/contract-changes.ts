/** The contract of a watch in changes mode: run by the embedded store, and by the client over a server.
 *  See rfc/7, rules 24 to 27. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DiffEntry } from '../../src/api/history.js'
import type { Kvs } from '../../src/api/kvs.js'
import type { ChangesEvent, Watching, WatchOptions } from '../../src/api/watch.js'
import { changesMax } from '../../src/watch/changes-watch.js'
import type { Made } from '../kvs/contract.js'
import { refusal } from '../kvs/expect.js'

export function changesContract(name: string, make: () => Promise<Made>): void {
  describe(`watch of changes: ${name}`, () => {
    let made: Made
    let kvs: Kvs
    const open: Watching[] = []
    const watch = (key: string, options: Partial<WatchOptions> = {}): Watching => {
      const watching = kvs.watch(key, { mode: 'changes', ...options })
      open.push(watching)
      return watching
    }
    beforeEach(async () => {
      made = await make()
      kvs = made.kvs
    })
    afterEach(async () => {
      for (const watching of open.splice(0)) await watching.return?.()
      await made.close()
    })

    it('begins now, and tells what changes at and below the key', async () => {
      await kvs.put('dir/old', '1')
      const watching = watch('dir')
      expect(await shown(watching, 2)).toEqual(['1..1', 'live'])
      await kvs.put('dir/new', '2')
      expect(await shown(watching, 1)).toEqual(['1..2 +dir/new'])
      await kvs.commit({
        ops: [
          { op: 'put', key: 'dir/old', value: '3' },
          { op: 'put', key: 'dir/sub/deep', value: '4' },
          { op: 'unlink', key: 'dir/new' },
        ],
      })
      expect(await shown(watching, 1)).toEqual(['2..3 -dir/new ~dir/old +dir/sub +dir/sub/deep'])
      await kvs.commit({ ops: [{ op: 'unlink', key: 'dir', recursive: true }] })
      expect(await shown(watching, 1)).toEqual(['3..4 -dir -dir/old -dir/sub -dir/sub/deep'])
    })

    it('tells both sides of a change', async () => {
      const { result } = await kvs.put('dir/key', 'before')
      const watching = watch('dir')
      await shown(watching, 2)
      await kvs.put('dir/key', 'after')
      const { entries } = await next(watching)
      const after = await kvs.stat('dir/key')
      expect(entries).toEqual([
        {
          key: 'dir/key',
          change: 'changed',
          before: { type: 'val', ref: result.ref, count: 1, size: 6 },
          after: { type: 'val', ref: after?.ref, count: 1, size: 5 },
        },
      ])
    })

    it('is net: what came and went since it was asked last is left out', async () => {
      const watching = watch('dir')
      await shown(watching, 2)
      const pending = next(watching)
      await kvs.put('elsewhere', '1')
      await kvs.put('dir/a', '1')
      expect((await pending).entries.map(({ key }) => key)).toContain('dir/a')
      await kvs.put('dir/b', '1')
      await kvs.commit({ ops: [{ op: 'unlink', key: 'dir/b' }] })
      await kvs.put('dir/c', '1')
      const keys: string[] = []
      while (!keys.includes('+dir/c')) keys.push(...(await next(watching)).entries.map(shownEntry))
      // A watcher that was quick has seen it come, and then go.
      expect(keys.filter((key) => key.endsWith('dir/b')).length % 2).toBe(0)
    })

    it('follows a key that is not there yet, one value, and the whole namespace', async () => {
      const [later, value, all] = [watch('later/dir/'), watch('value'), watch('')]
      for (const each of [later, value, all]) expect(await shown(each, 2)).toEqual(['0..0', 'live'])
      await kvs.put('later/dir/a', '1')
      expect(await shown(later, 1)).toEqual(['0..1 +later/dir +later/dir/a'])
      await kvs.put('value', '1')
      expect(await shown(value, 1)).toEqual(['0..2 +value'])
      const seen: string[] = []
      while (!seen.includes('+value')) seen.push(...(await next(all)).entries.map(shownEntry))
      expect(seen).toEqual(['+later', '+later/dir', '+later/dir/a', '+value'])
    })

    it('begins with all that is there, as added', async () => {
      await kvs.put('dir/a', '1')
      await kvs.put('dir/b', '2')
      const watching = watch('dir', { initial: true })
      expect(await shown(watching, 2)).toEqual(['all..2 +dir +dir/a +dir/b', 'live'])
      await kvs.put('dir/a', '3')
      expect(await shown(watching, 1)).toEqual(['2..3 ~dir/a'])
      const empty = watch('nothing', { initial: true })
      expect(await shown(empty, 2)).toEqual(['all..3', 'live'])
    })

    it('begins after any retained seq', async () => {
      await kvs.put('dir/a', '1')
      const { seq } = await kvs.put('dir/b', '2')
      await kvs.put('dir/b', '3')
      await kvs.commit({ ops: [{ op: 'unlink', key: 'dir/a' }] })
      expect(await shown(watch('dir', { since: 0 }), 2)).toEqual(['0..4 +dir +dir/b', 'live'])
      expect(await shown(watch('dir', { since: seq }), 2)).toEqual(['2..4 -dir/a ~dir/b', 'live'])
      expect(await shown(watch('dir', { since: 4 }), 2)).toEqual(['4..4', 'live'])
      const future = watch('dir', { since: 9 })
      expect((await refusal(future.next())).code).toBe('EINVAL')
    })

    it('goes on from a position, also between two events of one comparison', async () => {
      const count = 2 * changesMax + 10
      const keyOf = (index: number) => `dir/${String(index).padStart(5, '0')}`
      const puts = Array.from({ length: count }, (_, index) => {
        return { op: 'put', key: keyOf(index), value: String(index) } as const
      })
      await kvs.commit({ ops: puts })
      const first = watch('dir', { since: 0 })
      const keys: string[] = []
      let event = await next(first)
      expect(event.more).toBe(true)
      keys.push(...event.entries.map(({ key }) => key))
      await kvs.put('dir/00000', 'again')
      await kvs.put('dir/zzz', 'last')
      while (event.more) {
        event = await next(watch('dir', { since: event.position }))
        keys.push(...event.entries.map(({ key }) => key))
      }
      expect(keys).toEqual(['dir', ...puts.map(({ key }) => key)])
      const rest = watch('dir', { since: event.position })
      expect(await shown(rest, 2)).toEqual([
        `${event.seq}..${event.seq + 2} ~dir/00000 +dir/zzz`,
        'live',
      ])
    })

    it('is ECOMPACTED where the root is not retained, with the roots that are', async () => {
      await kvs.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
      await kvs.put('dir/a', '1')
      const watching = watch('dir')
      const { position, seq: before } = await next(watching)
      await kvs.put('other', '1')
      const { seq } = await kvs.put('other', '2')
      // Nothing has changed since: the position is good, however old it is.
      expect(await shown(watch('dir', { since: position }), 2)).toEqual([
        `${before}..${seq}`,
        'live',
      ])
      await kvs.put('dir/a', '2')
      const { seq: newest } = await kvs.put('other', '3')
      const late = watch('dir', { since: position })
      expect(await refusal(late.next())).toMatchObject({
        code: 'ECOMPACTED',
        failed: { state: { newest } },
      })
      expect(await shown(watch('dir', { initial: true }), 1)).toEqual([
        `all..${newest} +dir +dir/a`,
      ])
    })

    it('misses nothing while it waits, whatever is retained', async () => {
      await kvs.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
      await kvs.put('dir/a', '1')
      const watching = watch('dir')
      await shown(watching, 2)
      const pending = next(watching)
      for (let round = 0; round < 5; round++) await kvs.put('other', String(round))
      await kvs.upkeep.collect()
      await kvs.put('dir/a', '2')
      expect((await pending).entries.map(shownEntry)).toEqual(['~dir/a'])
    })

    it('ends with its namespace, and is no watch of another one', async () => {
      await kvs.namespaces.create('other')
      await kvs.put('a', '1', { namespace: 'other' })
      const watching = watch('', { namespace: 'other' })
      const { position } = await next(watching)
      await watching.next()
      const pending = watching.next()
      await kvs.namespaces.remove('other')
      expect((await refusal(pending)).code).toBe('ENONS')
      const missing = watch('', { namespace: 'other' })
      expect((await refusal(missing.next())).code).toBe('ENONS')
      await kvs.namespaces.create('other')
      const anew = watch('', { namespace: 'other', since: position })
      expect((await refusal(anew.next())).code).toBe('EOVERWRITTEN')
    })

    it.each([
      { from: 0 },
      { waitCreate: true },
      { uniq: true },
      { lease: true },
      { lend: true },
      { initial: true, since: 0 },
      { since: -1 },
      { since: { seq: 1 } },
      { mode: 'append', since: 0 },
      { mode: 'value', initial: true },
    ])('%j is EINVAL', async (options) => {
      const watching = watch('dir', options as Partial<WatchOptions>)
      expect((await refusal(watching.next())).code).toBe('EINVAL')
    })
  })
}

/** The next event, which is of changes. */
async function next(watching: Watching): Promise<ChangesEvent> {
  const { value } = await watching.next()
  if (value?.type === 'changes') return value
  if (value?.type === 'live') return next(watching)
  throw new Error(`an event of changes, not ${value?.type}`)
}

async function shown(watching: Watching, count: number): Promise<string[]> {
  const lines: string[] = []
  while (lines.length < count) {
    const { value } = await watching.next()
    if (value?.type === 'live') lines.push('live')
    else if (value?.type === 'changes') {
      const { from = 'all', seq, entries } = value
      lines.push([`${from}..${seq}`, ...entries.map(shownEntry)].join(' '))
    } else throw new Error(`not ${value?.type}`)
  }
  return lines
}

function shownEntry({ change, key }: DiffEntry): string {
  return `${{ added: '+', removed: '-', changed: '~' }[change]}${key}`
}
