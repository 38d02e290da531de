/** Keys through directories, links and namespaces (rfc/5). */

import { describe, expect, it } from 'vitest'
import { lookup } from '../../src/tree/lookup.js'
import { Nodes } from '../../src/tree/nodes.js'
import { type Key, parseKey } from '../../src/treeobj/key.js'
import { type Dir, linksMax, type Symlink, type Treeobj } from '../../src/treeobj/treeobj.js'
import { dirOf, NodeStore, val } from './store.js'

type Tree = { readonly [name: string]: Treeobj | Tree }

async function treeOf(store: NodeStore, tree: Tree): Promise<Dir> {
  const entries: [string, Treeobj][] = []
  for (const [name, value] of Object.entries(tree)) {
    entries.push([name, isTreeobj(value) ? value : await treeOf(store, value)])
  }
  return dirOf(store, entries)
}

function isTreeobj(value: Treeobj | Tree): value is Treeobj {
  return typeof value['type'] === 'string'
}

function link(target: string, namespace?: string): Symlink {
  return { type: 'symlink', target, ...(namespace !== undefined && { namespace }) }
}

async function world(trees: { readonly [namespace: string]: Tree }) {
  const store = new NodeStore()
  const roots = new Map<string, Dir>()
  for (const [name, tree] of Object.entries(trees)) roots.set(name, await treeOf(store, tree))
  const nodes = new Nodes(store)
  return (key: string, follow = true) =>
    lookup(nodes, (name) => roots.get(name), 'primary', parseKey(key), { follow })
}

function keysOf(places: readonly { readonly namespace: string; readonly key: Key }[]): string[] {
  return places.map((place) => `${place.namespace}:${place.key}`)
}

describe('lookup()', () => {
  it('finds values, directories and the root, and says what it passed', async () => {
    const find = await world({ primary: { a: { b: { c: val('x') } } } })
    expect(await find('a/b/c')).toMatchObject({ key: 'a/b/c', treeobj: val('x') })
    expect(keysOf((await find('a/b/c')).passed)).toEqual([
      'primary:a',
      'primary:a/b',
      'primary:a/b/c',
    ])
    expect((await find('a/b')).treeobj).toMatchObject({ type: 'dir', keys: 1 })
    const root = await find('/')
    expect(root).toMatchObject({ key: '', treeobj: { type: 'dir', keys: 1 } })
    expect(keysOf(root.passed)).toEqual(['primary:'])
  })

  it('tells what is missing from what can never be', async () => {
    const find = await world({ primary: { a: { v: val('x') } } })
    const missing = await find('a/no/such')
    expect(missing).toMatchObject({ key: 'a/no/such', treeobj: undefined })
    expect(missing.blocked).toBeUndefined()
    expect(keysOf(missing.passed)).toEqual(['primary:a', 'primary:a/no', 'primary:a/no/such'])
    const blocked = await find('a/v/below')
    expect(blocked).toMatchObject({ key: 'a/v/below', treeobj: undefined, blocked: true })
    expect(keysOf(blocked.passed)).toContain('primary:a/v/below')
  })

  it('follows links in the middle always, at the end if asked', async () => {
    const find = await world({
      primary: { real: { v: val('x') }, dir: link('real'), end: link('dir/v') },
    })
    expect(await find('dir/v', false)).toMatchObject({ key: 'real/v', treeobj: val('x') })
    expect(await find('end', false)).toMatchObject({ key: 'end', treeobj: link('dir/v') })
    const found = await find('end')
    expect(found).toMatchObject({ key: 'real/v', treeobj: val('x') })
    const passed = ['primary:end', 'primary:dir', 'primary:real', 'primary:real/v']
    expect(keysOf(found.passed)).toEqual(passed)
    expect(await find('dir/none')).toMatchObject({ key: 'real/none', treeobj: undefined })
  })

  it('takes targets as keys from the root of the link’s own namespace', async () => {
    const find = await world({
      primary: { a: { v: val('inner'), l: link('v') }, v: val('outer'), far: link('l', 'other') },
      other: { l: link('v'), v: val('other') },
    })
    expect((await find('a/l')).treeobj).toEqual(val('outer'))
    const found = await find('far')
    expect(found).toMatchObject({ namespace: 'other', key: 'v', treeobj: val('other') })
    expect(keysOf(found.passed)).toEqual(['primary:far', 'other:l', 'other:v'])
  })

  it('finds nothing behind a link to nowhere', async () => {
    const find = await world({ primary: { gone: link('no'), far: link('k', 'none') } })
    expect(await find('gone')).toMatchObject({ key: 'no', treeobj: undefined })
    const far = await find('far/below')
    expect(far).toMatchObject({ namespace: 'none', key: 'k/below', treeobj: undefined })
    expect(keysOf(far.passed)).toEqual(['primary:far', 'none:k', 'none:k/below'])
  })

  it('follows ten links, not eleven, and no cycle', async () => {
    const chain: Record<string, Treeobj> = { l0: val('x'), a: link('b'), b: link('a/c') }
    for (let n = 1; n <= linksMax + 1; n++) chain[`l${n}`] = link(`l${n - 1}`)
    const find = await world({ primary: chain })
    expect((await find(`l${linksMax}`)).treeobj).toEqual(val('x'))
    await expect(find(`l${linksMax + 1}`)).rejects.toMatchObject({ code: 'ELOOP' })
    await expect(find('a')).rejects.toMatchObject({ code: 'ELOOP' })
    expect((await find(`l${linksMax + 1}`, false)).treeobj).toMatchObject({ type: 'symlink' })
  })

  it('follows a link to the root', async () => {
    const find = await world({ primary: { up: link(''), v: val('x') } })
    expect(await find('up/up/v')).toMatchObject({ key: 'v', treeobj: val('x') })
    expect(await find('up')).toMatchObject({ key: '', treeobj: { type: 'dir' } })
  })

  it('refuses a key that its links make too long', async () => {
    const long = Array.from({ length: 4 }, () => 'x'.repeat(250)).join('/')
    const find = await world({ primary: { l: link(long) } })
    expect((await find('l')).treeobj).toBeUndefined()
    await expect(find(`l/${'y'.repeat(30)}`)).rejects.toMatchObject({ code: 'EINVAL' })
  })
})
