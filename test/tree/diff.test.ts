/** The difference of two trees is exactly what changed, and what did not is not even loaded (rfc/5). */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Difference, diffDir } from '../../src/tree/diff.js'
import { Nodes } from '../../src/tree/nodes.js'
import { sameTreeobj } from '../../src/treeobj/codec.js'
import { compareNames, parseKey } from '../../src/treeobj/key.js'
import { type Dir, emptyDir, type Treeobj } from '../../src/treeobj/treeobj.js'
import { dirOf, edited, NodeStore, val } from './store.js'

/** A tree as a model: a name has a value, or names of its own. */
type Model = { readonly [name: string]: number | Model }

const { model } = fc.letrec<{ model: Model; below: number | Model }>((tie) => ({
  model: fc.dictionary(
    fc.oneof(
      fc.integer({ min: 0, max: 60 }).map((n) => `n${n}`),
      fc.constantFrom('\uffff', '\u{1f600}', 'n1-', 'n1.'),
    ),
    tie('below'),
    { maxKeys: 60, noNullPrototype: true },
  ),
  below: fc.oneof({ depthSize: 'small' }, fc.nat(2), tie('model')),
}))

async function store(nodes: NodeStore, tree: Model, flat: Map<string, Treeobj>, under = '') {
  const entries: [string, Treeobj][] = []
  for (const [name, value] of Object.entries(tree)) {
    const key = `${under}${name}`
    const treeobj: Treeobj =
      typeof value === 'number' ? val(`${value}`) : await store(nodes, value, flat, `${key}/`)
    flat.set(key, treeobj)
    entries.push([name, treeobj])
  }
  return dirOf(nodes, entries)
}

function expected(before: Map<string, Treeobj>, after: Map<string, Treeobj>): Difference[] {
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort(compareKeys)
  return keys.flatMap((key) => {
    const [old, now] = [before.get(key), after.get(key)]
    if (old && now && (sameTreeobj(old, now) || (old.type === 'dir' && now.type === 'dir')))
      return []
    return [{ key: parseKey(key), ...(old && { before: old }), ...(now && { after: now }) }]
  })
}

function compareKeys(a: string, b: string): number {
  const [left, right] = [a.split('/'), b.split('/')]
  for (const [at, name] of left.entries()) {
    const other = right[at]
    const order = other === undefined ? 1 : compareNames(name, other)
    if (order !== 0) return order
  }
  return left.length - right.length
}

async function diff(
  nodes: Nodes,
  before: Dir,
  after: Dir,
  passed?: readonly string[],
): Promise<Difference[]> {
  const differences: Difference[] = []
  const options = passed ? { after: passed } : {}
  for await (const difference of diffDir(nodes, before, after, options)) {
    differences.push(difference)
  }
  return differences
}

describe('diffDir()', () => {
  it('is exactly what differs, in order', async () => {
    await fc.assert(
      fc.asyncProperty(model, model, async (old, now) => {
        const nodes = new NodeStore()
        const [before, after] = [new Map<string, Treeobj>(), new Map<string, Treeobj>()]
        const roots = [await store(nodes, old, before), await store(nodes, now, after)] as const
        expect(await diff(nodes.cold(), ...roots)).toEqual(expected(before, after))
        expect(await diff(nodes.cold(), roots[0], roots[0])).toEqual([])
        const all = [...before.keys()].sort(compareKeys)
        const removed = await diff(nodes.cold(), roots[0], emptyDir)
        expect(removed.map(({ key }) => key)).toEqual(all)
      }),
      { numRuns: 60 },
    )
  })

  it('holds on trees of several levels, whichever is the higher', async () => {
    const nodes = new NodeStore()
    const whole = new Map<string, Treeobj>()
    for (let n = 0; n < 3000; n++) whole.set(`k${n}`, val('x'))
    const large = await dirOf(nodes, whole)
    const changes = fc.uniqueArray(fc.tuple(fc.nat(3200), fc.boolean()), {
      selector: ([n]) => n,
      maxLength: 40,
    })
    await fc.assert(
      fc.asyncProperty(changes, fc.boolean(), async (list, fromLarge) => {
        const edits = list.map(([n, put]) => [`k${n}`, put ? val('y') : undefined] as const)
        const base = fromLarge ? large : emptyDir
        const after = new Map(fromLarge ? whole : [])
        for (const [name, treeobj] of edits) {
          if (treeobj) after.set(name, treeobj)
          else after.delete(name)
        }
        const dir = await edited(nodes, base, edits)
        expect(await diff(nodes.cold(), large, dir)).toEqual(expected(whole, after))
      }),
      { numRuns: 20 },
    )
  })

  it('loads only what differs', async () => {
    const nodes = new NodeStore()
    const entries = Array.from({ length: 20_000 }, (_, n) => [`k${n}`, val('x')] as const)
    const before = await dirOf(nodes, entries)
    const after = await edited(nodes, before, [['k12345', val('y')]])
    const cold = nodes.cold()
    const [only, ...others] = await diff(cold, before, after)
    expect(only).toEqual({ key: 'k12345', before: val('x'), after: val('y') })
    expect(others).toEqual([])
    expect(nodes.loads).toBeLessThanOrEqual(12)
  })

  it('goes on after any key, there or not, with just what is left', async () => {
    const name = fc.oneof(
      fc.integer({ min: 0, max: 60 }).map((n) => `n${n}`),
      fc.constantFrom('\uffff', 'n1-', 'a', 'z'),
    )
    const passed = fc.array(name, { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(model, model, passed, fc.nat(), async (old, now, after, pick) => {
        const nodes = new NodeStore()
        const [a, b] = [await store(nodes, old, new Map()), await store(nodes, now, new Map())]
        const all = await diff(nodes.cold(), a, b)
        const key = after.join('/')
        const left = all.filter((each) => compareKeys(each.key, key) > 0)
        expect(await diff(nodes.cold(), a, b, after)).toEqual(left)
        const at = pick % Math.max(1, all.length)
        const there = all[at]?.key.split('/')
        if (there) expect(await diff(nodes.cold(), a, b, there)).toEqual(all.slice(at + 1))
      }),
      { numRuns: 30 },
    )
  })

  it('goes on in a large directory without a walk through what is before', async () => {
    const nodes = new NodeStore()
    const names = Array.from({ length: 20_000 }, (_, n) => `k${String(n).padStart(5, '0')}`)
    const dir = await dirOf(
      nodes,
      names.map((name) => [name, val('x')] as const),
    )
    const cold = nodes.cold()
    for (const [before, after] of [
      [emptyDir, dir],
      [dir, emptyDir],
    ] as const) {
      nodes.loads = 0
      for await (const { key } of diffDir(cold, before, after, { after: ['k15000'] })) {
        expect(key).toBe('k15001')
        break
      }
      expect(nodes.loads).toBeLessThanOrEqual(6)
    }
    expect(await diff(nodes.cold(), emptyDir, dir, ['k19999'])).toEqual([])
    expect(await diff(nodes.cold(), emptyDir, dir, ['zzz'])).toEqual([])
  })

  it('puts the directory that it looks under before the keys', async () => {
    const nodes = new NodeStore()
    const dir = await dirOf(nodes, [['k', val('x')]])
    const under = parseKey('a/b')
    for await (const { key } of diffDir(new Nodes(nodes), emptyDir, dir, { under })) {
      expect(key).toBe('a/b/k')
    }
  })
})
