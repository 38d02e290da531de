/** Treeobjs as RFC 11 v1 JSON, pages of refs with their sizes (rfc/5). */

import { describe, expect, it } from 'vitest'
import { treeobjJson } from '../../src/kvs/treeobj-json.js'
import { closeArray, emptyArray, pushBlob } from '../../src/tree/array.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { emptyDir } from '../../src/treeobj/treeobj.js'
import { blobOf, dirOf, NodeStore, val } from '../tree/store.js'

const page = { limit: 100 }

describe('treeobjJson()', () => {
  it('shows values, directories and links', async () => {
    const store = new NodeStore()
    const nodes = new Nodes(store)
    const attrs = { contentType: 'text/plain' }
    expect(await treeobjJson(nodes, { ...val('hi'), attrs }, page)).toEqual({
      ver: 1,
      type: 'val',
      data: 'aGk=',
      attrs,
    })
    expect(await treeobjJson(nodes, emptyDir, page)).toEqual({ ver: 1, type: 'dir', data: {} })
    const dir = await dirOf(store, [['k', val('x')]])
    const dirref = { ver: 1, type: 'dirref', data: [dir.ref], count: 1, size: 1 }
    expect(await treeobjJson(nodes, dir, page)).toEqual(dirref)
    expect(await treeobjJson(nodes, { type: 'symlink', target: 'a/b' }, page)).toEqual({
      ver: 1,
      type: 'symlink',
      data: { target: 'a/b' },
    })
    const far = { type: 'symlink', target: 'a', namespace: 'other' } as const
    expect((await treeobjJson(nodes, far, page)).data).toEqual({ target: 'a', namespace: 'other' })
  })

  it('pages the refs of a log', async () => {
    const nodes = new Nodes(new NodeStore())
    const writer = new NodeWriter(nodes)
    const blobs = Array.from({ length: 70 }, (_, n) => blobOf(`blob ${n}`))
    let array = emptyArray
    for (const blob of blobs) array = pushBlob(writer, array, blob)
    const valref = closeArray(writer, array, { sealed: true })
    const refs: unknown[] = []
    const sizes: number[] = []
    let after: number | undefined
    for (let pages = 0; pages < 4; pages++) {
      const json = await treeobjJson(nodes, valref, {
        limit: 20,
        ...(after !== undefined && { after }),
      })
      expect(json).toMatchObject({
        type: 'valref',
        count: 70,
        size: array.size,
        attrs: { sealed: true },
      })
      refs.push(...(Array.isArray(json.data) ? json.data : []))
      sizes.push(...(json.sizes ?? []))
      after = json.next
      expect(after).toBe(pages < 3 ? pages * 20 + 19 : undefined)
    }
    expect(refs).toEqual(blobs.map((blob) => blob.ref))
    expect(sizes).toEqual(blobs.map((blob) => blob.size))
  })
})
