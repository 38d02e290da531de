/** Reads of one snapshot: values, their stat, listings. See rfc/6.
 *  Invariant: an answer comes from one root of the namespace that was asked for. */

import { type ListEntry, type Listing, type Reading, readSizeMax, type Stat } from '../api/kvs.js'
import type { Signal } from '../base/abort.js'
import { LoopSlice } from '../base/loop-slice.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Content, cacheSizeDefault } from '../content/content.js'
import type { Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'
import { Page, pageLimit } from '../past/page.js'
import { openArray } from '../tree/array.js'
import { blobAt, entriesOf, indexAtOffset } from '../tree/array-read.js'
import { listDir, notInMemory } from '../tree/dir.js'
import { type Found, lookup, peekLookup } from '../tree/lookup.js'
import type { Nodes } from '../tree/nodes.js'
import type { Admit } from '../tree/rights.js'
import { peekRoot } from '../tree/root.js'
import { corrupt } from '../treeobj/check.js'
import { statOf } from '../treeobj/codec.js'
import { isAddressable, type Key, parseEntryKey, parseKey, shownKey } from '../treeobj/key.js'
import {
  baseOf,
  checkAboveBase,
  type Dir,
  measureOf,
  sizeLeft,
  sizeOf,
  type Treeobj,
  type TreeobjJson,
  type Val,
  type Valref,
  type Views,
} from '../treeobj/treeobj.js'
import { treeobjJson } from './treeobj-json.js'

/** A root to read from. */
export type Snapshot = {
  readonly namespace: string
  readonly seq: number
  /** Gives the tree of that root, and the trees of other namespaces that links lead to. */
  readonly views: Views
  /** Judges each key that a link leads to. Absent: all may be read. */
  readonly admit?: Admit | undefined
}

/** The largest size of all values that `peekMany` gives, in bytes. */
const peekedSizeMax = 64 * 1024

/** A range of bytes: `from` up to, not including, `to`. */
type Extent = { readonly from: number; readonly to: number }

/** Reads keys, at snapshots that its callers hold. */
export class Reader {
  readonly #content: Content
  readonly #nodes: Nodes

  constructor(content: Content, nodes: Nodes) {
    this.#content = content
    this.#nodes = nodes
  }

  /** Looks a key up. `follow`: a link as its last component is followed. Throws ELOOP, EDANGLING,
   *  ECORRUPT, EIO, and what the snapshot's `admit` throws. */
  find(snapshot: Snapshot, key: Key, options: { readonly follow: boolean }): Promise<Found> {
    const views: Views = (name) => snapshot.views(name)
    const { namespace, admit } = snapshot
    return lookup(this.#nodes, views, namespace, key, admit ? { ...options, admit } : options)
  }

  /** Describes a key. Undefined where it is not there. Throws EINVAL, and what `find` throws. */
  async stat(snapshot: Snapshot, key: string, follow: boolean): Promise<Stat | undefined> {
    const { treeobj } = await this.find(snapshot, parseKey(key), { follow })
    return treeobj && statOf(treeobj, snapshot.seq)
  }

  /** Opens a value, one blob of it (`index`), or its bytes `from` up to `to`; its chunks are loaded
   *  as they are consumed. Undefined where the key is not there. Throws EISDIR, EINVAL, ENOENT
   *  (`index` is past the end), ECOMPACTED (below a log's base). */
  async read(
    snapshot: Snapshot,
    key: string,
    options: {
      readonly index?: number | undefined
      readonly from?: number | undefined
      readonly to?: number | undefined
    },
  ): Promise<Reading | undefined> {
    const { index, from, to } = options
    checkBound('index', index)
    checkBound('from', from)
    checkBound('to', to)
    if (to !== undefined && to < (from ?? 0)) {
      throw new TailraceError('EINVAL', `there is nothing from ${from} to ${to}`)
    }
    const { treeobj } = await this.find(snapshot, parseKey(key), { follow: true })
    if (!treeobj) return undefined
    const stat = statOf(treeobj, snapshot.seq)
    if (treeobj.type === 'dir')
      throw new TailraceError('EISDIR', `${shownKey(key)} is a directory: list it`)
    if (index !== undefined && index >= stat.count) {
      throw new TailraceError(
        'ENOENT',
        `${key} has ${stat.count} blobs: there is no index ${index} yet`,
      )
    }
    const base = baseOf(treeobj)
    checkAboveBase(key, base, options)
    const begin = from ?? (index === undefined ? base.size : 0)
    const chunks = this.#chunks(treeobj, index, { from: begin, to: to ?? Number.MAX_SAFE_INTEGER })
    return { stat, chunks }
  }

  /** Reads a value of at most `blobSizeMax` bytes. Undefined where it is not there.
   *  Throws E2BIG, EISDIR. */
  async small(snapshot: Snapshot, key: string): Promise<Uint8Array | undefined> {
    const reading = await this.read(snapshot, key, {})
    if (!reading) return undefined
    const size = sizeLeft(reading.stat)
    if (size > blobSizeMax) {
      throw new TailraceError('E2BIG', `${key} has ${size} bytes: read it alone`)
    }
    const chunks: Uint8Array[] = []
    for await (const chunk of reading.chunks) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** Reads the values of several keys, each of at most `blobSizeMax` bytes, in the order of the
   *  keys. Throws E2BIG (one of them is larger, or all together exceed `readSizeMax`), EISDIR. */
  async many(snapshot: Snapshot, keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    const values: (Uint8Array | undefined)[] = []
    const slice = new LoopSlice()
    let size = 0
    for (const key of keys) {
      if (slice.over) await slice.turn()
      const value = await this.small(snapshot, key)
      size += value?.length ?? 0
      if (size > readSizeMax) {
        const message = `the values of one read have at most ${readSizeMax} bytes: ask for fewer keys`
        throw new TailraceError('E2BIG', message)
      }
      values.push(value)
    }
    return values
  }

  /** Reads the values of several keys at a root without I/O: each is inline, or one blob, or missing.
   *  They are shared with other readers: do not change them. Undefined if something must be loaded,
   *  if a link must be followed, for other keys, and above `peekedSizeMax` bytes together. Throws
   *  EINVAL, ECORRUPT. */
  peekMany(root: Root, keys: readonly string[]): (Uint8Array | undefined)[] | undefined {
    const trees = peekRoot(this.#nodes, root.ref)
    if (!trees) return undefined
    const values: (Uint8Array | undefined)[] = []
    let size = 0
    for (const key of keys) {
      const treeobj = peekLookup(this.#nodes, trees.data, parseKey(key), { follow: true })
      if (treeobj === notInMemory) return undefined
      const value = treeobj && this.#peekValue(treeobj)
      if (treeobj && !value) return undefined
      size += value?.length ?? 0
      if (size > peekedSizeMax) return undefined
      values.push(value)
    }
    return values
  }

  /** Returns the bytes of a value that is inline, or one blob in memory. */
  #peekValue(treeobj: Treeobj): Uint8Array | undefined {
    if (treeobj.type === 'val') return treeobj.data
    if (treeobj.type !== 'valref' || treeobj.count !== 1 || treeobj.base) return undefined
    // The value of one blob names the blob itself (rfc/5).
    return treeobj.size <= peekedSizeMax ? this.#content.peek(treeobj.ref) : undefined
  }

  /** Reads all bytes of a value. They may be shared with other readers: do not change them.
   *  REQUIRES: the value fits into memory. Throws ECANCELED. */
  async bytes(treeobj: Val | Valref, signal?: Signal): Promise<Uint8Array> {
    if (treeobj.type === 'val') return treeobj.data
    const chunks: Uint8Array[] = []
    const left: Extent = { from: baseOf(treeobj).size, to: Number.MAX_SAFE_INTEGER }
    for await (const chunk of this.#chunks(treeobj, undefined, left)) {
      if (signal?.aborted) throw canceled(signal)
      chunks.push(chunk)
    }
    const [only] = chunks
    return only && chunks.length === 1 ? only : Buffer.concat(chunks)
  }

  /** Returns a page of a key's treeobj as JSON; a link is not followed. Undefined where the key is
   *  not there. Throws EINVAL. */
  async treeobj(
    snapshot: Snapshot,
    key: string,
    page: { readonly after?: number | undefined; readonly limit?: number | undefined },
  ): Promise<TreeobjJson | undefined> {
    const { after, limit } = page
    checkBound('after', after)
    const { treeobj } = await this.find(snapshot, parseKey(key), { follow: false })
    if (!treeobj) return undefined
    return treeobjJson(this.#nodes, treeobj, {
      ...(after === undefined ? {} : { after }),
      limit: pageLimit(limit),
    })
  }

  /** Lists a page of a directory. Throws ENOENT, ENOTDIR, EINVAL, ECANCELED. */
  async list(
    snapshot: Snapshot,
    key: string,
    options: {
      readonly after?: string | undefined
      readonly limit?: number | undefined
      readonly recursive?: boolean | undefined
      readonly signal?: AbortSignal | undefined
    },
  ): Promise<Listing> {
    const { treeobj } = await this.find(snapshot, parseKey(key), { follow: true })
    if (!treeobj) throw new TailraceError('ENOENT', `${shownKey(key)} is not there`)
    if (treeobj.type !== 'dir') throw new TailraceError('ENOTDIR', `${key} is not a directory`)
    const page = new Page(options.limit)
    const after = options.after === undefined ? undefined : parseEntryKey(options.after)
    const entries: ListEntry[] = []
    const all = options.recursive
      ? this.#walk(treeobj, '', after)
      : listDir(this.#nodes, treeobj, afterOf(after))
    for await (const [name, child] of all) {
      if (options.signal?.aborted) throw canceled(options.signal)
      if (page.full) return { entries, more: true, seq: snapshot.seq }
      entries.push({ name, ...measureOf(child), size: sizeOf(child) })
      page.add(name.length)
    }
    return { entries, more: false, seq: snapshot.seq }
  }

  /** Lists every key below a directory that comes after `after`, a directory before what is
   *  in it. Keys below a directory whose own key is too long to be asked for
   *  (`isAddressable`) are left out. */
  async *#walk(
    dir: Dir,
    prefix: string,
    after: string | undefined,
  ): AsyncGenerator<readonly [string, Treeobj]> {
    const cut = after?.indexOf('/') ?? -1
    const first = after === undefined || cut < 0 ? after : after.slice(0, cut)
    // `after` may be below the entry `first`, which was listed then: list what is left below it.
    if (after !== undefined && first !== undefined) {
      const below = cut < 0 ? undefined : after.slice(cut + 1)
      const found = await this.#child(dir, first)
      if (found && isAddressable(prefix + first))
        yield* this.#walk(found, `${prefix}${first}/`, below)
    }
    for await (const [name, child] of listDir(this.#nodes, dir, afterOf(first))) {
      yield [prefix + name, child]
      if (child.type !== 'dir' || !isAddressable(prefix + name)) continue
      yield* this.#walk(child, `${prefix}${name}/`, undefined)
    }
  }

  async #child(dir: Dir, name: string): Promise<Dir | undefined> {
    const found = await lookup(this.#nodes, () => dir, '', name as Key, { follow: false })
    return found.treeobj?.type === 'dir' ? found.treeobj : undefined
  }

  async *#chunks(
    treeobj: Exclude<Treeobj, Dir>,
    index: number | undefined,
    extent: Extent,
  ): AsyncGenerator<Uint8Array> {
    const { from, to } = extent
    if (treeobj.type === 'symlink') return
    if (treeobj.type === 'val') {
      if (from < treeobj.data.length) yield treeobj.data.subarray(from, to)
      return
    }
    const array = await openArray(this.#nodes, treeobj)
    if (index !== undefined) {
      const blob = await this.#content.load((await blobAt(this.#nodes, array, index)).ref)
      if (from < blob.length) yield blob.subarray(from, to)
      return
    }
    if (from >= array.size) return
    const passing = Math.min(to, array.size) - from > cacheSizeDefault
    const base = baseOf(treeobj)
    const start = from === base.size ? base.count : await indexAtOffset(this.#nodes, array, from)
    for await (const entry of entriesOf(this.#nodes, array, start, array.count)) {
      if (entry.index === base.count && entry.offset !== base.size) {
        throw corrupt('a base at another byte than its blob')
      }
      if (entry.offset >= to) return
      if (entry.size === 0) continue
      const bytes = await (passing ? this.#content.lend(entry.ref) : this.#content.load(entry.ref))
      const begin = Math.max(0, from - entry.offset)
      yield begin > 0 || entry.offset + entry.size > to
        ? bytes.subarray(begin, to - entry.offset)
        : bytes
    }
  }
}

function afterOf(after: string | undefined): { after?: string } {
  return after === undefined ? {} : { after }
}

function checkBound(name: string, value: number | undefined): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) return
  throw new TailraceError('EINVAL', `${name} is a whole number, 0 or more`)
}

/** An entry that was found without I/O, and the root it was found at. */
export type Peeked = {
  /** Undefined where the key is not there. */
  readonly treeobj: Treeobj | undefined
  readonly meta: Dir
  readonly seq: number
}

/** Looks a key up in a root without I/O. Undefined where nodes must be loaded or links followed.
 *  Throws EINVAL, ECORRUPT. */
export function peekKey(
  nodes: Nodes,
  root: Root,
  key: string,
  options: { readonly follow: boolean },
): Peeked | undefined {
  const trees = peekRoot(nodes, root.ref)
  if (!trees) return undefined
  const treeobj = peekLookup(nodes, trees.data, parseKey(key), options)
  return treeobj === notInMemory ? undefined : { treeobj, meta: trees.meta, seq: root.seq }
}
