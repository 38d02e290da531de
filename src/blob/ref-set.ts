/** A set of refs for walks over everything that is stored: about 30 bytes a ref.
 *  Invariant: it keeps 16 bytes of each ref, a hash with a secret of this set. Two refs have
 *  the same hash with a probability of about 2^-120, even if somebody chooses both: a raw
 *  treeobj can name any ref. */

import type { Blobref } from './blobref.js'

const words = 4
/** The lanes of 16 bits of a hash, and of half a ref. */
const lanes = 2 * words
/** The parts of 16 bits that are hashed: half a ref, and two integers. */
const partsMax = lanes + 6
/** The share of used slots above which the set doubles its slots. */
const fullness = 0.7
const slotsMin = 1_024

/** The set. A member is a ref, or a ref with two integers, of which the second is below 2^32.
 *  Mutable; owned by the walk that made it. */
export class RefSet {
  #slots = new Uint32Array(slotsMin * words)
  #size = 0
  readonly #words = new Uint32Array(words)
  readonly #lanes = new Uint16Array(this.#words.buffer)
  readonly #parts = new Uint16Array(partsMax)
  readonly #secret = globalThis.crypto.getRandomValues(new Uint32Array(lanes * (partsMax + 1)))

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

  /** Puts the hash of a member into `#words`, 16 bits after the other. Each of these lanes is a part of the
   *  ref's first half plus a hash of all else, by multiply-shift (Dietzfelbinger, 1996): the upper half of
   *  the sum of the parts of 16 bits, each times a secret number of 32 bits. Of two members that differ in
   *  that, a lane is equal with a probability of 2^-16, whatever they are. */
  #mix(ref: Blobref, first: number, second: number): void {
    const count = this.#split(ref, first, second)
    for (let lane = 0; lane < lanes; lane++) {
      let at = lane * (partsMax + 1)
      let sum = this.#secret[at++] ?? 0
      for (let part = 0; part < count; part++) {
        sum = (sum + Math.imul(this.#secret[at++] ?? 0, this.#parts[part] ?? 0)) | 0
      }
      this.#lanes[lane] = partAt(ref, lane) + (sum >>> 16)
    }
    // A slot whose first word is 0 is free.
    if (this.#words[0] === 0) this.#words[0] = 1
  }

  /** Puts all that is hashed into `#parts`, and returns the number of parts. */
  #split(ref: Blobref, first: number, second: number): number {
    for (let part = 0; part < lanes; part++) this.#parts[part] = partAt(ref, part + lanes)
    if (first === 0 && second === 0) return lanes // parts that are 0 add nothing
    const high = Math.floor(first / 2 ** 32)
    let at = lanes
    for (const word of [first, high, second]) {
      this.#parts[at++] = word
      this.#parts[at++] = word >>> 16
    }
    return at
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

/** Returns the 16 bits that 4 of the 64 lower-case hex digits of a ref write. */
function partAt(ref: Blobref, part: number): number {
  let bits = 0
  for (let at = 7 + 4 * part, end = at + 4; at < end; at++) {
    const unit = ref.charCodeAt(at) // after "blake3-"
    bits = (bits << 4) | ((unit & 15) + 9 * (unit >> 6))
  }
  return bits
}
