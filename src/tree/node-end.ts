/** The ends of the nodes of a directory: a pure function of the entries of one level, read from
 *  left to right. See rfc/5, which explains the numbers.
 *  Invariant: an end does not depend on what comes before the node's first entry. */

import type { Attrs, Treeobj } from '../treeobj/treeobj.js'

/** The smallest number of entries of a node that a name may end. */
const nodeNamesMin = 8
/** The number of entries at which a node ends whatever its names are. */
export const nodeNamesMax = 128
/** The weight, in bytes, at which a node ends whatever its names are. */
const nodeWeightMax = 16 * 1024
/** A name whose hash is below this may end a node: one in 25, which makes nodes
 *  of 32 entries on average. */
export const endBelow = Math.floor(2 ** 32 / 25)

/** The largest weight of a ref with two counts, of an entry's framing, an attribute's, and a
 *  base's, in bytes. */
const refWeight = 56
const framingWeight = 8
const attrWeight = 16
const baseWeight = 24

/** Takes the entries of one level in order, and says after each if its node ends there. Mutable;
 *  owned by the loop that made it. */
export class NodeEnd {
  readonly #level: number
  #names = 0
  #weight = 0

  constructor(level: number) {
    this.#level = level
  }

  /** Takes an entry, and returns true if its node ends there: the next entry then begins a new
   *  node. `weight` is that of the entry without its name. */
  after(name: string, weight: number): boolean {
    this.#names++
    this.#weight += framingWeight + Buffer.byteLength(name) + weight
    if (!this.#ends(name)) return false
    this.#names = 0
    this.#weight = 0
    return true
  }

  #ends(name: string): boolean {
    if (this.#names >= nodeNamesMax || this.#weight >= nodeWeightMax) return true
    return this.#names >= nodeNamesMin && hashName(name, this.#level) < endBelow
  }
}

/** The weight of an entry of a branch without its name. */
export const childWeight = refWeight

/** Returns the weight of an entry of a leaf without its name: close to its
 *  encoded bytes, and never less. */
export function weightOf(treeobj: Treeobj): number {
  switch (treeobj.type) {
    case 'val':
      return treeobj.data.length + attrsWeight(treeobj.attrs)
    case 'valref':
      return refWeight + attrsWeight(treeobj.attrs) + (treeobj.base ? baseWeight : 0)
    case 'dir':
      return refWeight
    case 'symlink':
      return Buffer.byteLength(treeobj.target) + Buffer.byteLength(treeobj.namespace ?? '')
    default:
      return treeobj satisfies never
  }
}

function attrsWeight(attrs: Attrs | undefined): number {
  if (!attrs) return 0
  const contentType = attrs.contentType
  const typed = contentType === undefined ? 0 : attrWeight + Buffer.byteLength(contentType)
  return typed + (attrs.sealed ? attrWeight : 0)
}

/** Returns a hash of 32 bits: FNV-1a over the UTF-8 bytes, then the finaliser of MurmurHash3 over
 *  that and the level, so that the hashes of a name on two levels are independent. */
export function hashName(name: string, level: number): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at)
    if (unit >= 0x80) return finish(hashBytes(Buffer.from(name)), level)
    hash = Math.imul(hash ^ unit, 0x01000193)
  }
  return finish(hash, level)
}

function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}

function finish(hash: number, level: number): number {
  let mixed = hash ^ Math.imul(level, 0x9e3779b1)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
