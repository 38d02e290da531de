/** What does one lone change cost in nodes, bytes and time, at 10^2, 10^4 and 10^6 entries?
 *
 *  Expected. Directory: a change rewrites one node a level: a leaf of 32 entries of about 60 B,
 *  and branches of 32 children of about 48 B; the levels are log32(n), so 1, 3 and 4 nodes, 2 to 7
 *  kB. A node costs its encoding and one hash of 1.5 kB, about 10 µs. Array: an append rewrites
 *  the open node of level 0, 0 to 31 entries of 34 B, about 600 B; each 32nd closes a page of 1.1
 *  kB and writes the level above. Flat in the length. An arrayRef is that node's encoding and
 *  hash: 3 to 5 µs.
 *
 *  In memory, without a store. rfc/5 quotes it. */

import { hashBlob } from '../src/blob/hash.js'
import { TailraceError } from '../src/error.js'
import { type AppendArray, arrayRef, closeArray, emptyArray, pushBlob } from '../src/tree/array.js'
import { editDir } from '../src/tree/dir-edit.js'
import { hashOnly, Nodes, NodeWriter } from '../src/tree/nodes.js'
import { emptyDir, type Treeobj } from '../src/treeobj/treeobj.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'

const sizes = [100, 10_000, 1_000_000]
const changesOfSize = 2_000
/** All nodes of the largest tree stay in memory: the question is not the disk. */
const cacheSize = 512 * 1024 * 1024

type Cost = { readonly nodes: number; readonly bytes: number; readonly us: number }

function memory(): Nodes {
  const source = {
    peekNode: () => undefined,
    loadNode: () => Promise.reject(new TailraceError('EDANGLING', 'the cache is too small')),
  }
  return new Nodes(source, { cacheSize })
}

function valref(seed: number): Treeobj {
  return { type: 'valref', ref: hashBlob(Buffer.from(String(seed))), count: 1, size: 100 }
}

/** `step` does one change and gives the writer that it wrote to. */
async function costOf(
  changes: number,
  step: (n: number) => NodeWriter | Promise<NodeWriter>,
): Promise<Cost> {
  const warm = Math.ceil(changes / 4)
  let nodes = 0
  let bytes = 0
  let began = 0
  for (let n = 0; n < warm + changes; n++) {
    if (n === warm) began = performance.now()
    using writer = await step(n)
    if (n < warm) continue
    for (const blob of writer.blobs) {
      nodes++
      bytes += blob.bytes.length
    }
  }
  const us = ((performance.now() - began) * 1000) / changes
  return { nodes: nodes / changes, bytes: bytes / changes, us }
}

async function dirCost(entries: number, changes: number): Promise<Cost> {
  const nodes = memory()
  const name = (n: number) => `host-${(n * 7919) % entries}.log`
  const all = new Map<string, Treeobj>()
  for (let n = 0; n < entries; n++) all.set(name(n), valref(n))
  using first = new NodeWriter(nodes)
  let dir = await editDir(nodes, first, emptyDir, all)
  return costOf(changes, async (n) => {
    const writer = new NodeWriter(nodes)
    dir = await editDir(nodes, writer, dir, new Map([[name(n * 31), valref(-n)]]))
    return writer
  })
}

function arrayOf(count: number): AppendArray {
  let array = emptyArray
  const ref = hashBlob(Buffer.from('blob'))
  for (let n = 0; n < count; n++) array = pushBlob(hashOnly, array, { ref, size: 100, more: false })
  return array
}

async function arrayCost(count: number, changes: number): Promise<Cost> {
  const nodes = memory()
  let array = arrayOf(count)
  const blob = { ref: hashBlob(Buffer.from('more')), size: 100, more: false }
  return costOf(changes, (_n) => {
    const writer = new NodeWriter(nodes)
    array = pushBlob(writer, array, blob)
    closeArray(writer, array)
    return writer
  })
}

/** One position of a watcher: a push and the ref of what it gives. */
function refUs(rounds: number): number {
  let array = arrayOf(1000)
  const blob = { ref: hashBlob(Buffer.from('more')), size: 100, more: false }
  const began = performance.now()
  for (let n = 0; n < rounds; n++) {
    array = pushBlob(hashOnly, array, blob)
    arrayRef(array)
  }
  return ((performance.now() - began) * 1000) / rounds
}

/** The cost of each append where many share one commit. */
function groupedBytes(group: number, groups: number): number {
  const nodes = memory()
  let array = arrayOf(1000)
  const blob = { ref: hashBlob(Buffer.from('more')), size: 100, more: false }
  let bytes = 0
  for (let n = 0; n < groups; n++) {
    using writer = new NodeWriter(nodes)
    for (let at = 0; at < group; at++) array = pushBlob(writer, array, blob)
    closeArray(writer, array)
    for (const { bytes: node } of writer.blobs) bytes += node.length
  }
  return bytes / (groups * group)
}

export const tree: Bench = {
  question: 'what does one change cost in nodes, bytes and time, at 100 to 1,000,000 entries?',
  byNameOnly: true,
  run: async ({ scale }): Promise<readonly Row[]> => {
    const rows: Row[] = []
    const cost = (work: string, unit: string, value: number) => {
      const figures = [{ system: 'tailrace', values: [value] }] as const
      rows.push({ bench: 'tree', work, unit, better: 'less', figures })
    }
    for (const [what, costOfSize] of [
      ['a directory', dirCost],
      ['an append array', arrayCost],
    ] as const) {
      for (const entries of sizes) {
        const size = Math.ceil(entries / scale)
        const work = `one change in ${what} of ${size.toLocaleString('en')}`
        const { nodes, bytes, us } = await costOfSize(size, Math.ceil(changesOfSize / scale))
        cost(work, 'nodes', nodes)
        cost(work, 'bytes', bytes)
        cost(work, 'µs', us)
      }
    }
    for (const group of [16, 64]) {
      cost(
        `an append in groups of ${group}`,
        'bytes',
        groupedBytes(group, Math.ceil(1_000 / scale)),
      )
    }
    cost('a push with its arrayRef', 'µs', refUs(Math.ceil(50_000 / scale)))
    return rows
  },
}
