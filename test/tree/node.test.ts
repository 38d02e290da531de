/** The bytes of every kind of node, and what is refused when bytes come back (rfc/5). */

import { describe, expect, it } from 'vitest'
import { encode, type Plain } from '../../src/blob/codec.js'
import { hashBlob, hashNode } from '../../src/blob/hash.js'
import { arrayRef, closeArray, emptyArray, openArray, pushBlob } from '../../src/tree/array.js'
import { blobAt } from '../../src/tree/array-read.js'
import { getEntry } from '../../src/tree/dir.js'
import { editDir } from '../../src/tree/dir-edit.js'
import { type Leaf, makeBranch, makeLeaf } from '../../src/tree/dir-node.js'
import { decodeNode, encodeNode, type Node } from '../../src/tree/node.js'
import { hashName } from '../../src/tree/node-end.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { encodeTreeobj, refOf } from '../../src/treeobj/codec.js'
import { type Dir, emptyDir, type Treeobj } from '../../src/treeobj/treeobj.js'
import { blobOf, NodeStore, val } from './store.js'

const digestA = '17762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f'
const digestB = '10e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb22410190044c1d553'
const a = hashBlob(Buffer.from('a'))
const b = hashBlob(Buffer.from('b'))

const leaf: Leaf = makeLeaf(
  [
    { name: 'dir', treeobj: { type: 'dir', ref: a, keys: 2, size: 300 } },
    { name: 'link', treeobj: { type: 'symlink', target: 'x/y', namespace: 'ns' } },
    {
      name: 'log',
      treeobj: {
        type: 'valref',
        ref: b,
        count: 1,
        size: 1,
        attrs: { contentType: 'text/plain', sealed: true },
      },
    },
    { name: 'val', treeobj: val('hi') },
  ],
  false,
)

/** What closing an array of 33 blobs, `a` and `b` in turn, writes. */
function arrayNodes(count: number): Node[] {
  const written: Node[] = []
  const sink = {
    write: (node: Node) => {
      written.push(node)
      return hashNode(encodeNode(node))
    },
  }
  let array = emptyArray
  for (let n = 0; n < count; n++) {
    array = pushBlob(sink, array, { ref: n % 2 ? b : a, size: 1, more: n % 2 === 0 })
  }
  closeArray(sink, array)
  return written
}

function hexOf(node: Node | undefined): string {
  return node ? encodeNode(node).toString('hex') : ''
}

describe('the formats', () => {
  it('root, leaf and branch are golden', () => {
    const root: Node = { kind: 'root', data: emptyDir, meta: emptyDir }
    expect(hexOf(root)).toBe('93019402c000009402c00000')
    expect(hashNode(encodeNode(root))).toBe(
      'blake3-b5661bb2a41aa15ed154043a0db27b25a899cfdc4f02e73b352a4a0a71d9ba4f',
    )
    expect(hexOf(leaf)).toBe(
      `930294a3646972a46c696e6ba36c6f67a376616c949402c420${digestA}02cd012c9303a3782f79a26e739501c420${digestB}010192` +
        '92ab636f6e74656e7454797065aa746578742f706c61696e92a67365616c6564c39200c4026869',
    )
    const children = [
      { name: 'k', ref: a, keys: 20, size: 70000 },
      { name: 'z', ref: b, keys: 1, size: 0 },
    ]
    expect(hexOf(makeBranch(1, children, false))).toBe(
      `96030192a16ba17ac440${digestA}${digestB}92140192ce0001117000`,
    )
  })

  it('open nodes and pages are golden', () => {
    expect(hexOf(arrayNodes(2)[0])).toBe(`9704000202c440${digestA}${digestB}920302c0`)
    const [page, up, open] = arrayNodes(33)
    const refs = `${digestA}${digestB}`.repeat(16)
    expect(hexOf(page)).toBe(`940500c50400${refs}dc0020${'0302'.repeat(16)}`)
    const pageDigest = 'ff5162a897b2382d809dd0949187b33e9a7515e11fafc58065a4cfebd8c3e257'
    expect(hexOf(up)).toBe(`9704012020c420${pageDigest}9120c0`)
    const upDigest = 'bf5477fe55c1d978d912d0155806c755418ae5625097d0ca4e3a89939e58c359'
    expect(hexOf(open)).toBe(`9704002121c420${digestA}9103c420${upDigest}`)
  })

  it('refs of arrays and directories are golden', async () => {
    const arrays = new Map([
      [0, '8bc6af1026aa874c538ae31743466929846e5317e104209c3834004d17bfc184'],
      [100, 'c71b97214e40aeecbf22a676b34a4f72ff8e85e4d9799d80e90616d5ba535566'],
      [1024, '6ac1d25ddab35102347009ab82bbd0c6e4aff3684a9cbd792851b3380c80b036'],
      [1025, '3266d7709bf48d5db020cce9611f20134c5ca95dcf21539d66fd8ed27c5d2469'],
    ])
    const nodes = new Nodes(new NodeStore())
    const writer = new NodeWriter(nodes)
    for (const [count, digest] of arrays) {
      let array = emptyArray
      for (let n = 0; n < count; n++) array = pushBlob(writer, array, blobOf(`${n}`))
      expect(arrayRef(array)).toBe(`blake3-${digest}`)
    }
    const thousand = new Map(Array.from({ length: 1000 }, (_, n) => [`${n}`, val(`${n}`)]))
    expect(await editDir(nodes, writer, emptyDir, thousand)).toEqual({
      type: 'dir',
      ref: 'blake3-1a17aacbc31ac7d1e0aa3be74b1f5ef8ce6f5aa79cac4f0874bb5aa2008ecbb0',
      keys: 1000,
      size: 2890,
    })
    expect(refOf(val('hi'))).toBe(
      'blake3-21986ac3a03c829d8447198ca32abc235f2bdfb006a7fe53e4d46dd26d274b3e',
    )
  })

  it('hashes of names are golden', () => {
    expect([hashName('', 0), hashName('a', 0), hashName('a', 1), hashName('é', 0)]).toEqual([
      2872998923, 444641715, 3470049400, 2387039943,
    ])
  })

  it('come back as they went', () => {
    const large = makeLeaf(
      [{ name: 'log', treeobj: { type: 'valref', ref: a, count: 2 ** 33, size: 2 ** 50 } }],
      false,
    )
    for (const node of [leaf, large, ...arrayNodes(1025)]) {
      expect(decodeNode(encodeNode(node))).toEqual(node)
    }
  })
})

const ref = Buffer.from(digestA, 'hex')
const two = Buffer.concat([ref, ref])
const v: Plain = [0, Buffer.from('x')]
const full: Plain[] = Array.from({ length: 32 }, () => 2)

/** Names that go on behind the first one that may end a node. */
function beyondEnd(): string[] {
  return Array.from({ length: 128 }, (_, n) => `n${String(n).padStart(3, '0')}`)
}

const hostile: readonly (readonly [string, Plain])[] = [
  ['no array', 'leaf'],
  ['an unknown kind', [9, []]],
  ['a kind of another type', ['2', ['a'], [v]]],
  ['a field too many', [2, ['a'], [v], 0]],
  ['an empty leaf', [2, [], []]],
  ['names out of order', [2, ['b', 'a'], [v, v]]],
  ['names in UTF-16 order', [2, ['\u{1f600}', '\uffff'], [v, v]]],
  ['a name twice', [2, ['a', 'a'], [v, v]]],
  ['a name with a slash', [2, ['a/b'], [v]]],
  ['a name of two dots', [2, ['..'], [v]]],
  ['an empty name', [2, [''], [v]]],
  ['a name that is too long', [2, ['x'.repeat(256)], [v]]],
  ['fewer entries than names', [2, ['a', 'b'], [v]]],
  ['more names than a node', [2, Array.from({ length: 129 }, (_, n) => `${1000 + n}`), full]],
  ['a node that goes on after its end', [2, beyondEnd(), beyondEnd().map(() => v)]],
  ['an unknown treeobj', [2, ['a'], [[4, 0]]]],
  ['an inline value that is too large', [2, ['a'], [[0, Buffer.alloc(257)]]]],
  ['an inline value that is text', [2, ['a'], [[0, 'x']]]],
  ['a sealed inline value', [2, ['a'], [[0, Buffer.from('x'), [['sealed', true]]]]]],
  ['empty attributes', [2, ['a'], [[0, Buffer.from('x'), []]]]],
  ['an unknown attribute', [2, ['a'], [[0, Buffer.from('x'), [['mode', 1]]]]]],
  [
    'attributes out of order',
    [
      2,
      ['a'],
      [
        [
          1,
          ref,
          1,
          1,
          [
            ['sealed', true],
            ['contentType', 'a'],
          ],
        ],
      ],
    ],
  ],
  ['a ref that is too short', [2, ['a'], [[1, ref.subarray(1), 1, 1]]]],
  ['a negative size', [2, ['a'], [[1, ref, 1, -1]]]],
  ['a broken count', [2, ['a'], [[1, ref, 1.5, 1]]]],
  ['an empty directory with keys', [2, ['a'], [[2, null, 1, 0]]]],
  ['a link to a key that is not normal', [2, ['a'], [[3, '/x']]]],
  ['a link to a namespace that is none', [2, ['a'], [[3, 'x', '']]]],
  [
    'totals above the integers',
    [
      2,
      ['a', 'b'],
      [
        [1, ref, 2, 2 ** 52],
        [1, ref, 2, 2 ** 53 - 1],
      ],
    ],
  ],
  ['a branch of level 0', [3, 0, ['a', 'b'], two, [1, 1], [1, 1]]],
  ['a branch above all levels', [3, 99, ['a', 'b'], two, [1, 1], [1, 1]]],
  ['fewer refs than names', [3, 1, ['a', 'b'], ref, [1, 1], [1, 1]]],
  ['fewer counts than names', [3, 1, ['a', 'b'], two, [1], [1, 1]]],
  ['an open node of 32 entries', [4, 0, 32, 32, Buffer.alloc(1024), full, null]],
  ['an open node with another count', [4, 0, 3, 2, two, [2, 2], null]],
  ['an open node with another size', [4, 0, 2, 3, two, [2, 2], null]],
  ['an open node that needs a level above', [4, 0, 34, 34, two, [2, 2], null]],
  ['an open node with a level above for nothing', [4, 0, 2, 2, two, [2, 2], ref]],
  ['an open node with half a page above', [4, 0, 18, 18, two, [2, 2], ref]],
  ['an empty level above', [4, 1, 0, 0, Buffer.alloc(0), [], null]],
  ['a level above all levels', [4, 11, 0, 0, Buffer.alloc(0), [], null]],
  ['a blob above the limit', [4, 0, 1, 262121, ref, [262121 * 2], null]],
  ['a page that is not full', [5, 0, two, [2, 2]]],
  ['a page with fewer refs', [5, 0, two, full]],
  ['a root of something else', [1, v, [2, null, 0, 0]]],
]

describe('decodeNode()', () => {
  it.each(hostile)('refuses %s', (_, plain) => {
    expect(() => decodeNode(encode(plain))).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
  })

  it('refuses other bytes for the same node', () => {
    const bytes = encodeNode(leaf)
    expect(decodeNode(bytes)).toEqual(leaf)
    // The kind as an integer of two bytes.
    const longer = Buffer.concat([bytes.subarray(0, 1), Buffer.from([0xcc]), bytes.subarray(1)])
    expect(() => decodeNode(longer)).toThrow(/shortest/)
    // A name that is no UTF-8.
    const broken = Buffer.from(encode([2, ['ab'], [v]]))
    broken[broken.indexOf('ab')] = 0xff
    expect(() => decodeNode(broken)).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
    for (const cut of [0, 1, bytes.length - 1]) {
      expect(() => decodeNode(bytes.subarray(0, cut))).toThrow(
        expect.objectContaining({ code: 'ECORRUPT' }),
      )
    }
    expect(() => decodeNode(Buffer.alloc(33 * 1024))).toThrow(/32768 bytes/)
  })
})

describe('a tree whose nodes do not fit each other', () => {
  /** A store that holds these nodes, however they were made. */
  function holding(...nodes: readonly Node[]): Nodes {
    const store = new NodeStore()
    for (const node of nodes) {
      const bytes = encodeNode(node)
      store.blobs.set(hashNode(bytes), bytes)
    }
    return store.cold()
  }

  function childOf(node: Leaf, name: string) {
    const { keys, size } = node
    return { name, ref: hashNode(encodeNode(node)), keys, size }
  }

  const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
  const first = endedLeaf()
  const last = makeLeaf([{ name: 'z', treeobj: val('x') }], false)
  const overlapping = makeLeaf([{ name: 'a', treeobj: val('x') }, ...last.items], false)

  /** Nine names of which the last ends the node. */
  function endedLeaf(): Leaf {
    for (let n = 0; ; n++) {
      const names = Array.from({ length: 8 }, (_, at) => `a${at}-${n}`)
      const items = names.map((name) => ({ name, treeobj: val('x') }))
      const decoded = decodeNode(encodeNode(makeLeaf(items, false)))
      if (decoded.kind === 'leaf' && decoded.ended) return decoded
    }
  }

  function dirOver(...children: ReturnType<typeof childOf>[]): { dir: Dir; top: Node } {
    const top = makeBranch(1, children, false)
    const dir: Dir = { type: 'dir', ref: hashNode(encodeNode(top)), keys: top.keys, size: top.size }
    return { dir, top }
  }

  it('is found out on the way down', async () => {
    const lastName = first.items.at(-1)?.name ?? ''
    const fine = dirOver(childOf(first, lastName), childOf(last, 'z'))
    expect(await getEntry(holding(fine.top, first, last), fine.dir, 'z')).toEqual(val('x'))
    const cases = [
      dirOver(childOf(first, lastName), childOf(last, 'zz')),
      dirOver(childOf(first, lastName), { ...childOf(last, 'z'), keys: 2 }),
      dirOver(childOf(first, lastName), { ...childOf(last, 'z'), size: 0 }),
      dirOver(childOf(first, 'y'), childOf(last, 'z')),
      dirOver(childOf(last, 'z'), childOf(last, 'zz')),
      dirOver(childOf(last, 'z')),
      dirOver(childOf(first, lastName), childOf(overlapping, 'z')),
    ]
    for (const { dir, top } of cases) {
      const nodes = holding(top, first, last, overlapping)
      await expect(
        Promise.all(['b', 'z', 'zz'].map((n) => getEntry(nodes, dir, n))),
      ).rejects.toThrow(corrupt)
    }
    const wrongTotals = { ...fine.dir, keys: 1 }
    const nodes = holding(fine.top, first, last)
    await expect(getEntry(nodes, wrongTotals, 'z')).rejects.toThrow(corrupt)
    const early = makeLeaf([{ name: 'b', treeobj: val('x') }], false)
    const split = dirOver(childOf(early, 'b'), childOf(last, 'z'))
    await expect(getEntry(holding(split.top, early, last), split.dir, 'b')).rejects.toThrow(corrupt)
  })

  it('is found out in arrays too', async () => {
    const nodes = arrayNodes(33)
    const [page, up] = nodes
    const value = (node: Node | undefined, count: number, size: number) => {
      const ref = node ? hashNode(encodeNode(node)) : a
      return { type: 'valref', ref, count, size } as const
    }
    const open = nodes[2]
    const array = await openArray(holding(...nodes), value(open, 33, 33))
    expect((await blobAt(holding(...nodes), array, 32)).ref).toBe(a)
    const bad: Treeobj[] = [
      value(open, 34, 33),
      value(open, 33, 34),
      value(up, 32, 32),
      value(page, 32, 32),
    ]
    for (const treeobj of bad) {
      if (treeobj.type !== 'valref') continue
      await expect(openArray(holding(...nodes), treeobj)).rejects.toThrow(corrupt)
    }
    if (up?.kind !== 'open') throw new Error('the second node is the open node of level 1')
    const wrong = { ...up, marks: [31], size: 31 }
    const over = {
      ...up,
      level: 0,
      count: 33,
      size: 32,
      marks: [3],
      up: hashNode(encodeNode(wrong)),
    }
    const fooled = await openArray(holding(wrong, over, ...nodes), value(over, 33, 32))
    await expect(blobAt(holding(wrong, over, ...nodes), fooled, 0)).rejects.toThrow(corrupt)
  })
})

describe('encodeTreeobj()', () => {
  it('leaves out attributes that say nothing', () => {
    const data = Buffer.from('x')
    expect(encodeTreeobj({ type: 'val', data, attrs: {} })).toEqual([0, data])
    expect(refOf({ type: 'val', data, attrs: {} })).toBe(refOf({ type: 'val', data }))
    const sealed = { type: 'valref', ref: a, count: 1, size: 1, attrs: { sealed: true } } as const
    expect(refOf(sealed)).not.toBe(refOf({ type: 'valref', ref: a, count: 1, size: 1 }))
  })
})
