/** A set of refs for walks over everything that is stored: about 30 bytes a ref.
 *  Invariant: holds the first 16 bytes of each digest, which no two blobs share but by 2^64 tries: who
 *  could make two could make a blob that an export leaves out, and its import then refuses. */

import type { Blobref } from './blobref.js'

const words = 4
/** Of the slots, before there are twice as many. */
const fullness = 0.7
const slotsMin = 1_024

/** Mutable; owned by the walk that made it. */
export class RefSet {
  #slots = new Uint32Array(slotsMin * words)
  #size = 0
  readonly #words = new Uint32Array(words)

  get size(): number {
    return this.#size
  }

  has(ref: Blobref): boolean {
    this.#parse(ref)
    return this.#slots[this.#find(this.#slots, this.#words)] !== 0
  }

  /** False where it was there. */
  add(ref: Blobref): boolean {
    this.#parse(ref)
    const slot = this.#find(this.#slots, this.#words)
    if (this.#slots[slot] !== 0) return false
    this.#slots.set(this.#words, slot)
    this.#size++
    if (this.#size > (this.#slots.length / words) * fullness) this.#grow()
    return true
  }

  #parse(ref: Blobref): void {
    for (let word = 0; word < words; word++) {
      const at = 7 + 8 * word // after "blake3-"
      this.#words[word] = Number.parseInt(ref.slice(at, at + 8), 16)
    }
    // 0 in front marks a slot that is free.
    if (this.#words[0] === 0) this.#words[0] = 1
  }

  /** Where the words stand, or would. */
  #find(slots: Uint32Array, sought: Uint32Array): number {
    const mask = slots.length / words - 1
    for (let slot = (sought[1] ?? 0) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * words
      if (slots[at] === 0) return at
      if (sought.every((word, index) => slots[at + index] === word)) return at
    }
  }

  #grow(): void {
    const grown = new Uint32Array(2 * this.#slots.length)
    for (let at = 0; at < this.#slots.length; at += words) {
      if (this.#slots[at] === 0) continue
      const entry = this.#slots.subarray(at, at + words)
      grown.set(entry, this.#find(grown, entry))
    }
    this.#slots = grown
  }
}
