/** Append arrays against a plain array: one shape for one sequence, reads, prefixes (rfc/5). */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AppendArray,
  type ArrayBlob,
  arrayRef,
  closeArray,
  emptyArray,
  openArray,
  peekArray,
  pushBlob,
} from '../../src/tree/array.js'
import {
  blobAt,
  entriesOf,
  indexAtOffset,
  isPrefix,
  truncateArray,
} from '../../src/tree/array-read.js'
import { hashOnly, Nodes, NodeWriter } from '../../src/tree/nodes.js'
import type { Valref } from '../../src/treeobj/treeobj.js'
import { blobOf, NodeStore } from './store.js'

/** Counts around the closings of pages, and some that are not. */
const counts = [0, 1, 2, 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 1056, 2048, 2100]
const countMax = 2100

/** Sizes differ, some are empty, some go together. */
const blobs: readonly ArrayBlob[] = Array.from({ length: countMax }, (_, n) =>
  n % 7 === 3 ? blobOf('') : blobOf('x'.repeat(n % 13) + n, n % 5 === 1),
)

function arrayOf(list: readonly ArrayBlob[], writer = hashOnly): AppendArray {
  let array = emptyArray
  for (const blob of list) array = pushBlob(writer, array, blob)
  return array
}

async function stored(store: NodeStore, list: readonly ArrayBlob[]): Promise<Valref> {
  const writer = new NodeWriter(new Nodes(store))
  const valref = closeArray(writer, arrayOf(list, writer))
  store.add(writer.blobs)
  return valref
}

/** The offset of each blob's first byte, and at last the size. */
function offsetsOf(list: readonly ArrayBlob[]): number[] {
  const offsets = [0]
  for (const blob of list) offsets.push((offsets.at(-1) ?? 0) + blob.size)
  return offsets
}

describe('AppendArray', () => {
  it('opens as it was closed, at any count', async () => {
    const store = new NodeStore()
    for (const count of counts) {
      const list = blobs.slice(0, count)
      const valref = await stored(store, list)
      expect(valref).toMatchObject({ count, size: offsetsOf(list).at(-1) })
      const nodes = store.cold()
      if (count > 1) expect(peekArray(nodes, valref)).toBeUndefined()
      const opened = await openArray(nodes, valref)
      expect(arrayRef(opened)).toBe(arrayRef(arrayOf(list)))
      expect(arrayRef(peekArray(nodes, valref) ?? emptyArray)).toBe(arrayRef(opened))
      const writer = new NodeWriter(nodes)
      expect(closeArray(writer, opened)).toEqual(valref)
      expect(writer.blobs).toEqual([])
    }
  })

  it('names an array of one blob by the blob', async () => {
    const store = new NodeStore()
    const [blob] = [blobOf('one')]
    const valref = await stored(store, [blob])
    expect(valref).toEqual({ type: 'valref', ref: blob.ref, count: 1, size: 3 })
    expect(store.blobs.size).toBe(0)
    const array = await openArray(store.cold(), valref)
    expect(arrayRef(array)).not.toBe(blob.ref)
    expect(await blobAt(store.cold(), array, 0)).toEqual({ ...blob, index: 0, offset: 0 })
  })

  it('depends on refs, sizes and marks', () => {
    const a = arrayRef(arrayOf([blobOf('a'), blobOf('b')]))
    expect(arrayRef(arrayOf([blobOf('b'), blobOf('a')]))).not.toBe(a)
    expect(arrayRef(arrayOf([{ ...blobOf('a'), size: 2 }, blobOf('b')]))).not.toBe(a)
    expect(arrayRef(arrayOf([blobOf('a', true), blobOf('b')]))).not.toBe(a)
  })

  it('stays as it is while others go on from it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.constantFrom('a', 'b', 'c')), { maxLength: 120 }),
        (pushes) => {
          const states: { array: AppendArray; list: ArrayBlob[] }[] = [
            { array: emptyArray, list: [] },
            { array: arrayOf(blobs.slice(0, 30)), list: blobs.slice(0, 30) },
          ]
          for (const [at, seed] of pushes) {
            const from = states[at % states.length]
            if (!from) continue
            const list = [...from.list, blobOf(seed)]
            states.push({ array: pushBlob(hashOnly, from.array, blobOf(seed)), list })
          }
          for (const { array, list } of states)
            expect(arrayRef(array)).toBe(arrayRef(arrayOf(list)))
        },
      ),
      { numRuns: 40 },
    )
  })

  it('goes on in any number of steps with the same nodes', async () => {
    const whole = new NodeStore()
    const expected = await stored(whole, blobs)
    const store = new NodeStore()
    let valref: Valref | undefined
    for (let at = 0; at < blobs.length; at += 1 + (at % 97)) {
      const nodes = store.cold()
      const writer = new NodeWriter(nodes)
      let array = valref ? await openArray(nodes, valref) : emptyArray
      const list = blobs.slice(array.count, at + 1)
      for (const blob of list) array = pushBlob(writer, array, blob)
      valref = closeArray(writer, array)
      store.add(writer.blobs)
    }
    const nodes = store.cold()
    const writer = new NodeWriter(nodes)
    let array = valref ? await openArray(nodes, valref) : emptyArray
    for (const blob of blobs.slice(array.count)) array = pushBlob(writer, array, blob)
    expect(closeArray(writer, array)).toEqual(expected)
    store.add(writer.blobs)
    for (const ref of whole.blobs.keys()) expect(store.blobs.has(ref)).toBe(true)
  })

  it('costs a lone append no more at 32,000 blobs than at 100', () => {
    const costs = [100, 32_000].map((count) => {
      const nodes = new Nodes(new NodeStore())
      let array = emptyArray
      for (let n = 0; n < count; n++) array = pushBlob(hashOnly, array, blobOf(`${n}`))
      let bytes = 0
      for (let n = 0; n < 320; n++) {
        const writer = new NodeWriter(nodes)
        array = pushBlob(writer, array, blobOf(`more ${n}`))
        closeArray(writer, array)
        for (const blob of writer.blobs) bytes += blob.bytes.length
      }
      return bytes / 320
    })
    expect(Math.max(...costs)).toBeLessThan(800)
    expect((costs[1] ?? 0) / (costs[0] ?? 1)).toBeLessThan(1.2)
  })
})

describe('truncateArray() and isPrefix()', () => {
  it('agree with the plain array around every closing of a page', async () => {
    const store = new NodeStore()
    for (const long of counts) {
      const list = blobs.slice(0, long)
      const nodes = store.cold()
      const array = await openArray(store.cold(), await stored(store, list))
      for (const short of counts) {
        const prefix = arrayOf(blobs.slice(0, short))
        expect(await isPrefix(nodes, prefix, array), `${short} of ${long}`).toBe(short <= long)
        if (short > long) {
          const longer = truncateArray(nodes, array, short)
          await expect(longer).rejects.toMatchObject({ code: 'EINVAL' })
          continue
        }
        const cut = await truncateArray(nodes, array, short)
        expect(arrayRef(cut)).toBe(arrayRef(prefix))
        expect([cut.count, cut.size]).toEqual([prefix.count, prefix.size])
        if (short === 0) continue
        const other = [...blobs.slice(0, short - 1), blobOf('another')]
        expect(await isPrefix(nodes, arrayOf(other), array)).toBe(false)
        const early = [blobOf('another'), ...blobs.slice(1, short)]
        expect(await isPrefix(nodes, arrayOf(early), array)).toBe(false)
      }
    }
  })

  it('gives an array that can be closed, read and continued', async () => {
    const store = new NodeStore()
    const valref = await stored(store, blobs)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: countMax }), async (count) => {
        const nodes = store.cold()
        const cut = await truncateArray(nodes, await openArray(nodes, valref), count)
        const writer = new NodeWriter(nodes)
        const more = pushBlob(writer, cut, blobOf('more'))
        const values = [closeArray(writer, cut), closeArray(writer, more)]
        store.add(writer.blobs)
        const expected = [...blobs.slice(0, count), blobOf('more')]
        expect(values[0]?.ref).toBe((await stored(store, blobs.slice(0, count))).ref)
        expect(values[1]?.ref).toBe((await stored(store, expected)).ref)
      }),
      { numRuns: 25 },
    )
  })

  it('loads O(log n) nodes', async () => {
    const store = new NodeStore()
    const valref = await stored(store, blobs)
    const nodes = store.cold()
    await truncateArray(nodes, await openArray(nodes, valref), 777)
    expect(store.loads).toBeLessThanOrEqual(6)
  })
})

describe('blobAt(), indexAtOffset() and entriesOf()', () => {
  it('agree with the plain array', async () => {
    const store = new NodeStore()
    for (const count of counts) {
      const list = blobs.slice(0, count)
      const offsets = offsetsOf(list)
      const size = offsets.at(-1) ?? 0
      const array = await openArray(store.cold(), await stored(store, list))
      const nodes = store.cold()
      for (const index of counts.flatMap((at) => [at - 1, at])) {
        const blob = list[index]
        const got = blobAt(nodes, array, index)
        if (!blob) await expect(got).rejects.toMatchObject({ code: 'ENOENT' })
        else expect(await got).toEqual({ ...blob, index, offset: offsets[index] })
      }
      for (let offset = 0; offset <= size + 1; offset += 1 + Math.floor(size / 97)) {
        const expected = list.findIndex((_, n) => offset < (offsets[n + 1] ?? 0))
        expect(await indexAtOffset(nodes, array, offset)).toBe(expected < 0 ? count : expected)
      }
    }
  })

  it('read any range in order, and each page once', async () => {
    const store = new NodeStore()
    const offsets = offsetsOf(blobs)
    const all = blobs.map((blob, index) => ({ ...blob, index, offset: offsets[index] }))
    const valref = await stored(store, blobs)
    const range = fc.tuple(fc.integer({ min: -5, max: 2200 }), fc.integer({ min: -5, max: 2200 }))
    await fc.assert(
      fc.asyncProperty(range, async ([from, to]) => {
        const array = await openArray(store.cold(), valref)
        const nodes = new Nodes(store, { cacheSize: 1 })
        store.loads = 0
        const got: unknown[] = []
        for await (const entry of entriesOf(nodes, array, from, to)) got.push(entry)
        expect(got).toEqual(all.slice(Math.max(0, from), Math.max(0, to)))
        expect(store.loads).toBeLessThanOrEqual(Math.ceil(got.length / 32) + 6)
      }),
      { numRuns: 25 },
    )
  })
})
