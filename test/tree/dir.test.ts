/** Directories against a plain Map: contents, order, and one shape for one content (rfc/5). */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { getEntry, notInMemory, peekEntry } from '../../src/tree/dir.js'
import { editDir } from '../../src/tree/dir-edit.js'
import { endBelow, hashName, nodeNamesMax } from '../../src/tree/node-end.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { compareNames } from '../../src/treeobj/key.js'
import { type Dir, emptyDir, type Treeobj } from '../../src/treeobj/treeobj.js'
import { dirOf, edited, NodeStore, namesOf, val } from './store.js'

const odd = ['__proto__', 'constructor', '0', '10', '2', '\uffff', '\u{1f600}', '\ue000', '\ud7ff']
const anyName = fc.oneof(
  fc.integer({ min: 0, max: 2000 }).map((n) => `n${n}`),
  fc.constantFrom(...odd),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).filter(isName),
  fc.integer({ min: 0, max: 99 }).map((n) => `${'long'.repeat(60)}${n}`),
)

function isName(name: string): boolean {
  return !/[/\0]/.test(name) && name !== '.' && name !== '..' && name.isWellFormed()
}

const edits = fc.array(fc.tuple(anyName, fc.option(fc.integer({ min: 0, max: 3 }))), {
  maxLength: 150,
})

function nameOf(n: number): string {
  return `k${String(n).padStart(6, '0')}`
}

function toEdits(list: readonly (readonly [string, number | null])[]) {
  return new Map(list.map(([name, n]) => [name, n === null ? undefined : val(`v${n}`)] as const))
}

describe('editDir()', () => {
  it('gives the same root for the same contents, whatever the history', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(edits, { maxLength: 8 }), async (history) => {
        const store = new NodeStore()
        const model = new Map<string, Treeobj>()
        let dir: Dir = emptyDir
        for (const list of history) {
          const step = toEdits(list)
          dir = await edited(store, dir, step)
          for (const [name, treeobj] of step) {
            if (treeobj) model.set(name, treeobj)
            else model.delete(name)
          }
        }
        expect(dir).toEqual(await dirOf(store, model))
        const names = [...model.keys()].sort((a, b) =>
          Buffer.compare(Buffer.from(a), Buffer.from(b)),
        )
        expect(await namesOf(store.cold(), dir)).toEqual(names)
        expect(dir.keys).toBe(model.size)
        expect(dir.size).toBe(model.size * 2)
      }),
      { numRuns: 60 },
    )
  })

  it('keeps one shape in a tree of several levels under single changes', async () => {
    const store = new NodeStore()
    const all = new Map<string, Treeobj>()
    for (let n = 0; n < 6000; n++) all.set(`name-${n}`, val(`${n}`))
    const whole = await dirOf(store, all)
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(5999), { minLength: 1, maxLength: 6 }), async (ns) => {
        let dir = whole
        for (const n of ns) dir = await edited(store, dir, [[`name-${n}`, undefined]])
        const less = new Map(all)
        for (const n of ns) less.delete(`name-${n}`)
        expect(dir).toEqual(await dirOf(store, less))
        for (const n of ns) dir = await edited(store, dir, [[`name-${n}`, val(`${n}`)]])
        expect(dir).toEqual(whole)
      }),
      { numRuns: 12 },
    )
  })

  it('loses any number of levels at once', async () => {
    const store = new NodeStore()
    const all = new Map<string, Treeobj>()
    for (let n = 0; n < 5000; n++) all.set(`name-${n}`, val('x'))
    const whole = await dirOf(store, all)
    const left = fc.uniqueArray(fc.nat(4999), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(left, async (ns) => {
        const rest = new Map<string, Treeobj>(ns.map((n) => [`name-${n}`, val('x')]))
        const gone = [...all.keys()].filter((name) => !rest.has(name))
        const dir = await edited(
          store,
          whole,
          gone.map((name) => [name, undefined] as const),
        )
        expect(dir).toEqual(await dirOf(store, rest))
      }),
      { numRuns: 10 },
    )
  })

  it('grows at both ends and shrinks to nothing, one by one and with one shape', async () => {
    const store = new NodeStore()
    const name = (n: number) => String(n).padStart(6, '0')
    let up: Dir = emptyDir
    let down: Dir = emptyDir
    const count = 400
    for (let n = 0; n < count; n++) {
      up = await edited(store, up, [[name(n), val('x')]])
      down = await edited(store, down, [[name(count - 1 - n), val('x')]])
    }
    expect(up).toEqual(down)
    for (let n = 0; n < count; n++) {
      if (n % 50 === 0) {
        const rest = new Map<string, Treeobj>()
        for (let left = n; left < count; left++) rest.set(name(left), val('x'))
        expect(up).toEqual(await dirOf(store, rest))
      }
      up = await edited(store, up, [[name(n), undefined]])
      down = await edited(store, down, [[name(count - 1 - n), undefined]])
    }
    expect(up).toEqual(emptyDir)
    expect(down).toEqual(emptyDir)
  })

  it('keeps one shape when runs of names go, far apart', async () => {
    const store = new NodeStore()
    const all = new Map(Array.from({ length: 3000 }, (_, n) => [nameOf(n), val('x')] as const))
    const whole = await dirOf(store, all)
    const run = fc.tuple(fc.nat(3100), fc.nat(1600))
    const list = fc.record({
      runs: fc.array(run, { maxLength: 3 }),
      put: fc.array(fc.nat(3200), { maxLength: 3 }),
      absent: fc.array(fc.nat(3000), { maxLength: 3 }),
    })
    const clearedStart = { runs: [[0, 300]] as [number, number][], put: [2999], absent: [] }
    await fc.assert(
      fc.asyncProperty(list, async ({ runs, put, absent }) => {
        const edits = new Map<string, Treeobj | undefined>()
        for (const n of absent) edits.set(`${nameOf(n)}!`, undefined)
        for (const [from, length] of runs) {
          for (let n = from; n < from + length; n++) edits.set(nameOf(n), undefined)
        }
        for (const n of put) edits.set(nameOf(n), val('y'))
        const left = new Map<string, Treeobj>(all)
        for (const [name, treeobj] of edits) {
          if (treeobj) left.set(name, treeobj)
          else left.delete(name)
        }
        expect(await edited(store, whole, edits)).toEqual(await dirOf(store, left))
      }),
      { numRuns: 40, examples: [[clearedStart]] },
    )
  })

  it('bounds its nodes under names that never end one', async () => {
    const store = new NodeStore()
    const hostile = new Map<string, Treeobj>()
    for (let n = 0; hostile.size < 3000; n++) {
      const name = `h${n}`
      if (hashName(name, 0) >= endBelow) hostile.set(name, val('x'.repeat(n % 250)))
    }
    const dir = await dirOf(store, hostile)
    for (const bytes of store.blobs.values()) expect(bytes.length).toBeLessThan(17 * 1024)
    const extra = [...hostile.keys()][1234] ?? ''
    const without = await edited(store, dir, [[extra, undefined]])
    expect(await edited(store, without, [[extra, hostile.get(extra)]])).toEqual(dir)
    expect(store.blobs.size).toBeGreaterThan(3000 / nodeNamesMax)
  })

  it('writes nothing for a change that changes nothing', async () => {
    const store = new NodeStore()
    const entries = Array.from({ length: 500 }, (_, n) => [`k${n}`, val(`${n}`)] as const)
    const dir = await dirOf(store, entries)
    const nodes = store.cold()
    const writer = new NodeWriter(nodes)
    expect(await editDir(nodes, writer, dir, new Map([['absent', undefined]]))).toBe(dir)
    expect(await editDir(nodes, writer, dir, new Map())).toBe(dir)
    expect(writer.blobs).toEqual([])
    expect(await edited(store, dir, [['k7', val('7')]])).toEqual(dir)
  })

  it('touches a few nodes of a large directory', async () => {
    const store = new NodeStore()
    const entries = Array.from({ length: 20_000 }, (_, n) => [`k${n}`, val('x')] as const)
    const dir = await dirOf(store, entries)
    const nodes = store.cold()
    const writer = new NodeWriter(nodes)
    await editDir(nodes, writer, dir, new Map([['k777', val('y')]]))
    expect(store.loads).toBeLessThanOrEqual(5)
    expect(writer.blobs.length).toBeLessThanOrEqual(5)
  })

  it('refuses what no directory can hold', async () => {
    const store = new NodeStore()
    const bad: readonly (readonly [string, Treeobj])[] = [
      ['', val('x')],
      ['a/b', val('x')],
      ['..', val('x')],
      ['n\0', val('x')],
      ['\ud800', val('x')],
      ['x'.repeat(256), val('x')],
      ['v', { type: 'val', data: Buffer.alloc(257) }],
      ['v', { type: 'val', data: Buffer.alloc(1), attrs: { sealed: true } }],
      ['v', { type: 'val', data: Buffer.alloc(1), attrs: { contentType: 'x'.repeat(256) } }],
      ['l', { type: 'symlink', target: '/a' }],
      ['l', { type: 'symlink', target: 'a', namespace: 'A' }],
    ]
    for (const [name, treeobj] of bad) {
      await expect(dirOf(store, [[name, treeobj]])).rejects.toMatchObject({ code: 'EINVAL' })
    }
    expect((await dirOf(store, [['x'.repeat(255), val('x')]])).keys).toBe(1)
  })

  it('keeps its own copy of an inline value', async () => {
    const store = new NodeStore()
    const nodes = new Nodes(store)
    const data = Buffer.from('before')
    const edit = new Map([['k', { type: 'val', data } as const]])
    const dir = await editDir(nodes, new NodeWriter(nodes), emptyDir, edit)
    data.write('after!')
    expect(await getEntry(nodes, dir, 'k')).toMatchObject({ data: Buffer.from('before') })
  })
})

describe('getEntry() and peekEntry()', () => {
  it('find what is there and nothing else', async () => {
    const store = new NodeStore()
    const entries = [...odd, ...Array.from({ length: 3000 }, (_, n) => `k${n}`)]
    const dir = await dirOf(
      store,
      entries.map((name) => [name, val(name)] as const),
    )
    const nodes = store.cold()
    expect(peekEntry(nodes, dir, 'k1')).toBe(notInMemory)
    for (const name of entries) {
      expect(await getEntry(nodes, dir, name)).toEqual(val(name))
      expect(peekEntry(nodes, dir, name)).toEqual(val(name))
    }
    for (const absent of ['', 'k', 'k3000', 'toString', '\u{10ffff}']) {
      expect(await getEntry(nodes, dir, absent)).toBeUndefined()
    }
    expect(peekEntry(nodes, emptyDir, 'k')).toBeUndefined()
  })

  it('miss a node that is not stored with EDANGLING', async () => {
    const dir = await dirOf(new NodeStore(), [['k', val('x')]])
    const lost = new Nodes(new NodeStore())
    await expect(getEntry(lost, dir, 'k')).rejects.toMatchObject({ code: 'EDANGLING' })
  })

  it('read the nodes of a writer that is in use, with no cache to speak of', async () => {
    const nodes = new Nodes(new NodeStore(), { cacheSize: 1 })
    const writer = new NodeWriter(nodes)
    const edits = new Map(Array.from({ length: 900 }, (_, n) => [`k${n}`, val(`${n}`)]))
    const dir = await editDir(nodes, writer, emptyDir, edits)
    expect(await getEntry(nodes, dir, 'k500')).toEqual(val('500'))
    expect(writer.blobs.length).toBeGreaterThan(10)
    writer[Symbol.dispose]()
    await expect(getEntry(nodes, dir, 'k500')).rejects.toMatchObject({ code: 'EDANGLING' })
  })
})

describe('listDir()', () => {
  it('goes on after any name, there or not, and loads only what it passes', async () => {
    const store = new NodeStore()
    const names = Array.from({ length: 4000 }, (_, n) => `k${String(n).padStart(5, '0')}`)
    const dir = await dirOf(
      store,
      names.map((name) => [name, val(name)] as const),
    )
    for (const at of [0, 1, 31, 32, 1999, 3998, 3999]) {
      expect(await namesOf(store.cold(), dir, names[at])).toEqual(names.slice(at + 1))
      expect(await namesOf(store.cold(), dir, `${names[at]}!`)).toEqual(names.slice(at + 1))
    }
    expect(await namesOf(store.cold(), dir, 'a')).toEqual(names)
    expect(await namesOf(store.cold(), dir, 'z')).toEqual([])
    const cold = store.cold()
    await namesOf(cold, dir, 'k03990')
    expect(store.loads).toBeLessThanOrEqual(6)
  })
})

describe('compareNames()', () => {
  it('is the order of the UTF-8 bytes', () => {
    const unit = fc.constantFrom(
      'a',
      'b',
      '\x7f',
      '\x80',
      '\u07ff',
      '\ud7ff',
      '\ue000',
      '\uffff',
      '\u{10000}',
    )
    const text = fc.array(unit, { maxLength: 5 }).map((units) => units.join(''))
    fc.assert(
      fc.property(text, text, (a, b) => {
        const bytes = Buffer.compare(Buffer.from(a), Buffer.from(b))
        expect(Math.sign(compareNames(a, b))).toBe(bytes)
      }),
    )
    expect(compareNames('\u{1f600}', '\uffff')).toBeGreaterThan(0)
  })
})
