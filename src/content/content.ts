/** The content store: blobs and nodes by ref, verified and cached. Callers that ask for the same
 *  ref at the same time share one load. See rfc/3.
 *  Invariant: bytes that it returns hash to the ref that was asked for, as the kind
 *  that was asked for. The cache has a bound in bytes of the buffers that it keeps, and
 *  holds what was just stored. */

import { LoopSlice } from '../base/loop-slice.js'
import { type Blob, writtenAnew } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode } from '../blob/hash.js'
import type { Engine } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import { ByteCache } from './cache.js'
import { smallBatchCount, type Uploaded, upload, uploadBatchCount, uploadsMany } from './upload.js'

/** The default bound of the cache, in bytes. */
export const cacheSizeDefault = 16 * 1024 * 1024

/** The largest part of an upload that goes into the cache, in bytes (one batch may come on top). A
 *  value larger than the cache would only push out what others read. */
const uploadKeptMax = 8 * 1024 * 1024

/** A source of nodes by ref: the part of a content store that the room `tree` needs. */
export interface NodeSource {
  /** Returns a node's bytes if they are in memory. */
  peekNode(ref: Blobref): Uint8Array | undefined
  /** Returns a node's bytes. Throws EDANGLING (not there), ECORRUPT (they do not
   *  match the ref), EIO, ECLOSED. */
  loadNode(ref: Blobref): Promise<Uint8Array>
}

/** The kind of bytes that a ref names: the blob of a value, or a node of a tree (rfc/3, rule 4). */
type Kind = 'blob' | 'node'

type Entry = { readonly kind: Kind; readonly bytes: Uint8Array }

const hashes: Readonly<Record<Kind, (bytes: Uint8Array) => Blobref>> = {
  blob: hashBlob,
  node: hashNode,
}

/** The content store over one engine. */
export class Content implements NodeSource {
  readonly #engine: Engine
  readonly #cache: ByteCache<Blobref, Entry>
  /** The loads in progress, by kind, since each load verifies its bytes as one kind. */
  readonly #loading: Readonly<Record<Kind, Map<Blobref, Promise<Uint8Array>>>> = {
    blob: new Map(),
    node: new Map(),
  }
  /** The results of `lend` that were not given back. */
  readonly #lent = new WeakSet<Uint8Array>()
  #loads = 0
  #loadedSize = 0
  /** The number of uploads in progress. */
  #uploads = 0

  /** Opens a content store. `cacheSize`: bytes, at least 1; an entry that is larger is
   *  not kept. Throws EINVAL. */
  constructor(engine: Engine, options?: { readonly cacheSize?: number }) {
    const cacheSize = options?.cacheSize ?? cacheSizeDefault
    if (!Number.isSafeInteger(cacheSize) || cacheSize < 1) {
      throw new TailraceError('EINVAL', `cacheSize is a number of bytes from 1, not ${cacheSize}`)
    }
    this.#engine = engine
    this.#cache = new ByteCache(cacheSize)
  }

  /** The number of refs that were loaded from the engine so far: each costs a read and a hash. */
  get loads(): number {
    return this.#loads
  }

  /** The bytes of what was loaded from the engine so far. */
  get loadedSize(): number {
    return this.#loadedSize
  }

  /** The bytes in the cache, entry costs included. */
  get cached(): number {
    return this.#cache.size
  }

  peekNode(ref: Blobref): Uint8Array | undefined {
    const entry = this.#cache.get(ref)
    return entry?.kind === 'node' ? entry.bytes : undefined
  }

  loadNode(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, 'node')
  }

  /** Returns a value's blob if it is in memory, without a load. */
  peek(ref: Blobref): Uint8Array | undefined {
    const entry = this.#cache.get(ref)
    return entry?.kind === 'blob' ? entry.bytes : undefined
  }

  /** Returns a value's blob. Throws EDANGLING (not there), ECORRUPT (does not
   *  match its ref), EIO, ECLOSED. */
  load(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, 'blob')
  }

  /** Returns a value's blob like `load`, but does not put it into the cache. Use it for reads of
   *  more than the cache holds. */
  pass(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, 'blob', { keep: false })
  }

  /** Returns a value's blob like `pass`, to a caller who may say with `giveBack` that nobody needs it
   *  any more. Callers that ask for the same ref do not share a load. Throws what `load` throws. */
  async lend(ref: Blobref): Promise<Uint8Array> {
    const shared = this.#engine.recycle === undefined || this.#cache.get(ref) !== undefined
    if (shared) return this.#load(ref, 'blob', { keep: false })
    const bytes = await this.#loadFromEngine(ref, 'blob', false)
    this.#lent.add(bytes)
    return bytes
  }

  /** Takes a blob back, whose buffer a later load then uses. Does nothing if `lend` did not return it,
   *  or if it was given back before. REQUIRES: nobody has it any more. */
  giveBack(bytes: Uint8Array): void {
    if (this.#lent.delete(bytes)) this.#engine.recycle?.(bytes)
  }

  /** Returns for each ref if it is stored. Refs that are count as put now, so that
   *  collections keep them (rfc/4). */
  has(refs: readonly Blobref[]): Promise<boolean[]> {
    return this.#engine.has(refs)
  }

  /** Returns a value's blob; undefined if nothing is stored under the ref, or if a node is. Throws
   *  ECORRUPT, EIO, ECLOSED. */
  async find(ref: Blobref): Promise<Uint8Array | undefined> {
    const entry = this.#cache.get(ref)
    if (entry) return entry.kind === 'blob' ? entry.bytes : undefined
    const [bytes] = await this.#engine.load([ref])
    if (!bytes || hashNode(bytes) === ref) return undefined
    return this.#keepAs(ref, 'blob', bytes)
  }

  /** Stores blobs that no root names yet. They are durable when it resolves.
   *  Throws ENOSPC, EIO, ECLOSED. */
  async put(blobs: readonly Blob[]): Promise<void> {
    await this.#engine.put(blobs)
    await this.remember(blobs)
  }

  /** Stores a stream of any length as blobs that no root names yet. It cuts them at the blob limit,
   *  and yields each one in order once it is durable. `note` is called with refs before they are
   *  put. An empty stream gives one empty blob. Memory: two batches of `uploadBatchCount` blobs,
   *  and the blob that fills (4.5 MiB). `anew`: writes what is stored already, too. Throws what `chunks` throws, ECANCELED, ENOSPC, EIO,
   *  ECLOSED; blobs that were yielded before stay stored. */
  async *upload(
    chunks: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
    note: (refs: readonly Blobref[]) => void = () => {},
    { anew } = { anew: false },
  ): AsyncGenerator<Uploaded> {
    let kept = 0
    const put = async (blobs: readonly Blob[]) => {
      note(blobs.map(({ ref }) => ref))
      await this.#engine.put(anew ? blobs.map(writtenAnew) : blobs)
      if (kept >= uploadKeptMax) return
      for (const { bytes } of blobs) kept += bytes.length
      await this.remember(blobs)
    }
    const batchCount = () => (this.#uploads > uploadsMany ? smallBatchCount : uploadBatchCount)
    this.#uploads++
    try {
      yield* upload(chunks, put, signal, batchCount)
    } finally {
      this.#uploads--
    }
  }

  /** Puts blobs into the cache that were just stored, so that a live watcher does not read the
   *  disk. REQUIRES: the engine has them. */
  async remember(blobs: readonly Blob[]): Promise<void> {
    const slice = new LoopSlice({ urgent: true })
    for (const { ref, bytes, kind } of blobs) {
      this.#keep(ref, kind ?? 'blob', bytes)
      if (slice.over) await slice.turn()
    }
  }

  /** Drops blobs from the cache that the engine does not have any more. */
  forget(refs: readonly Blobref[]): void {
    for (const ref of refs) this.#cache.delete(ref)
  }

  async #load(ref: Blobref, kind: Kind, { keep } = { keep: true }): Promise<Uint8Array> {
    const entry = this.#cache.get(ref)
    if (entry) return entry.kind === kind ? entry.bytes : this.#keepAs(ref, kind, entry.bytes)
    const loading = this.#loading[kind].get(ref)
    if (loading) return loading
    const load = this.#loadFromEngine(ref, kind, keep)
    this.#loading[kind].set(ref, load)
    try {
      return await load
    } finally {
      // A failed load is not remembered: the next call asks the engine again.
      this.#loading[kind].delete(ref)
    }
  }

  async #loadFromEngine(ref: Blobref, kind: Kind, keep: boolean): Promise<Uint8Array> {
    this.#loads++
    const [bytes] = await this.#engine.load([ref])
    if (!bytes) throw new TailraceError('EDANGLING', `${ref} is named by a tree but not stored`)
    this.#loadedSize += bytes.length
    return keep ? this.#keepAs(ref, kind, bytes) : checked(ref, kind, bytes)
  }

  /** Puts bytes into the cache that were not yet verified as this kind. Throws ECORRUPT. */
  #keepAs(ref: Blobref, kind: Kind, bytes: Uint8Array): Uint8Array {
    return this.#keep(ref, kind, checked(ref, kind, bytes))
  }

  #keep(ref: Blobref, kind: Kind, bytes: Uint8Array): Uint8Array {
    const own = compact(bytes)
    // The entry keeps the whole buffer in memory, so the whole buffer counts.
    this.#cache.set(ref, { kind, bytes: own }, own.buffer.byteLength)
    return own
  }
}

/** Returns the bytes. Throws ECORRUPT if they do not hash to `ref` as this kind. */
function checked(ref: Blobref, kind: Kind, bytes: Uint8Array): Uint8Array {
  if (hashes[kind](bytes) === ref) return bytes
  throw new TailraceError('ECORRUPT', `the stored bytes of ${ref} do not match it as a ${kind}`)
}

/** Returns the bytes, or a copy where they are a view of a buffer of more than twice
 *  their size. A small blob must not keep in memory the request that it came with, or the
 *  pool that it was encoded in. */
function compact(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength <= 2 * bytes.length) return bytes
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}
