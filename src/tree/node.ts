/** The encoding of every kind of node. The first element tells the kind, and with it the version of
 *  its format. See rfc/5.
 *  Invariant: each node has one encoding; other bytes do not decode. */

import { decode, encode, type Plain } from '../blob/codec.js'
import { asArray, corrupt } from '../treeobj/check.js'
import {
  type ArrayPage,
  decodeOpen,
  decodePage,
  encodeOpen,
  encodePage,
  type OpenNode,
  openKind,
  pageKind,
} from './array-node.js'
import {
  branchKind,
  type DirNode,
  decodeBranch,
  decodeLeaf,
  encodeBranch,
  encodeLeaf,
  leafKind,
} from './dir-node.js'
import { decodeRoot, encodeRoot, type RootNode, rootKind } from './root-node.js'

/** A decoded node. */
export type Node = RootNode | DirNode | OpenNode | ArrayPage

/** The largest size of a node, in bytes: the weight at which a node ends, the entry that reaches
 *  it, and some spare room. */
export const nodeSizeMax = 32 * 1024
const fieldsMax = 8

/** Returns the bytes of a node: a slice of a pool, like those of `encode`. */
export function encodeNode(node: Node): Buffer {
  return encode(toPlain(node))
}

/** Returns the node of these bytes, with views of them. Throws ECORRUPT, which says what is wrong.
 *  REQUIRES: nobody writes `bytes` again. */
export function decodeNode(bytes: Uint8Array): Node {
  if (bytes.length > nodeSizeMax) throw corrupt(`more than ${nodeSizeMax} bytes`)
  const [kind, ...fields] = asArray(decode(bytes), 2, fieldsMax)
  const node = fromFields(kind, fields)
  if (Buffer.compare(encodeNode(node), bytes) !== 0) throw corrupt('what is not its shortest form')
  return node
}

function toPlain(node: Node): Plain {
  switch (node.kind) {
    case 'root':
      return encodeRoot(node)
    case 'leaf':
      return encodeLeaf(node)
    case 'branch':
      return encodeBranch(node)
    case 'open':
      return encodeOpen(node)
    case 'page':
      return encodePage(node)
    default:
      return node satisfies never
  }
}

function fromFields(kind: unknown, fields: readonly unknown[]): Node {
  switch (kind) {
    case rootKind:
      return decodeRoot(fields)
    case leafKind:
      return decodeLeaf(fields)
    case branchKind:
      return decodeBranch(fields)
    case openKind:
      return decodeOpen(fields)
    case pageKind:
      return decodePage(fields)
    default:
      throw corrupt(`a node of the unknown kind ${String(kind)}`)
  }
}
