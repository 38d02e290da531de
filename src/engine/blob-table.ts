/** The blobs of the durable engine: their bytes in the journal, their places in the index. See rfc/4,
 *  rules 16 and 17.
 *  Invariant: a ref that is stored is not stored again. Memory has only what is durable. */

import { LoopSlice } from '../base/loop-slice.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { reasonOf, TailraceError } from '../error.js'
import type { Journal } from '../journal/journal.js'
import type { Place, PlacedRecord } from '../journal/place.js'
import type { RefIndex } from './ref-index.js'
import type { SegmentTable } from './segment-table.js'

/** The number of times that a load looks for a blob that a collection moves meanwhile. */
const looksMax = 8

/** The blobs of one store. */
export class BlobTable {
  readonly #journal: Journal
  readonly #index: RefIndex
  readonly #segments: SegmentTable
  /** The number of times that a blob has lost its place so far. */
  #changes = 0

  constructor(journal: Journal, index: RefIndex, segments: SegmentTable) {
    this.#journal = journal
    this.#index = index
    this.#segments = segments
  }

  /** The bytes of the blobs that are stored. */
  get stored(): number {
    return this.#segments.stored
  }

  /** Tells for each ref if it is stored. */
  has(refs: readonly Blobref[]): boolean[] {
    return refs.map((ref) => this.#index.get(ref) !== undefined)
  }

  /** Returns the place of a ref, undefined where it is not stored. */
  place(ref: Blobref): Place | undefined {
    return this.#index.get(ref)
  }

  /** Returns the bytes of each ref, undefined where it is not stored. Each is a buffer of its own. A
   *  blob whose place changes while it is read is looked for again: a collection may have removed its
   *  old place, or written over it. Throws EIO. */
  async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    let changes = this.#changes
    let places = refs.map((ref) => this.#index.get(ref))
    const results = await this.#read(places)
    for (let look = 1; look < looksMax && changes !== this.#changes; look++) {
      changes = this.#changes
      const now = refs.map((ref) => this.#index.get(ref))
      const moved = now.map((place, index) => (isSame(place, places[index]) ? undefined : place))
      const found = await this.#read(moved)
      for (const [index, place] of now.entries()) {
        if (!isSame(place, places[index])) results[index] = found[index]
      }
      places = now
    }
    return results
  }

  /** Takes a result of `load` back. REQUIRES: nobody has it any more. */
  recycle(bytes: Uint8Array): void {
    this.#journal.recycle(bytes)
  }

  async #read(places: readonly (Place | undefined)[]): Promise<(Uint8Array | undefined)[]> {
    try {
      return await this.#journal.read(places)
    } catch (error) {
      const reason = reasonOf(error)
      throw new TailraceError('EIO', `the store could not be read (${reason})`, { cause: error })
    }
  }

  /** Finds the blobs that are not stored, that the same record drops, or that are written anew. */
  async missing(blobs: Iterable<Blob>, dropped: ReadonlySet<Blobref>): Promise<Blob[]> {
    const slice = new LoopSlice({ urgent: true })
    const missing = new Map<Blobref, Blob>()
    for (const blob of blobs) {
      if (slice.over) await slice.turn()
      if (missing.has(blob.ref)) continue
      const isNeeded = blob.anew === true || dropped.has(blob.ref)
      if (isNeeded || !this.#index.get(blob.ref)) missing.set(blob.ref, blob)
    }
    return [...missing.values()]
  }

  /** Takes the places of a record's blobs into memory. `dropped` are refs that the record drops.
   *  REQUIRES: the record is durable, and its records before were taken. */
  async take({ blobs, end }: PlacedRecord, dropped: Iterable<Blobref>): Promise<void> {
    const slice = new LoopSlice({ urgent: true })
    this.#segments.add(end.segment, 0) // a row, even where it has no blob
    for (const ref of dropped) {
      this.drop(ref)
      if (slice.over) await slice.turn()
    }
    for (const [ref, place] of blobs) {
      this.put(ref, place)
      if (slice.over) await slice.turn()
    }
  }

  /** Takes a blob's place into memory. */
  put(ref: Blobref, place: Place): void {
    const before = this.#index.get(ref)
    if (before && !isSame(before, place)) {
      this.#changes++
      this.#segments.add(before.segment, -before.length)
    }
    this.#segments.add(place.segment, place.length)
    this.#index.set(ref, place)
  }

  /** Forgets a blob in memory. */
  drop(ref: Blobref): void {
    const before = this.#index.get(ref)
    if (before) {
      this.#changes++
      this.#segments.add(before.segment, -before.length)
    }
    this.#index.set(ref, null)
  }
}

function isSame(a: Place | undefined, b: Place | undefined): boolean {
  return a?.segment === b?.segment && a?.offset === b?.offset
}
