/** Every kind of node, as bytes and decoded. The first element tells the kind, and with it the
 *  version of its format. See rfc/5.
 *  Invariant: bytes that decode are the only bytes of that node. */

import { decode, encode, type Plain } from '../blob/codec.js'
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
import { asArray, corrupt } from './check.js'
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

export type Node = RootNode | DirNode | OpenNode | ArrayPage

/** Bytes of a node: the weight that ends one, the entry that reached it, and room to spare. */
export const nodeSizeMax = 32 * 1024
const fieldsMax = 8

export function encodeNode(node: Node): Buffer {
  return encode(toPlain(node))
}

/** Throws ECORRUPT with what is wrong. REQUIRES: nobody writes `bytes` again (views are kept). */
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
