/** The time of a namespace, as rfc/10 has it: what is retained, listed and pinned.
 *  Part of the contract of `Kvs`. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RootEntry } from '../../src/api/history.js'
import { type Kvs, pageSizeMax } from '../../src/api/kvs.js'
import type { SettingsChange } from '../../src/api/namespace.js'
import { settingsDefault } from '../../src/present/settings.js'
import { refusal, text } from './expect.js'

export function historyContract(kvs: () => Kvs): void {
  describe('by time', () => {
    it('root gives the one that was the newest then', async () => {
      const seqs: number[] = []
      for (let index = 0; index < 5; index++) {
        seqs.push((await kvs().put('key', String(index))).seq)
      }
      const { roots } = await kvs().history.roots()
      for (const [index, { time }] of roots.entries()) {
        const last = roots.findLastIndex((root) => root.time <= time)
        expect((await kvs().root({ time })).seq).toBe(roots[last]?.seq)
        const before = roots.findLast((root) => root.time < time)
        if (!before) continue
        expect((await kvs().root({ time: time - 1 })).seq).toBe(
          roots.findLast((root) => root.time <= time - 1)?.seq,
        )
        expect(index).toBeGreaterThan(0)
      }
      const now = await kvs().root({ time: Date.now() + 60_000 })
      expect(now).toEqual(await kvs().root())
      expect(text(await kvs().get('key', { at: now.seq }))).toBe('4')
    })

    it('a time before the oldest retained root is ECOMPACTED, and says which that is', async () => {
      await kvs().put('key', '1')
      const [oldest] = (await kvs().history.roots()).roots
      expect(await refusal(kvs().root({ time: 0 }))).toMatchObject({
        code: 'ECOMPACTED',
        failed: { state: { seq: oldest?.seq, time: oldest?.time } },
      })
      const both = { time: 0, waitSeq: 0 }
      expect((await refusal(kvs().root(both))).code).toBe('EINVAL')
    })
  })

  describe('settings', () => {
    it('are the defaults, change field by field in one commit, and are shown', async () => {
      expect((await shown(kvs(), 'primary')).settings).toEqual(settingsDefault)
      const { seq } = await kvs().root()
      const first = await kvs().namespaces.configure('primary', { historyCount: 7, quota: 1000 })
      expect(first).toEqual({ ...settingsDefault, historyCount: 7, quota: 1000 })
      expect((await kvs().root()).seq).toBe(seq + 1)
      await kvs().namespaces.configure('primary', { historyAgeMs: 0 })
      expect((await shown(kvs(), 'primary')).settings).toEqual({
        ...settingsDefault,
        historyCount: 7,
        historyAgeMs: 0,
        quota: 1000,
      })
      const last = await kvs().namespaces.configure('primary', { quota: null })
      expect(last).toEqual({ ...settingsDefault, historyCount: 7, historyAgeMs: 0 })
    })

    it('out of bounds are EINVAL, of what is not there ENONS; neither commits', async () => {
      const { seq } = await kvs().root()
      const wrong: SettingsChange[] = [
        { historyCount: 0 },
        { historyCount: 1.5 },
        { historyAgeMs: -1 },
        { historySize: Number.NaN },
        { quota: -1 },
        { unknown: 1 } as SettingsChange,
      ]
      for (const change of wrong) {
        const { code } = await refusal(kvs().namespaces.configure('primary', change))
        expect(code, JSON.stringify(change)).toBe('EINVAL')
      }
      expect((await refusal(kvs().namespaces.configure('nowhere', {}))).code).toBe('ENONS')
      expect((await kvs().root()).seq).toBe(seq)
    })

    it('of a reserved namespace are its owner’s to change', async () => {
      await kvs().namespaces.configure('jobs', { historyCount: 3 })
      expect((await shown(kvs(), 'jobs')).settings.historyCount).toBe(3)
    })
  })

  describe('retention', () => {
    it('by count keeps exactly the last roots, and what went stays gone', async () => {
      await only(kvs(), 3)
      const last = await puts(kvs(), 'k', ['1', '2', '3', '4', '5'])
      expect(await seqs(kvs())).toEqual([last - 2, last - 1, last])
      expect(text(await kvs().get('k', { at: last - 2 }))).toBe('3')
      expect((await refusal(kvs().get('k', { at: last - 3 }))).code).toBe('ECOMPACTED')
      await kvs().namespaces.configure('primary', { historyCount: 100 })
      expect(await seqs(kvs())).toEqual([last - 2, last - 1, last, last + 1])
      expect((await refusal(kvs().get('k', { at: last - 3 }))).code).toBe('ECOMPACTED')
    })

    it('refuses a ref below the floor, and takes one above it', async () => {
      await only(kvs(), 2)
      const first = await kvs().put('k', '1')
      const second = await kvs().put('k', '2')
      expect(text(await kvs().get('k', { at: first.ref }))).toBe('1')
      await kvs().put('k', '3')
      expect((await refusal(kvs().get('k', { at: first.ref }))).code).toBe('ECOMPACTED')
      expect(text(await kvs().get('k', { at: second.ref }))).toBe('2')
    })

    it('keeps a young root though it is not among the last', async () => {
      await kvs().namespaces.configure('primary', { historyCount: 1 })
      const first = await kvs().put('k', '1')
      await puts(kvs(), 'k', ['2', '3', '4'])
      expect(text(await kvs().get('k', { at: first.seq }))).toBe('1')
    })

    it('by bytes lets the oldest go, however few and young; the newest stays', async () => {
      await kvs().namespaces.configure('primary', { historySize: 100_000 })
      for (let at = 0; at < 6; at++) await kvs().put('k', Buffer.alloc(40_000, at))
      const { seq } = await kvs().root()
      expect(await seqs(kvs())).toEqual([seq - 2, seq - 1, seq])
      await kvs().namespaces.configure('primary', { historySize: 0 })
      expect(await seqs(kvs())).toEqual([seq + 1])
    })

    it('does not count what the tree still has: a log may grow beyond the bound', async () => {
      await kvs().namespaces.configure('primary', { historySize: 50_000 })
      const { seq } = await kvs().root()
      for (let at = 0; at < 8; at++) await kvs().append('log', Buffer.alloc(20_000, at))
      expect((await seqs(kvs()))[0]).toBeLessThanOrEqual(seq + 1)
    })

    it('at the newest root is always there; a seq to come is EINVAL', async () => {
      await only(kvs(), 1)
      const { seq } = await kvs().put('k', 'v')
      expect(text(await kvs().get('k', { at: seq }))).toBe('v')
      expect((await refusal(kvs().get('k', { at: seq + 1 }))).code).toBe('EINVAL')
    })

    it('is exactly what the rule says, whatever is committed', async () => {
      const step = fc.oneof(
        fc.record({ put: fc.nat(3), size: fc.nat(600) }),
        fc.record({ historyCount: fc.integer({ min: 1, max: 6 }) }),
        fc.record({ historySize: fc.integer({ min: 0, max: 4_000 }) }),
      )
      let round = 0
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
          const namespace = `rule-${round++}`
          await kvs().namespaces.create(namespace)
          const { settings } = await shown(kvs(), namespace)
          let rule = { ...settings, historyAgeMs: 0 }
          await kvs().namespaces.configure(namespace, { historyAgeMs: 0 })
          let retained = [0, 1]
          // By count alone: what bytes let go is checked to be the oldest only.
          for (const each of steps) {
            if ('put' in each) {
              await kvs().put(`k${each.put}`, Buffer.alloc(each.size, each.put), { namespace })
            } else {
              await kvs().namespaces.configure(namespace, each)
              rule = { ...rule, ...each }
            }
            const { seq } = await kvs().root({ namespace })
            const allowed = [...retained, seq].slice(-rule.historyCount)
            const now = await seqs(kvs(), namespace)
            expect(now).toEqual(allowed.slice(allowed.length - now.length))
            if (rule.historySize === settings.historySize) expect(now).toEqual(allowed)
            expect(now.at(-1)).toBe(seq)
            retained = now
            for (let at = 0; at <= seq; at++) {
              const read = kvs().stat('/', { namespace, at })
              if (now.includes(at)) expect((await read)?.seq).toBe(at)
              else expect((await refusal(read)).code).toBe('ECOMPACTED')
            }
          }
          await kvs().namespaces.remove(namespace)
        }),
        { numRuns: 6 },
      )
    })
  })

  describe('pages', () => {
    const names = ['a', 'b', 'c/d', 'e']
    const begin = async () => {
      await kvs().commit({ ops: names.map((key) => ({ op: 'put', key, value: key })) })
      await only(kvs(), 1)
      const { seq } = await kvs().root()
      return seq
    }
    const change = async () => {
      await kvs().put('bb', 'new')
      await kvs().commit({ ops: [{ op: 'unlink', key: 'c', recursive: true }] })
      await kvs().upkeep.collect()
    }

    it.each([false, true])(
      'of a list go on at the root of the first (recursive: %s)',
      async (recursive) => {
        const seq = await begin()
        const all = (await kvs().list('', { recursive })).entries
        let page = await kvs().list('', { recursive, limit: 1 })
        const read = [...page.entries]
        while (page.more) {
          await change()
          const after = read.at(-1)?.name ?? ''
          page = await kvs().list('', { recursive, limit: 1, at: seq, after })
          read.push(...page.entries)
        }
        expect(read).toEqual(all)
      },
    )

    it('of a difference go on at its roots', async () => {
      const from = await begin()
      await kvs().namespaces.configure('primary', { historyCount: 2 })
      const asked = { from: from + 1, limit: 1 }
      await kvs().commit({ ops: names.map((key) => ({ op: 'put', key, value: `${key}!` })) })
      let page = await kvs().history.diff(asked)
      const { to } = page
      const read = page.entries.map(({ key }) => key)
      while (page.more) {
        await change()
        page = await kvs().history.diff({ ...asked, to, after: read.at(-1) ?? '' })
        read.push(...page.entries.map(({ key }) => key))
      }
      expect(read).toEqual(names)
    })

    it('of a treeobj go on at its root', async () => {
      const ops = [1, 2, 3].map((at) => ({ op: 'append', key: 'log', value: `${at}` }) as const)
      const { seq } = await kvs().commit({ ops })
      await only(kvs(), 1)
      const at = seq + 1
      const first = await kvs().treeobj('log', { limit: 2 })
      await change()
      await kvs().put('log', 'other')
      const second = await kvs().treeobj('log', { at, after: first?.next ?? 0 })
      expect(second?.count).toBe(3)
      expect(second?.data).toHaveLength(1)
    })

    it('that nothing follows keep no root', async () => {
      const seq = await begin()
      expect((await kvs().list('')).more).toBe(false)
      await change()
      expect(await refusal(kvs().list('', { at: seq }))).toMatchObject({ code: 'ECOMPACTED' })
    })
  })

  describe('roots()', () => {
    it('pages both ways, each root once, with the keys that it changed', async () => {
      const start = (await kvs().root()).seq
      const last = await puts(kvs(), 'a/k', ['1', '2', '3', '4', '5'])
      const all = await kvs().history.roots()
      expect(all.more).toBe(false)
      expect(all.roots.map(({ seq }) => seq)).toEqual(range(0, last))
      expect(all.roots.at(-1)).toMatchObject({ seq: last, ref: (await kvs().root()).ref })
      expect(all.roots.at(-1)?.keys).toEqual(['a/k'])
      for (const limit of [1, 2, last, last + 1]) {
        expect(await forwards(kvs(), limit)).toEqual(all.roots)
        expect(await backwards(kvs(), limit)).toEqual(all.roots.toReversed())
      }
      const { roots, more } = await kvs().history.roots({ after: start, before: last, limit: 2 })
      expect({ seqs: roots.map(({ seq }) => seq), more }).toEqual({
        seqs: [start + 1, start + 2],
        more: true,
      })
    })

    it('has one entry for a group, and finds old ones back though seqs are sparse', async () => {
      for (let at = 0; at < 5; at++) {
        await Promise.all(range(1, 40).map((n) => kvs().put(`k${n}`, `${at}`)))
      }
      const all = (await kvs().history.roots()).roots
      expect(await backwards(kvs(), 1)).toEqual(all.toReversed())
    })

    it('that name many long keys come in pages that are bounded in size', async () => {
      const directory = Array.from({ length: 3 }, () => 'd'.repeat(255)).join('/')
      const keys = range(1, 60).map((n) => `${directory}/${'k'.repeat(200)}${n}`)
      for (let value = 0; value < 90; value++) {
        const ops = keys.map((key) => ({ op: 'put', key, value: `${value}` }) as const)
        await kvs().commit({ ops })
      }
      for (const newest of [false, true]) {
        const { roots, more } = await kvs().history.roots({ newest, limit: 10_000 })
        const sizes = roots.map(({ keys = [] }) => keys.join('').length)
        const size = sizes.reduce((sum, each) => sum + each, 0)
        expect({ more, beyond: size > pageSizeMax }).toEqual({ more: true, beyond: true })
        expect(size - (sizes.at(-1) ?? 0)).toBeLessThanOrEqual(pageSizeMax)
      }
      const { seq } = await kvs().root()
      const all = await forwards(kvs(), 10_000)
      expect(all.map((root) => root.seq)).toEqual(range(0, seq))
      expect(await backwards(kvs(), 10_000)).toEqual(all.toReversed())
    })

    it('of a page that cannot be, or a namespace that is not there, are refused', async () => {
      for (const options of [{ limit: 0 }, { limit: 10_001 }, { after: -1 }, { before: 0.5 }]) {
        expect((await refusal(kvs().history.roots(options))).code).toBe('EINVAL')
      }
      expect((await refusal(kvs().history.roots({ namespace: 'nowhere' }))).code).toBe('ENONS')
    })
  })

  describe('differences and lists of long keys', () => {
    it('come in pages that are bounded in size', async () => {
      const from = (await kvs().root()).seq
      const directory = Array.from({ length: 3 }, () => 'd'.repeat(255)).join('/')
      const keys = range(1_001, 6_000).map((n) => `${directory}/${'k'.repeat(200)}${n}`)
      for (let at = 0; at < keys.length; at += 1_000) {
        const ops = keys
          .slice(at, at + 1_000)
          .map((key) => ({ op: 'put', key, value: '' }) as const)
        await kvs().commit({ ops })
      }
      const pages = { diff: [] as string[][], list: [] as string[][] }
      for (let after: string | undefined, more = true; more; after = pages.diff.at(-1)?.at(-1)) {
        const page = await kvs().history.diff({ from, limit: 10_000, ...(after && { after }) })
        pages.diff.push(page.entries.map(({ key }) => key))
        more = page.more
      }
      for (let after: string | undefined, more = true; more; after = pages.list.at(-1)?.at(-1)) {
        const page = await kvs().list('', {
          recursive: true,
          limit: 10_000,
          ...(after && { after }),
        })
        pages.list.push(page.entries.map(({ name }) => name))
        more = page.more
      }
      for (const [first = [], ...others] of Object.values(pages)) {
        const size = first.join('').length
        expect(size).toBeGreaterThan(pageSizeMax)
        expect(size - (first.at(-1)?.length ?? 0)).toBeLessThanOrEqual(pageSizeMax)
        const found = [...first, ...others.flat()]
        expect(found.filter((name) => name.includes('k'))).toEqual(keys)
      }
    })
  })

  describe('pins', () => {
    it('keep a root whatever goes, by name, until they are taken away', async () => {
      await only(kvs(), 2)
      const { seq, ref } = await kvs().put('k', 'pinned')
      const pin = await kvs().history.pin('release-1')
      const root = await kvs().root()
      expect(pin).toMatchObject({ name: 'release-1', namespace: 'primary', seq, ref })
      expect(pin).toMatchObject({ incarnation: root.incarnation, time: root.time })
      await puts(kvs(), 'k', ['2', '3', '4'])
      expect(text(await kvs().get('k', { at: seq }))).toBe('pinned')
      expect(text(await kvs().get('k', { at: ref }))).toBe('pinned')
      expect((await kvs().history.diff({ from: ref })).entries.map((entry) => entry.key)).toEqual([
        'k',
      ])
      expect(await kvs().history.pins()).toEqual([pin])
      await kvs().history.unpin('release-1')
      expect(await kvs().history.pins()).toEqual([])
      expect((await refusal(kvs().get('k', { at: ref }))).code).toBe('ECOMPACTED')
      expect((await refusal(kvs().history.unpin('release-1'))).code).toBe('ENOENT')
    })

    it('are shown with their roots; the same pin again is the same, another is EEXIST', async () => {
      const { seq } = await kvs().put('k', '1')
      const pin = await kvs().history.pin('b', { at: seq })
      await kvs().history.pin('a', { at: seq })
      await kvs().put('k', '2')
      expect(await kvs().history.pin('b', { at: seq })).toEqual(pin)
      expect((await refusal(kvs().history.pin('b'))).code).toBe('EEXIST')
      expect((await kvs().history.pins()).map(({ name }) => name)).toEqual(['a', 'b'])
      const shownRoots = (await kvs().history.roots()).roots
      expect(shownRoots.find((root) => root.seq === seq)?.pins).toEqual(['a', 'b'])
      expect(shownRoots.at(-1)?.pins).toBeUndefined()
    })

    it('of names, roots and namespaces that cannot be are refused', async () => {
      for (const name of ['', 'a b', 'ä', 'x'.repeat(129)]) {
        expect((await refusal(kvs().history.pin(name))).code, name).toBe('EINVAL')
      }
      await kvs().history.pin('x'.repeat(128))
      const { seq } = await kvs().root()
      expect((await refusal(kvs().history.pin('p', { at: seq + 1 }))).code).toBe('EINVAL')
      expect((await refusal(kvs().history.pin('p', { namespace: 'nowhere' }))).code).toBe('ENONS')
      await kvs().history.unpin('x'.repeat(128))
      await only(kvs(), 1)
      expect((await refusal(kvs().history.pin('p', { at: seq }))).code).toBe('ECOMPACTED')
    })

    it('do not resolve in another life of their namespace', async () => {
      await kvs().namespaces.create('life')
      const { ref } = await kvs().put('k', 'then', { namespace: 'life' })
      const pin = await kvs().history.pin('p', { namespace: 'life' })
      await kvs().namespaces.remove('life')
      await kvs().namespaces.create('life')
      expect(await kvs().history.pins()).toEqual([pin])
      const { code } = await refusal(kvs().get('k', { namespace: 'life', at: ref }))
      expect(code).toBe('ECOMPACTED')
    })
  })
}

async function shown(kvs: Kvs, name: string) {
  const found = (await kvs.namespaces.list()).find((each) => each.name === name)
  if (!found) throw new Error(`${name} must be there`)
  return found
}

/** Retention by count alone. */
async function only(kvs: Kvs, historyCount: number): Promise<void> {
  await kvs.namespaces.configure('primary', { historyCount, historyAgeMs: 0 })
}

async function puts(kvs: Kvs, name: string, values: readonly string[]): Promise<number> {
  let seq = 0
  for (const value of values) seq = (await kvs.put(name, value)).seq
  return seq
}

async function seqs(kvs: Kvs, namespace = 'primary'): Promise<number[]> {
  return (await kvs.history.roots({ namespace, limit: 10_000 })).roots.map(({ seq }) => seq)
}

async function forwards(kvs: Kvs, limit: number): Promise<RootEntry[]> {
  const found: RootEntry[] = []
  for (;;) {
    const after = found.at(-1)?.seq
    const { roots, more } = await kvs.history.roots({
      limit,
      ...(after === undefined ? {} : { after }),
    })
    found.push(...roots)
    if (!more) return found
  }
}

async function backwards(kvs: Kvs, limit: number): Promise<RootEntry[]> {
  const found: RootEntry[] = []
  for (;;) {
    const before = found.at(-1)?.seq
    const where = before === undefined ? {} : { before }
    const { roots, more } = await kvs.history.roots({ newest: true, limit, ...where })
    found.push(...roots)
    if (!more) return found
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, at) => from + at)
}
