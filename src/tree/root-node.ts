/** The encoding of the root node, which names the two trees of a namespace. See rfc/5. */

import type { Plain } from '../blob/codec.js'
import { asArray, corrupt } from '../treeobj/check.js'
import { decodeTreeobj, encodeTreeobj } from '../treeobj/codec.js'
import type { Dir } from '../treeobj/treeobj.js'

/** The first element of the encoding: the kind of the root node. */
export const rootKind = 1

/** A root node. */
export type RootNode = {
  readonly kind: 'root'
  /** The tree of the namespace's keys: all that copies, exports, differences and watches see. */
  readonly data: Dir
  /** The tree of what the namespace knows besides its keys: see `draft/meta.ts`. */
  readonly meta: Dir
}

/** Returns the fields of a root node, the kind first. */
export function encodeRoot({ data, meta }: RootNode): Plain {
  return [rootKind, encodeTreeobj(data), encodeTreeobj(meta)]
}

/** Returns the root node with these fields, which follow the kind. Throws ECORRUPT. */
export function decodeRoot(fields: readonly unknown[]): RootNode {
  const [data, meta] = asArray(fields, 2, 2)
  return { kind: 'root', data: asDir(data), meta: asDir(meta) }
}

function asDir(input: unknown): Dir {
  const treeobj = decodeTreeobj(input)
  if (treeobj.type !== 'dir') throw corrupt('a root that is no directory')
  return treeobj
}
