/** The content store: blobs and nodes by ref, verified, cached, each loaded once however many ask.
 *  See rfc/3.
 *  Invariant: bytes that leave here hash to the ref they were asked by. The cache is bounded in
 *  bytes (rfc/3); what was just stored is in it. */

import { LRUCache } from 'lru-cache'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode } from '../blob/hash.js'
import type { Engine } from '../engine/engine.js'
import { TailraceError } from '../error.js'

/** Bytes of blobs and nodes kept in memory. */
export const cacheSizeDefault = 64 * 1024 * 1024
/** What an entry costs besides its bytes: the ref, the list, the map. */
const entryCost = 256

/** What the tree room needs of a content store: nodes by ref. */
export interface NodeSource {
  /** The node's bytes if they are in memory. */
  peekNode(ref: Blobref): Uint8Array | undefined
  /** The node's bytes. Throws EDANGLING (not there), ECORRUPT (do not match), EIO. */
  loadNode(ref: Blobref): Promise<Uint8Array>
}

export class Content implements NodeSource {
  readonly #engine: Engine
  readonly #cache: LRUCache<Blobref, Uint8Array>
  readonly #loading = new Map<Blobref, Promise<Uint8Array>>()
  #loads = 0

  constructor(engine: Engine, options?: { readonly cacheSize?: number }) {
    this.#engine = engine
    this.#cache = new LRUCache({
      maxSize: options?.cacheSize ?? cacheSizeDefault,
      sizeCalculation: (bytes) => bytes.length + entryCost,
    })
  }

  /** How many refs were asked of the engine so far: each costs a read and a hash. */
  get loads(): number {
    return this.#loads
  }

  /** Bytes in the cache, entry costs included. */
  get cached(): number {
    return this.#cache.calculatedSize
  }

  peekNode(ref: Blobref): Uint8Array | undefined {
    return this.#cache.get(ref)
  }

  loadNode(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, hashNode)
  }

  /** A value's blob. Throws EDANGLING (not there), ECORRUPT (does not match its ref), EIO. */
  load(ref: Blobref): Promise<Uint8Array> {
    return this.#load(ref, hashBlob)
  }

  /** Stores blobs that no root names yet, durable when it resolves. Throws ENOSPC, EIO. */
  async put(blobs: readonly Blob[]): Promise<void> {
    await this.#engine.put(blobs)
    this.remember(blobs)
  }

  /** Keeps blobs in memory that were just stored, so that a live watcher never goes to disk.
   *  REQUIRES: the engine has them. */
  remember(blobs: readonly Blob[]): void {
    for (const blob of blobs) this.#cache.set(blob.ref, blob.bytes)
  }

  async #load(ref: Blobref, hash: (bytes: Uint8Array) => Blobref): Promise<Uint8Array> {
    const cached = this.#cache.get(ref)
    if (cached) return cached
    const loading = this.#loading.get(ref)
    if (loading) return loading
    const load = this.#loadFromEngine(ref, hash)
    this.#loading.set(ref, load)
    try {
      return await load
    } finally {
      this.#loading.delete(ref)
    }
  }

  async #loadFromEngine(ref: Blobref, hash: (bytes: Uint8Array) => Blobref): Promise<Uint8Array> {
    this.#loads++
    const [bytes] = await this.#engine.load([ref])
    if (!bytes) throw new TailraceError('EDANGLING', `${ref} is named by a tree but not stored`)
    if (hash(bytes) !== ref) throw new TailraceError('ECORRUPT', `stored bytes do not match ${ref}`)
    this.#cache.set(ref, bytes)
    return bytes
  }
}
