/** Changes that follow the cuts of a directory exactly: whole nodes go, come and stay (rfc/5). */

import { describe, expect, it } from 'vitest'
import type { DirNode } from '../../src/tree/dir-node.js'
import type { Dir, Treeobj } from '../../src/treeobj/treeobj.js'
import { dirOf, edited, NodeStore, val } from './store.js'

type Edit = readonly [string, Treeobj | undefined]

const store = new NodeStore()
const names = Array.from({ length: 20_000 }, (_, n) => `k${String(n).padStart(6, '0')}`)

function treeOf(list: readonly string[]): Promise<Dir> {
  return dirOf(
    store,
    list.map((name) => [name, val('x')] as const),
  )
}

/** The nodes of one level, each by its last name. */
async function endsOf(dir: Dir, level: number): Promise<string[]> {
  const nodes = store.cold()
  let row: DirNode[] = []
  for (let refs = dir.ref ? [dir.ref] : []; refs.length > 0; ) {
    row = []
    for (const ref of refs) {
      const node = await nodes.load(ref)
      if (node.kind === 'leaf' || node.kind === 'branch') row.push(node)
    }
    if (row[0]?.level === level) break
    refs = row.flatMap((node) => (node.kind === 'branch' ? node.items.map(({ ref }) => ref) : []))
  }
  return row.map((node) => node.items.at(-1)?.name ?? '')
}

/** Names after `from` (from the start without it) up to `to`. */
function between(from: string | undefined, to: string | undefined): string[] {
  return names.filter((name) => (!from || name > from) && to !== undefined && name <= to)
}

/** Makes the edits in a tree of `list` and compares with a tree of what is left. */
async function check(list: readonly string[], edits: readonly Edit[]): Promise<void> {
  const left = new Map<string, Treeobj>(list.map((name) => [name, val('x')]))
  for (const [name, treeobj] of edits) {
    if (treeobj) left.set(name, treeobj)
    else left.delete(name)
  }
  expect(await edited(store, await treeOf(list), edits)).toEqual(await dirOf(store, left))
}

function without(list: readonly string[]): Edit[] {
  return list.map((name) => [name, undefined])
}

describe('editDir() along the cuts', () => {
  it('drops a leaf, the first, one in the middle or the last', async () => {
    const list = names.slice(0, 500)
    const ends = await endsOf(await treeOf(list), 0)
    for (const [at, end] of ends.entries()) await check(list, without(between(ends[at - 1], end)))
    await check(list, without(list.filter((name) => !ends[0] || name > ends[0])))
  })

  it('keeps what lies between a dropped first leaf and a change in the last', async () => {
    const list = names.slice(0, 500)
    const [first] = await endsOf(await treeOf(list), 0)
    await check(list, [...without(between(undefined, first)), ['k000499', val('y')]])
  })

  it('keeps it too where the last leaf is alone in its branch', async () => {
    const whole = await treeOf(names)
    const [firstLeaf] = await endsOf(whole, 0)
    const [firstBranch] = await endsOf(whole, 1)
    const list = between(undefined, firstBranch)
    const more = names[list.length] ?? ''
    await check([...list, more], [...without(between(undefined, firstLeaf)), [more, val('y')]])
  })

  it('drops a branch, the first, one in the middle or the last', async () => {
    const ends = await endsOf(await treeOf(names), 1)
    expect(ends.length).toBeGreaterThan(3)
    for (const at of [0, 1, ends.length - 1]) {
      await check(names, without(between(ends[at - 1], ends[at])))
    }
  })

  it('keeps a branch when all before it goes and one name comes behind it', async () => {
    const [first, second] = await endsOf(await treeOf(names), 1)
    const list = between(undefined, second)
    await check(list, [...without(between(undefined, first)), ['z', val('z')]])
  })

  it('goes on behind a tree that ends where a node may', async () => {
    const [first] = await endsOf(await treeOf(names), 1)
    const list = between(undefined, first)
    await check(list, [['z', val('z')]])
    await check(list, [
      ['a', val('a')],
      ['z', val('z')],
    ])
  })
})
