/** A set of refs for walks over everything that is stored: about 30 bytes a ref.
 *  Invariant: it keeps 16 bytes of each ref, a hash with a secret of this set. Two refs have
 *  the same hash with a probability of about 2^-120, even if somebody chooses both: a raw
 *  treeobj can name any ref. */

import type { Blobref } from './blobref.js'

const words = 4
/** The share of used slots above which the set doubles its slots. */
const fullness = 0.7
const slotsMin = 1_024

/** The set. A member is a ref, or a ref with two integers, of which the second is below 2^32.
 *  Mutable; owned by the walk that made it. */
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

  /** Adds a member. False if it was there already. */
  add(ref: Blobref, first = 0, second = 0): boolean {
    this.#mix(ref, first, second)
    const slot = this.#find(this.#slots, this.#words)
    if (this.#slots[slot] !== 0) return false
    this.#slots.set(this.#words, slot)
    this.#size++
    if (this.#size > (this.#slots.length / words) * fullness) this.#grow()
    return true
  }

  /** Puts the hash of a member into `#words`. Each word of the hash is a word of the ref's first
   *  half, plus secret multiples of a word of the second half and of the integers. So where two
   *  members differ, one word of their hashes is equal with a probability of about 2^-31. */
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
    // A slot whose first word is 0 is free.
    if (this.#words[0] === 0) this.#words[0] = 1
  }

  /** Returns a secret factor. It is odd, so that no two words have the same multiple. */
  #multiple(at: number): number {
    return (this.#secret[at] ?? 0) | 1
  }

  /** Returns the index at which the words stand, or the free one at which they belong. */
  #find(slots: Uint32Array, sought: Uint32Array): number {
    const mask = slots.length / words - 1
    for (let slot = (sought[1] ?? 0) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * words
      if (slots[at] === 0) return at
      if (
        slots[at] === sought[0] &&
        slots[at + 1] === sought[1] &&
        slots[at + 2] === sought[2] &&
        slots[at + 3] === sought[3]
      )
        return at
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

/** Returns the word, 32 bits, that 8 of the 64 lower-case hex digits of a ref write. */
function wordAt(ref: Blobref, word: number): number {
  let bits = 0
  for (let at = 7 + 8 * word, end = at + 8; at < end; at++) {
    const unit = ref.charCodeAt(at) // after "blake3-"
    bits = (bits << 4) | ((unit & 15) + 9 * (unit >> 6))
  }
  return bits
}
