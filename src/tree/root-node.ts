/** The root node, which names the two trees of a namespace. See rfc/5. */

import type { Plain } from '../blob/codec.js'
import { asArray, corrupt } from './check.js'
import type { Dir } from './treeobj.js'
import { decodeTreeobj, encodeTreeobj } from './treeobj-codec.js'

export const rootKind = 1

export type RootNode = {
  readonly kind: 'root'
  /** The namespace's keys: all that copies, exports, differences and watches see. */
  readonly data: Dir
  /** The namespace's present, which stays with it. */
  readonly meta: Dir
}

export function encodeRoot({ data, meta }: RootNode): Plain {
  return [rootKind, encodeTreeobj(data), encodeTreeobj(meta)]
}

/** `fields` follow the kind. Throws ECORRUPT. */
export function decodeRoot(fields: readonly unknown[]): RootNode {
  const [data, meta] = asArray(fields, 2, 2)
  return { kind: 'root', data: asDir(data), meta: asDir(meta) }
}

function asDir(input: unknown): Dir {
  const treeobj = decodeTreeobj(input)
  if (treeobj.type !== 'dir') throw corrupt('a root that is no directory')
  return treeobj
}
