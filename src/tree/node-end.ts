/** Where the nodes of a directory end: a pure function of the entries of one level, taken from left
 *  to right. See rfc/5, which explains the numbers.
 *  Invariant: what comes before a node's first entry never matters. */

import { hashName } from './name.js'
import type { Attrs, Treeobj } from './treeobj.js'

/** A node has this many entries before a name may end it. */
export const nodeNamesMin = 8
/** A node of this many entries, or this weight in bytes, ends whatever its names. */
export const nodeNamesMax = 128
export const nodeWeightMax = 16 * 1024
/** One name in 25 ends a node: 32 entries on average. */
export const endBelow = Math.floor(2 ** 32 / 25)

/** What a ref with two counts, or an entry's own framing, takes at most. */
const refWeight = 56
const framingWeight = 8
const attrWeight = 16
const baseWeight = 24

/** Takes the entries of one level in order and says after each whether its node ends there. */
export class NodeEnd {
  readonly #level: number
  #names = 0
  #weight = 0

  constructor(level: number) {
    this.#level = level
  }

  /** `weight` is the entry's without its name. After an end the next entry begins a new node. */
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

/** Of an entry in a branch. */
export const childWeight = refWeight

/** Of an entry in a leaf, close to its encoded bytes and never less. */
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
