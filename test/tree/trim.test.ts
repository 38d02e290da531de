/** Logs whose head was dropped: their treeobjs, what they still need, and what goes on without the rest
 *  (rfc/5). */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Blobref } from '../../src/blob/blobref.js'
import { encode, type Plain } from '../../src/blob/codec.js'
import { hashBlob } from '../../src/blob/hash.js'
import { treeobjJson } from '../../src/kvs/treeobj-json.js'
import {
  type AppendArray,
  arrayRef,
  closeArray,
  emptyArray,
  openArray,
  pushBlob,
} from '../../src/tree/array.js'
import { entriesOf, indexAtOffset, offsetAt, truncateArray } from '../../src/tree/array-read.js'
import { diffDir } from '../../src/tree/diff.js'
import { editDir } from '../../src/tree/dir-edit.js'
import { makeLeaf } from '../../src/tree/dir-node.js'
import { decodeNode, encodeNode } from '../../src/tree/node.js'
import { weightOf } from '../../src/tree/node-end.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { decodeTreeobj, encodeTreeobj, refOf } from '../../src/treeobj/codec.js'
import { emptyDir, sizeOf, type Treeobj, type Valref } from '../../src/treeobj/treeobj.js'
import { type Reached, reachable } from '../../src/walk/reach.js'
import { blobOf, dirOf, edited, NodeStore } from './store.js'

const digestA = '17762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f'
const a = hashBlob(Buffer.from('a'))
const ref = Buffer.from(digestA, 'hex')

async function logOf(count: number, seed = 'blob') {
  const store = new NodeStore()
  const writer = new NodeWriter(new Nodes(store))
  const blobs = Array.from({ length: count }, (_, n) => blobOf(n % 7 === 3 ? '' : `${seed} ${n}`))
  let array: AppendArray = emptyArray
  for (const blob of blobs) array = pushBlob(writer, array, blob)
  const whole = closeArray(writer, array)
  store.add(writer.blobs)
  return { store, blobs, array, whole }
}

async function trimmed(store: NodeStore, whole: Valref, count: number): Promise<Valref> {
  if (count === 0) return whole
  const nodes = store.cold()
  const size = await offsetAt(nodes, await openArray(nodes, whole), count)
  return { ...whole, base: { count, size } }
}

/** As a collector does it: which refs are needed, and which of those wholly. */
async function mark(
  store: NodeStore,
  treeobjs: readonly Treeobj[],
  marks = { needed: new Set<Blobref>(), whole: new Set<Blobref>() },
) {
  const yielded: Reached[] = []
  for (const treeobj of treeobjs) {
    for await (const at of reachable(store.cold(), treeobj, (each) => marks.whole.has(each))) {
      yielded.push(at)
      marks.needed.add(at.ref)
      if (!at.partial) marks.whole.add(at.ref)
    }
  }
  return { ...marks, yielded }
}

const counts = fc.oneof(
  fc.integer({ min: 1, max: 70 }),
  fc.constantFrom(31, 32, 33, 63, 64, 1023, 1024, 1025, 1056, 1100),
)
const cut = fc.tuple(counts, fc.nat(1_200)).map(([count, n]) => ({ count, base: n % (count + 1) }))

describe('the treeobj of a trimmed log', () => {
  it('is golden', () => {
    const log = { type: 'valref', ref: a, count: 3, size: 10 } as const
    const base = { count: 2, size: 7 }
    const hex = (treeobj: Treeobj) => encode(encodeTreeobj(treeobj)).toString('hex')
    expect(hex({ ...log, base })).toBe(`9601c420${digestA}030ac0920207`)
    expect(hex({ ...log, base, attrs: { sealed: true } })).toBe(
      `9601c420${digestA}030a9192a67365616c6564c3920207`,
    )
    expect(refOf({ ...log, base })).toBe(
      'blake3-2cba78ab94975693a96b6b0b3f8251a14063a326c0360083bafd367a61bb527d',
    )
    expect(refOf({ ...log, base })).not.toBe(refOf(log))
  })

  it('comes back as it went, and says the bytes that are left', () => {
    const logs: Valref[] = [
      { type: 'valref', ref: a, count: 3, size: 10, base: { count: 1, size: 0 } },
      { type: 'valref', ref: a, count: 3, size: 10, base: { count: 3, size: 10 } },
      { type: 'valref', ref: a, count: 1, size: 0, base: { count: 1, size: 0 } },
      {
        type: 'valref',
        ref: a,
        count: 2 ** 40,
        size: 2 ** 50,
        base: { count: 2 ** 39, size: 2 ** 49 },
        attrs: { contentType: 'text/plain' },
      },
    ]
    for (const log of logs) {
      expect(decodeTreeobj(encodeTreeobj(log))).toEqual(log)
      expect(encode(encodeTreeobj(log)).length).toBeLessThanOrEqual(weightOf(log) + 8)
      const leaf = makeLeaf([{ name: 'log', treeobj: log }], false)
      expect(leaf).toMatchObject({ keys: 1, size: log.size - (log.base?.size ?? 0) })
      expect(decodeNode(encodeNode(leaf))).toEqual(leaf)
    }
    expect(logs.map(sizeOf)).toEqual([10, 0, 0, 2 ** 49])
  })

  const base = [2, 7]
  const hostile: readonly (readonly [string, Plain])[] = [
    ['no blob', [1, ref, 3, 10, null, [0, 0]]],
    ['more blobs than there are', [1, ref, 3, 10, null, [4, 10]]],
    ['more bytes than there are', [1, ref, 3, 10, null, [2, 11]]],
    ['all blobs and not all bytes', [1, ref, 3, 10, null, [3, 9]]],
    ['half a blob', [1, ref, 3, 10, null, [1.5, 7]]],
    ['fewer bytes than none', [1, ref, 3, 10, null, [2, -1]]],
    ['a base of one number', [1, ref, 3, 10, null, [2]]],
    ['a base of three', [1, ref, 3, 10, null, [2, 7, 0]]],
    ['a base that is nil', [1, ref, 3, 10, null, null]],
    ['a base in the place of attributes', [1, ref, 3, 10, base]],
    ['no attributes, said so without a base', [1, ref, 3, 10, null]],
    ['empty attributes', [1, ref, 3, 10, [], base]],
    ['a field behind the base', [1, ref, 3, 10, null, base, 0]],
    ['a value with a base', [0, Buffer.from('x'), null, base]],
    ['a directory with a base', [2, ref, 3, 10, null, base]],
  ]

  it.each(hostile)('is refused with %s', (_, plain) => {
    const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
    expect(() => decodeNode(encode([2, ['a'], [plain]]))).toThrow(corrupt)
  })

  it('is not taken into a directory with a base that drops what is not there', async () => {
    const { store, whole } = await logOf(3)
    for (const count of [0, 4, 1.5]) {
      const treeobj = { ...whole, base: { count, size: 0 } }
      const edit = dirOf(store, [['log', treeobj]])
      await expect(edit).rejects.toMatchObject({ code: 'EINVAL' })
    }
  })

  it('differs from one that was not trimmed, and pages its refs from the base on', async () => {
    const { store, blobs, whole } = await logOf(40)
    const log = await trimmed(store, whole, 35)
    const before = await dirOf(store, [['log', whole]])
    const after = await edited(store, before, [['log', log]])
    const differences = []
    for await (const each of diffDir(store.cold(), before, after)) differences.push(each)
    expect(differences).toEqual([{ key: 'log', before: whole, after: log }])

    const first = await treeobjJson(store.cold(), log, { limit: 2 })
    const refs = blobs.map((blob) => blob.ref)
    const { base } = log
    expect(first).toMatchObject({ count: 40, size: whole.size, base, next: 36 })
    expect(first.data).toEqual(refs.slice(35, 37))
    const early = await treeobjJson(store.cold(), log, { after: 3, limit: 100 })
    expect(early.data).toEqual(refs.slice(35))
    const rest = await treeobjJson(store.cold(), log, { after: 36, limit: 100 })
    expect(rest.data).toEqual(refs.slice(37))
    expect(rest.next).toBeUndefined()
  })
})

describe('reachable() of a trimmed log', () => {
  it('is what is left, whatever else is gone: reads, prefixes and appends go on', async () => {
    await fc.assert(
      fc.asyncProperty(cut, fc.nat(70), async ({ count, base }, more) => {
        const { store, blobs, array, whole } = await logOf(count)
        const log = await trimmed(store, whole, base)
        const { needed, yielded } = await mark(store, [log])
        expect(yielded.length).toBe(needed.size)
        const left = new Set(blobs.slice(base).map((blob) => blob.ref))
        const values = yielded.filter(({ kind }) => kind === 'blob').map((each) => each.ref)
        expect(new Set(values)).toEqual(left)

        // Nothing else is loaded, for whatever one may ask of it.
        for (const each of [...store.blobs.keys()]) if (!needed.has(each)) store.blobs.delete(each)
        const nodes = store.cold()
        const opened = await openArray(nodes, log)
        expect(arrayRef(opened)).toBe(arrayRef(array))
        const offset = log.base?.size ?? 0
        expect(await offsetAt(nodes, opened, base)).toBe(offset)
        const read: Blobref[] = []
        for await (const entry of entriesOf(nodes, opened, base, count)) read.push(entry.ref)
        expect(read).toEqual(blobs.slice(base).map((blob) => blob.ref))
        for (const at of [base, Math.floor((base + count) / 2), count]) {
          await truncateArray(nodes, opened, at)
        }
        expect(await indexAtOffset(nodes, opened, offset)).toBeGreaterThanOrEqual(base)
        const writer = new NodeWriter(nodes)
        let [grown, plain] = [opened, array]
        for (let n = 0; n < more; n++) {
          grown = pushBlob(writer, grown, blobOf(`more ${n}`))
          plain = pushBlob(new NodeWriter(nodes), plain, blobOf(`more ${n}`))
        }
        expect(arrayRef(grown)).toBe(arrayRef(plain))
      }),
      { numRuns: 60 },
    )
  }, 30_000)

  it('loads nothing that is wholly below the base', async () => {
    const { store, array, whole } = await logOf(1_100)
    const open = new Set<Blobref>()
    for (let level: AppendArray | undefined = array; level; level = level.up) {
      open.add(arrayRef(level))
    }
    const { needed, yielded } = await mark(store, [await trimmed(store, whole, 1_100)])
    expect(needed).toEqual(open)
    expect(yielded.every(({ partial }) => partial)).toBe(true)
    const sizeAt = async (base: number) =>
      (await mark(store, [await trimmed(store, whole, base)])).needed.size
    // The last 12 blobs, two of them the same, stand in the open node; the one before in a page.
    expect(await sizeAt(1_088)).toBe(open.size + 11)
    expect(await sizeAt(1_087)).toBe(open.size + 11 + 2)
  })

  it('marks the whole log where another one, or an older root, has it: in either order', async () => {
    await fc.assert(
      fc.asyncProperty(cut, fc.nat(1_200), fc.boolean(), async ({ count, base }, n, last) => {
        const { store, blobs, whole } = await logOf(count)
        const logs = [
          await trimmed(store, whole, base),
          await trimmed(store, whole, n % (count + 1)),
        ]
        const order = last ? [...logs, whole] : [whole, ...logs]
        const all = (await mark(store, [whole])).needed
        const { needed, yielded } = await mark(store, order)
        expect(needed).toEqual(all)
        const wholes = yielded.filter(({ partial }) => !partial).map((each) => each.ref)
        expect(new Set(wholes).size).toBe(wholes.length)
        expect(new Set(wholes)).toEqual(all)
        // Without the whole one it is what the lower base leaves.
        const lower = Math.min(base, n % (count + 1))
        const some = await mark(store, logs)
        const values = some.yielded.filter(({ kind }) => kind === 'blob').map((each) => each.ref)
        expect(new Set(values)).toEqual(new Set(blobs.slice(lower).map((blob) => blob.ref)))
      }),
      { numRuns: 60 },
    )
  }, 30_000)

  it('of one blob that was dropped is nothing', async () => {
    const { store, whole } = await logOf(1)
    expect((await mark(store, [whole])).yielded).toHaveLength(1)
    const log = await trimmed(store, whole, 1)
    expect(log.ref).toBe(whole.ref)
    expect((await mark(store, [log])).yielded).toHaveLength(0)
    const opened = await openArray(store.cold(), log)
    expect(arrayRef(opened)).toBe(arrayRef(await openArray(store.cold(), whole)))
  })
})

describe('a directory of trimmed logs', () => {
  it('has their bytes that are left', async () => {
    const store = new NodeStore()
    const log = { type: 'valref', ref: a, count: 3, size: 10, base: { count: 2, size: 7 } } as const
    const names = Array.from({ length: 400 }, (_, n) => `log ${n}`)
    const nodes = store.cold()
    const writer = new NodeWriter(nodes)
    const dir = await editDir(nodes, writer, emptyDir, new Map(names.map((name) => [name, log])))
    expect(dir).toMatchObject({ keys: 400, size: 1_200 })
  })
})
