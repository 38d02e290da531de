/** Reachability: every node and blob of a tree, each once, and nothing else (rfc/5). */

import { describe, expect, it } from 'vitest'
import type { Blobref } from '../../src/blob/blobref.js'
import { closeArray, emptyArray, pushBlob } from '../../src/tree/array.js'
import { editDir } from '../../src/tree/dir-edit.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { readRoot, writeRoot } from '../../src/tree/root.js'
import { emptyDir, type Treeobj } from '../../src/treeobj/treeobj.js'
import { reachable, reachableFrom } from '../../src/walk/reach.js'
import { blobOf, NodeStore, val } from '../tree/store.js'

async function world() {
  const store = new NodeStore()
  const nodes = new Nodes(store)
  const writer = new NodeWriter(nodes)
  const blobs = new Set<Blobref>()
  const logs = [0, 1, 2, 33, 1100].map((count) => {
    let array = emptyArray
    for (let n = 0; n < count; n++) {
      const blob = blobOf(`${count}: ${n}`)
      blobs.add(blob.ref)
      array = pushBlob(writer, array, blob)
    }
    return [`log ${count}`, closeArray(writer, array)] as const
  })
  const inner = await editDir(nodes, writer, emptyDir, new Map([['v', val('x')]]))
  const entries: (readonly [string, Treeobj])[] = [
    ...logs,
    ['same again', logs[3]?.[1] ?? emptyDir],
    ['dir', inner],
    ['empty', emptyDir],
    ['link', { type: 'symlink', target: 'dir' }],
    ...Array.from({ length: 300 }, (_, n) => [`n${n}`, val(`${n}`)] as const),
  ]
  const data = await editDir(nodes, writer, emptyDir, new Map(entries))
  const meta = await editDir(nodes, writer, emptyDir, new Map([['m', val('m')]]))
  const root = writeRoot(writer, { data, meta })
  store.add(writer.blobs)
  return { store, blobs, data, root }
}

describe('reachable()', () => {
  it('is all that the tree’s writer made, and the blobs, each once', async () => {
    const { store, blobs, data, root } = await world()
    const seen = new Map<Blobref, string>()
    for await (const { ref, kind } of reachableFrom(store.cold(), root, (ref) => seen.has(ref))) {
      expect(seen.has(ref)).toBe(false)
      seen.set(ref, kind)
    }
    const nodes = [...seen].filter(([, kind]) => kind === 'node').map(([ref]) => ref)
    expect(new Set(nodes)).toEqual(new Set(store.blobs.keys()))
    const values = [...seen].filter(([, kind]) => kind === 'blob').map(([ref]) => ref)
    expect(new Set(values)).toEqual(blobs)
    for await (const { ref } of reachable(store.cold(), data, () => false)) {
      expect(seen.has(ref) && ref !== root).toBe(true)
    }
  })

  it('does not look below what was seen', async () => {
    const { store, data } = await world()
    const cold = store.cold()
    for await (const reached of reachable(cold, data, () => true)) expect(reached).toBeUndefined()
    for await (const reached of reachable(cold, emptyDir, () => false)) {
      expect(reached).toBeUndefined()
    }
    expect(store.loads).toBe(0)
  })
})

describe('readRoot()', () => {
  it('reads the two trees, and refuses what is no root', async () => {
    const { store, data, root } = await world()
    expect((await readRoot(store.cold(), root)).data).toEqual(data)
    const wrong = readRoot(store.cold(), data.ref ?? root)
    await expect(wrong).rejects.toMatchObject({ code: 'ECORRUPT' })
  })
})
