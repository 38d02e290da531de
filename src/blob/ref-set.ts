/** A set of refs for walks over everything that is stored: about 30 bytes a ref.
 *  Invariant: holds 16 bytes for each, all of the ref mixed with a secret of the set's own: that two refs have
 *  the same ones is a chance of 2^-120, even for who chooses both (a raw treeobj can name any ref). */

import type { Blobref } from './blobref.js'

const words = 4
/** Of the slots, before there are twice as many. */
const fullness = 0.7
const slotsMin = 1_024

/** Mutable; owned by the walk that made it. A ref may come with two integers (the second below 2^32),
 *  and is then there with these only. */
export class RefSet {
  #slots = new Uint32Array(slotsMin * words)
  #size = 0
  readonly #words = new Uint32Array(words)
  readonly #secret = globalThis.crypto.getRandomValues(new Uint32Array(4 * words))

  get size(): number {
    return this.#size
  }

  has(ref: Blobref, first = 0, second = 0): boolean {
    this.#mix(ref, first, second)
    return this.#slots[this.#find(this.#slots, this.#words)] !== 0
  }

  /** False where it was there. */
  add(ref: Blobref, first = 0, second = 0): boolean {
    this.#mix(ref, first, second)
    const slot = this.#find(this.#slots, this.#words)
    if (this.#slots[slot] !== 0) return false
    this.#slots.set(this.#words, slot)
    this.#size++
    if (this.#size > (this.#slots.length / words) * fullness) this.#grow()
    return true
  }

  /** Each word is one of the first half, and secret multiples of one of the second half and of the integers:
   *  where anything differs, each word is the same by a chance of about 2^-31. */
  #mix(ref: Blobref, first: number, second: number): void {
    const high = Math.floor(first / 2 ** 32)
    for (let word = 0; word < words; word++) {
      this.#words[word] =
        wordAt(ref, word) +
        Math.imul(wordAt(ref, word + words), this.#multiple(word)) +
        Math.imul(first, this.#multiple(word + words)) +
        Math.imul(high, this.#multiple(word + 2 * words)) +
        Math.imul(second, this.#multiple(word + 3 * words))
    }
    // 0 in front marks a slot that is free.
    if (this.#words[0] === 0) this.#words[0] = 1
  }

  /** Odd, so that no two words have the same multiple. */
  #multiple(at: number): number {
    return (this.#secret[at] ?? 0) | 1
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

/** 8 of the 64 hex digits, which are lower case. */
function wordAt(ref: Blobref, word: number): number {
  let bits = 0
  for (let at = 7 + 8 * word, end = at + 8; at < end; at++) {
    const unit = ref.charCodeAt(at) // after "blake3-"
    bits = (bits << 4) | ((unit & 15) + 9 * (unit >> 6))
  }
  return bits
}
