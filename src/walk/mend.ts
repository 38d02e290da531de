/** Mends trees: a mending makes a copy of a tree without its damage. Whole values stay, damaged
 *  values are removed, and directories keep the entries that can be read. See rfc/15.
 *  Invariant: every undamaged key keeps its treeobj. Every loss is reported, with what survives.
 *  New nodes and blobs are stored as they are made; no root names them yet. Memory: one batch. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { type AppendArray, closeArray, emptyArray, pushBlob } from '../tree/array.js'
import { editDir } from '../tree/dir-edit.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'
import { refOf } from '../treeobj/codec.js'
import { joinKey, type Key } from '../treeobj/key.js'
import { type Attrs, type Dir, emptyDir, type Treeobj, type Valref } from '../treeobj/treeobj.js'
import {
  type Clean,
  inspectDir,
  inspectLog,
  type LostBlobs,
  type LostNames,
  lossOf,
} from './inspect.js'

/** The number of entries of a rebuilt directory, or of blobs of a log, after
 *  which new nodes are stored. */
const batchCount = 4_096
/** The largest number of losses that one report lists. Adjacent losses count as one. */
const lossesMax = 1_000

/** Lost blobs of a log, or lost names of a directory. */
type Loss = Omit<LostBlobs, 'part' | 'kind' | 'error'> | Omit<LostNames, 'part' | 'error'>

/** The report of one removed value, or of one directory with lost names. */
export type Mended =
  /** A value that was removed; `kept` is what survives of it. */
  | {
      readonly key: Key
      readonly was: Valref
      readonly kept: Valref | undefined
      readonly losses: readonly Loss[]
    }
  /** A directory that lost names. */
  | { readonly key: Key; readonly losses: readonly Loss[] }

/** The ports of a mending. */
export type MendPorts = {
  readonly nodes: Nodes
  /** The parts that are known to be whole. They are not read. */
  readonly whole: Clean
  /** Checks a blob of `size` bytes. Throws ECORRUPT, EDANGLING, EIO if it is damaged. */
  readonly checkBlob: (ref: Blobref, size: number) => Promise<void>
  /** Stores new blobs and nodes, durable when it resolves. */
  readonly store: (blobs: readonly Blob[]) => Promise<void>
  /** A directory with at most this many keys is removed as a whole if it lost names: the parts of a
   *  record are of no use without each other. */
  readonly wholeUpTo?: number
  /** The mended directories, by the refs of the damaged treeobjs. Each is mended and reported once,
   *  under the first of its keys. */
  readonly done: Map<Blobref, Dir | undefined>
}

/** Returns the directory `key` without its damage; undefined if it is removed as a whole. Adds the
 *  losses to `mended`. Throws what `store` throws, and only what is no damage. */
export async function mendDir(
  ports: MendPorts,
  dir: Dir,
  key: Key,
  mended: Mended[],
): Promise<Dir | undefined> {
  const { nodes, whole, store } = ports
  const edits = new Map<string, Treeobj | undefined>()
  const losses: LostNames[] = []
  const findings = { clean: whole, damages: 0 }
  for await (const part of inspectDir(nodes, dir, findings)) {
    findings.damages++ // so that the inspection adds nothing to `whole`
    if (part.part === 'lost') {
      losses.push(part)
      continue
    }
    const { name, treeobj } = part
    const at = joinKey(key, name)
    if (treeobj.type === 'dir') {
      const child = await mendOnce(ports, treeobj, at, mended)
      if (child !== treeobj) edits.set(name, child)
    } else if (treeobj.type === 'valref' && !whole.values.has(refOf(treeobj))) {
      mended.push(await mendLog(ports, treeobj, at))
      edits.set(name, undefined)
    }
  }
  if (losses.length > 0) {
    mended.push({ key, losses: losses.slice(0, lossesMax).map(namesLost) })
    if (dir.keys <= (ports.wholeUpTo ?? 0)) return undefined
    return rebuild(ports, dir, edits)
  }
  if (edits.size === 0) return dir
  using writer = new NodeWriter(nodes)
  const next = await editDir(nodes, writer, dir, edits)
  await store(writer.blobs)
  return next
}

async function mendOnce(
  ports: MendPorts,
  dir: Dir,
  key: Key,
  mended: Mended[],
): Promise<Dir | undefined> {
  const id = refOf(dir)
  if (ports.done.has(id)) return ports.done.get(id)
  const next = await mendDir(ports, dir, key, mended)
  if (next !== dir) ports.done.set(id, next)
  return next
}

/** Returns a new directory of all entries that can be read. It is made in batches: the entries come
 *  in order, so that each batch changes the last nodes only. */
async function rebuild(
  ports: MendPorts,
  dir: Dir,
  changed: ReadonlyMap<string, Treeobj | undefined>,
): Promise<Dir> {
  const { nodes, store } = ports
  let next = emptyDir
  let batch = new Map<string, Treeobj>()
  const flush = async () => {
    using writer = new NodeWriter(nodes)
    next = await editDir(nodes, writer, next, batch)
    await store(writer.blobs)
    batch = new Map()
  }
  for await (const part of inspectDir(nodes, dir)) {
    if (part.part === 'lost') continue
    const treeobj = changed.has(part.name) ? changed.get(part.name) : part.treeobj
    if (treeobj) batch.set(part.name, treeobj)
    if (batch.size >= batchCount) await flush()
  }
  await flush()
  return next
}

/** Makes a log of the blobs that can be read, in order, each as an append of its own. */
async function mendLog(ports: MendPorts, was: Valref, key: Key): Promise<Mended> {
  const { nodes, store } = ports
  const losses: Loss[] = []
  let array: AppendArray = emptyArray
  let writer = new NodeWriter(nodes)
  try {
    for await (const part of inspectLog(nodes, was)) {
      const lost = await lossOf(part, ({ ref, size }) => ports.checkBlob(ref, size))
      if (lost) {
        addLoss(losses, lost)
        continue
      }
      if (part.part === 'lost') continue
      array = pushBlob(writer, array, { ref: part.ref, size: part.size, more: false })
      if (array.count % batchCount !== 0) continue
      // Pages are stored before later pages name them.
      await store(writer.blobs)
      writer[Symbol.dispose]()
      writer = new NodeWriter(nodes)
    }
    const kept = array.count === 0 ? undefined : closeArray(writer, array, keptAttrs(was.attrs))
    await store(writer.blobs)
    return { key, was, kept, losses }
  } finally {
    writer[Symbol.dispose]()
  }
}

/** Returns the attributes without the seal, since the mended log is not the one that was sealed. */
function keptAttrs(attrs: Attrs | undefined): Attrs | undefined {
  const contentType = attrs?.contentType
  return contentType === undefined ? undefined : { contentType }
}

function addLoss(losses: Loss[], { from, to, offset, end, ref }: LostBlobs): void {
  const last = losses.at(-1)
  if (last && 'to' in last && last.to === from) {
    losses[losses.length - 1] = { ...last, to, end }
  } else if (losses.length < lossesMax) losses.push({ from, to, offset, end, ref })
}

function namesLost({ after, upTo, keys, size, ref }: LostNames): Loss {
  return { after, upTo, keys, size, ref }
}
