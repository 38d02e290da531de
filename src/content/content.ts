/** The content store: blobs and nodes by ref, verified, cached, each loaded once however many ask.
 *  See rfc/3.
 *  Invariant: bytes that leave here hash to the ref they were asked by, as the kind they were asked
 *  as. The cache is bounded in bytes of the buffers that it keeps; what was just stored is in it. */

import { LoopSlice } from '../base/loop-slice.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode } from '../blob/hash.js'
import type { Engine } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import { ByteCache } from './cache.js'
import { smallBatchCount, type Uploaded, upload, uploadBatchCount, uploadsMany } from './upload.js'

/** Bytes of blobs and nodes kept in memory. */
export const cacheSizeDefault = 16 * 1024 * 1024

/** Of an upload this many bytes, or a batch more, are kept in the cache: a value that is larger than all of it
 *  would only push out what others read. */
export const uploadKeptMax = 8 * 1024 * 1024

/** What the tree room needs of a content store: nodes by ref. */
export interface NodeSource {
  /** The node's bytes if they are in memory. */
  peekNode(ref: Blobref): Uint8Array | undefined
  /** The node's bytes. Throws EDANGLING (not there), ECORRUPT (do not match), EIO, ECLOSED. */
  loadNode(ref: Blobref): Promise<Uint8Array>
}

/** A ref names its bytes either as a value's blob or as a tree's node; no bytes are both (rfc/3). */
type Kind = 'blob' | 'node'

type Entry = { readonly kind: Kind; readonly bytes: Uint8Array }

const hashes: Readonly<Record<Kind, (bytes: Uint8Array) => Blobref>> = {
  blob: hashBlob,
  node: hashNode,
}

export class Content implements NodeSource {
  readonly #engine: Engine
  readonly #cache: ByteCache<Blobref, Entry>
  /** The loads that are under way. Kept apart by kind, since each load verifies as one of them. */
  readonly #loading: Readonly<Record<Kind, Map<Blobref, Promise<Uint8Array>>>> = {
    blob: new Map(),
    node: new Map(),
  }
  #loads = 0
  /** Uploads that are under way. */
  #uploads = 0

  /** `cacheSize`: bytes, at least 1; an entry that is larger than it is not kept. Throws EINVAL. */
  constructor(engine: Engine, options?: { readonly cacheSize?: number }) {
    const cacheSize = options?.cacheSize ?? cacheSizeDefault
    if (!Number.isSafeInteger(cacheSize) || cacheSize < 1) {
      throw new TailraceError('EINVAL', `cacheSize is a number of bytes from 1, not ${cacheSize}`)
    }
    this.#engine = engine
    this.#cache = new ByteCache(cacheSize)
  }

  /** How many refs were asked of the engine so far: each costs a read and a hash. */
  get loads(): number {
    return this.#loads
  }

  /** Bytes in the cache, entry costs included. */
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

  /** A value's blob. Throws EDANGLING (not there), ECORRUPT (does not match its ref), EIO, ECLOSED. */
  load(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, 'blob')
  }

  /** The same for who reads more than the cache holds: what is not in it by then is not kept. */
  pass(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, 'blob', { keep: false })
  }

  /** Which refs are there; those that are count as put now, and are spared by collections (rfc/4). */
  has(refs: readonly Blobref[]): Promise<boolean[]> {
    return this.#engine.has(refs)
  }

  /** A value's blob; undefined where none of that ref is stored, a node neither. Throws ECORRUPT, EIO, ECLOSED. */
  async find(ref: Blobref): Promise<Uint8Array | undefined> {
    const entry = this.#cache.get(ref)
    if (entry) return entry.kind === 'blob' ? entry.bytes : undefined
    const [bytes] = await this.#engine.load([ref])
    if (!bytes || hashNode(bytes) === ref) return undefined
    return this.#keepAs(ref, 'blob', bytes)
  }

  /** Stores blobs that no root names yet, durable when it resolves. Throws ENOSPC, EIO, ECLOSED. */
  async put(blobs: readonly Blob[]): Promise<void> {
    await this.#engine.put(blobs)
    await this.remember(blobs)
  }

  /** Stores a stream of any length: cut at the blob limit, each blob yielded in order once it is
   *  durable; `note` is told of refs before they are put. No root names them yet. Memory: `uploadBatchCount` blobs twice and the one that fills
   *  (4.5 MiB). An empty stream is one empty blob. Throws what `chunks` throws, ECANCELED, ENOSPC,
   *  EIO, ECLOSED; what was yielded before stays stored. */
  async *upload(
    chunks: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
    note: (refs: readonly Blobref[]) => void = () => {},
  ): AsyncGenerator<Uploaded> {
    let kept = 0
    const put = async (blobs: readonly Blob[]) => {
      note(blobs.map(({ ref }) => ref))
      await this.#engine.put(blobs)
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

  /** Keeps blobs in memory that were just stored, so that a live watcher never goes to disk.
   *  REQUIRES: the engine has them. */
  async remember(blobs: readonly Blob[]): Promise<void> {
    const slice = new LoopSlice({ urgent: true })
    for (const { ref, bytes, kind } of blobs) {
      this.#keep(ref, kind ?? 'blob', bytes)
      if (slice.over) await slice.turn()
    }
  }

  /** Drops blobs from memory that the store has no more. */
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
      // A failed load is forgotten too: who asks next asks the engine again.
      this.#loading[kind].delete(ref)
    }
  }

  async #loadFromEngine(ref: Blobref, kind: Kind, keep: boolean): Promise<Uint8Array> {
    this.#loads++
    const [bytes] = await this.#engine.load([ref])
    if (!bytes) throw new TailraceError('EDANGLING', `${ref} is named by a tree but not stored`)
    return keep ? this.#keepAs(ref, kind, bytes) : checked(ref, kind, bytes)
  }

  /** Keeps bytes of which nobody has said yet that they are of this kind. Throws ECORRUPT. */
  #keepAs(ref: Blobref, kind: Kind, bytes: Uint8Array): Uint8Array {
    return this.#keep(ref, kind, checked(ref, kind, bytes))
  }

  #keep(ref: Blobref, kind: Kind, bytes: Uint8Array): Uint8Array {
    const own = compact(bytes)
    // The whole buffer is what the entry keeps in memory.
    this.#cache.set(ref, { kind, bytes: own }, own.buffer.byteLength)
    return own
  }
}

/** Throws ECORRUPT. */
function checked(ref: Blobref, kind: Kind, bytes: Uint8Array): Uint8Array {
  if (hashes[kind](bytes) === ref) return bytes
  throw new TailraceError('ECORRUPT', `the stored bytes of ${ref} do not match it as a ${kind}`)
}

/** The bytes, copied where they are a view of a buffer more than twice their size: a small blob may
 *  not keep the request that it came with, nor the pool that it was encoded in, in memory. */
function compact(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength <= 2 * bytes.length) return bytes
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}
