/** What differs between two roots, and the past of one key, as rfc/10 has it. Part of the contract of
 *  `Kvs`. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DiffEntry } from '../../src/api/history.js'
import type { Kvs, ListEntry } from '../../src/api/kvs.js'
import { refusal } from './expect.js'

export function pastContract(kvs: () => Kvs): void {
  describe('diff()', () => {
    it('names what was added, removed and changed, with both sides', async () => {
      await kvs().put('same', 'x')
      await kvs().put('old', 'x')
      const { seq: from } = await kvs().put('dir/changed', 'one')
      await kvs().commit({
        ops: [
          { op: 'unlink', key: 'old' },
          { op: 'put', key: 'dir/changed', value: 'three' },
          { op: 'put', key: 'new/a', value: 'xy' },
        ],
      })
      const page = await kvs().history.diff({ from })
      expect(page).toMatchObject({ from, to: from + 1, more: false })
      expect(page.entries.map(({ key, change }) => [change, key])).toEqual([
        ['changed', 'dir/changed'],
        ['added', 'new'],
        ['added', 'new/a'],
        ['removed', 'old'],
      ])
      const [changed, directory, added, removed] = page.entries
      expect(changed).toMatchObject({ before: { size: 3 }, after: { size: 5, type: 'val' } })
      expect(changed?.after?.ref).toBe((await kvs().stat('dir/changed'))?.ref)
      expect(directory?.after).toMatchObject({ type: 'dir', count: 1, size: 2 })
      expect(added?.before).toBeUndefined()
      expect(removed?.after).toBeUndefined()
      const back = await kvs().history.diff({ from: from + 1, to: from })
      expect(back.entries.map(({ change }) => change)).toEqual([
        'changed',
        'removed',
        'removed',
        'added',
      ])
      expect((await kvs().history.diff({ from, to: from })).entries).toEqual([])
    })

    it('below a prefix shows that key and what is in it, and nothing beside it', async () => {
      await kvs().put('a', '1')
      const { seq: from } = await kvs().put('ab/c', '1')
      await kvs().commit({
        ops: ['a', 'ab/c', 'ab/d', 'abc'].map((key) => ({ op: 'put', key, value: '2' })),
      })
      const below = async (prefix: string) =>
        (await kvs().history.diff({ from, prefix })).entries.map(({ key }) => key)
      expect(await below('a')).toEqual(['a'])
      expect(await below('ab')).toEqual(['ab/c', 'ab/d'])
      expect(await below('ab/d')).toEqual(['ab/d'])
      expect(await below('abc')).toEqual(['abc'])
      expect(await below('b')).toEqual([])
      expect(await below('/')).toEqual(['a', 'ab/c', 'ab/d', 'abc'])
    })

    it('goes on after any key, there or not, in pages of any size', async () => {
      const { seq: from } = await kvs().root()
      await kvs().commit({
        ops: ['b', 'd/a', 'd/c/x', 'd!', 'e'].map((key) => ({ op: 'put', key, value: key })),
      })
      const { entries: all } = await kvs().history.diff({ from })
      expect(all.map(({ key }) => key)).toEqual(['b', 'd', 'd/a', 'd/c', 'd/c/x', 'd!', 'e'])
      for (const limit of [1, 2, 3, 7, 8]) {
        expect(await differences(kvs(), { from }, limit)).toEqual(all)
      }
      const rest = async (key: string, prefix = '/') => {
        const page = await kvs().history.diff({ from, after: key, prefix })
        return page.entries.map((entry) => entry.key)
      }
      expect(await rest('a')).toEqual(all.map(({ key }) => key))
      expect(await rest('d/b')).toEqual(['d/c', 'd/c/x', 'd!', 'e'])
      expect(await rest('d/c/x/y')).toEqual(['d!', 'e'])
      expect(await rest('z')).toEqual([])
      expect(await rest('d/a', 'd')).toEqual(['d/c', 'd/c/x'])
      expect(await rest('d', 'd')).toEqual(['d/a', 'd/c', 'd/c/x'])
      expect(await rest('a', 'd')).toEqual(['d', 'd/a', 'd/c', 'd/c/x'])
      expect(await rest('e', 'd')).toEqual([])
    })

    it('applied to the one listing gives the other', async () => {
      const op = fc.oneof(
        fc.record({
          op: fc.constant('put' as const),
          key: key(),
          value: fc.constantFrom('1', '2', 'long'.repeat(100)),
        }),
        fc.record({ op: fc.constant('unlink' as const), key: key(), recursive: fc.constant(true) }),
        fc.record({ op: fc.constant('mkdir' as const), key: key() }),
        fc.record({ op: fc.constant('append' as const), key: key(), value: fc.constant('+') }),
      )
      await fc.assert(
        fc.asyncProperty(fc.array(op, { maxLength: 25 }), fc.nat(), async (ops, pick) => {
          const seqsSeen = [(await kvs().root()).seq]
          for (const each of ops) {
            // Below a value, over a directory: refused, and nothing to see.
            const done = await kvs()
              .commit({ ops: [each] })
              .catch(() => undefined)
            if (done) seqsSeen.push(done.seq)
          }
          const from = seqsSeen[pick % seqsSeen.length] ?? 0
          const to = seqsSeen.at(-1) ?? 0
          const entries = await differences(kvs(), { from, to }, 3)
          const [before, after] = [await listed(kvs(), from), await listed(kvs(), to)]
          for (const { key: name, change, before: old, after: now } of entries) {
            expect(before.get(name)).toEqual(change === 'added' ? undefined : measured(old))
            if (now) before.set(name, measured(now))
            else before.delete(name)
          }
          // What a directory on both sides holds has changed with what is in it.
          for (const [name, side] of after) if (side.type === 'dir') before.set(name, side)
          expect(new Map([...before].sort())).toEqual(new Map([...after].sort()))
        }),
        { numRuns: 8 },
      )
    })

    it('of roots that are gone, to come or of another namespace are refused', async () => {
      const { seq, ref } = await kvs().put('k', '1')
      await kvs().namespaces.create('other')
      expect((await refusal(kvs().history.diff({ from: seq + 1 }))).code).toBe('EINVAL')
      expect((await refusal(kvs().history.diff({ from: 'no ref' }))).code).toBe('EINVAL')
      expect((await refusal(kvs().history.diff({ from: ref, namespace: 'other' }))).code).toBe(
        'ECOMPACTED',
      )
      expect((await refusal(kvs().history.diff({ from: 0, namespace: 'nowhere' }))).code).toBe(
        'ENONS',
      )
      await only(kvs(), 1)
      expect((await refusal(kvs().history.diff({ from: seq }))).code).toBe('ECOMPACTED')
    })
  })

  describe('log()', () => {
    it('tells newest first what a key became, and when it went', async () => {
      const one = await kvs().put('k', '1')
      await kvs().put('beside', 'x')
      await kvs().append('k', '22')
      const same = await kvs().put('same', '1')
      await kvs().commit({ ops: [{ op: 'unlink', key: 'k' }] })
      const again = await kvs().put('k', '333')
      await kvs().put('k', '333')
      const { entries, next, oldest } = await kvs().history.log('k')
      expect({ next, oldest }).toEqual({ next: undefined, oldest: 0 })
      expect(entries.map(({ seq, value }) => [seq, value?.size])).toEqual([
        [again.seq, 3],
        [same.seq + 1, undefined],
        [same.seq - 1, 3],
        [one.seq, 1],
      ])
      expect(entries[0]?.value?.ref).toBe(again.result.ref)
      expect((await kvs().history.log('never')).entries).toEqual([])
    })

    it('of a directory tells all that happened below, of a key what happened above', async () => {
      const { seq } = await kvs().put('d/e/k', '1')
      await kvs().put('d/e/l', '1')
      await kvs().put('f', '1')
      await kvs().commit({ ops: [{ op: 'unlink', key: 'd', recursive: true }] })
      const of = async (key: string) =>
        (await kvs().history.log(key)).entries.map((entry) => entry.seq)
      expect(await of('d/e')).toEqual([seq + 3, seq + 1, seq])
      expect(await of('d/e/k')).toEqual([seq + 3, seq])
      expect((await of('/')).slice(0, 4)).toEqual([seq + 3, seq + 2, seq + 1, seq])
    })

    it('equals a look at every root, in pages of any size', async () => {
      const values = fc.constantFrom('1', '2', undefined)
      const steps = fc.array(fc.tuple(key(), values), { maxLength: 25 })
      await fc.assert(
        fc.asyncProperty(steps, fc.integer({ min: 1, max: 5 }), async (all, limit) => {
          for (const [name, value] of all) {
            const op =
              value === undefined
                ? ({ op: 'unlink', key: name, recursive: true } as const)
                : ({ op: 'put', key: name, value } as const)
            await kvs()
              .commit({ ops: [op] })
              .catch(() => undefined)
          }
          for (const name of ['a', 'a/b', 'c']) {
            expect(await past(kvs(), name, limit)).toEqual(await scanned(kvs(), name))
          }
        }),
        { numRuns: 5 },
      )
    })

    it('ends at the floor, which it names; what was there before is not told', async () => {
      await only(kvs(), 3)
      let last = 0
      for (const value of ['1', '2', '3', '4']) last = (await kvs().put('k', value)).seq
      const { entries, oldest } = await kvs().history.log('k')
      expect(oldest).toBe(last - 2)
      expect(entries.map(({ seq }) => seq)).toEqual([last, last - 1])
    })
  })
}

function key() {
  return fc.constantFrom('a', 'a/b', 'a/b/c', 'a/d', 'c', 'c/a', 'e')
}

async function differences(
  kvs: Kvs,
  roots: { readonly from: number; readonly to?: number },
  limit: number,
): Promise<DiffEntry[]> {
  const found: DiffEntry[] = []
  for (;;) {
    const after = found.at(-1)?.key
    const page = await kvs.history.diff({
      ...roots,
      limit,
      ...(after === undefined ? {} : { after }),
    })
    found.push(...page.entries)
    if (!page.more) return found
  }
}

type Measured = Omit<ListEntry, 'name'>

function measured(side: Measured | undefined): Measured {
  if (!side) throw new Error('a side must be there')
  const { type, count, size } = side
  return { type, count, size }
}

async function listed(kvs: Kvs, at: number): Promise<Map<string, Measured>> {
  const { entries } = await kvs.list('/', { at, recursive: true, limit: 10_000 })
  return new Map(entries.map((entry) => [entry.name, measured(entry)]))
}

async function past(kvs: Kvs, name: string, limit: number) {
  const found: { seq: number; ref: string | undefined }[] = []
  let before: number | undefined
  for (;;) {
    const page = await kvs.history.log(name, { limit, ...(before === undefined ? {} : { before }) })
    found.push(...page.entries.map(({ seq, value }) => ({ seq, ref: value?.ref })))
    if (page.next === undefined) return found
    before = page.next
  }
}

async function scanned(kvs: Kvs, name: string) {
  const found: { seq: number; ref: string | undefined }[] = []
  let before: string | undefined
  for (const { seq } of (await kvs.history.roots({ limit: 10_000 })).roots) {
    const ref = (await kvs.stat(name, { at: seq, nofollow: true }))?.ref
    if (ref !== before) found.push({ seq, ref })
    before = ref
  }
  return found.reverse()
}

/** Retention by count alone. */
async function only(kvs: Kvs, historyCount: number): Promise<void> {
  await kvs.namespaces.configure('primary', { historyCount, historyAgeMs: 0 })
}
