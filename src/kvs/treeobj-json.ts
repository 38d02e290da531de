/** Treeobjs in JSON, for people and other programs: RFC 11 v1 of Flux. See rfc/5. */

import type { Blobref } from '../blob/blobref.js'
import { openArray } from '../tree/array.js'
import { entriesOf } from '../tree/array-read.js'
import type { Nodes } from '../tree/nodes.js'
import { baseNone, type Treeobj, type TreeobjJson, type Valref } from '../treeobj/treeobj.js'

/** Returns a treeobj in JSON. A valref has at most `limit` refs: those behind index `after`, or
 *  from its base on. Throws EDANGLING, ECORRUPT, EIO. */
export async function treeobjJson(
  nodes: Nodes,
  treeobj: Treeobj,
  page: { readonly after?: number; readonly limit: number },
): Promise<TreeobjJson> {
  switch (treeobj.type) {
    case 'val': {
      const { data, attrs } = treeobj
      const base64 = Buffer.from(data).toString('base64')
      return { ver: 1, type: 'val', data: base64, ...(attrs && { attrs }) }
    }
    case 'valref':
      return valrefJson(nodes, treeobj, page)
    case 'dir': {
      const { ref, keys, size } = treeobj
      if (ref === undefined) return { ver: 1, type: 'dir', data: {} }
      return { ver: 1, type: 'dirref', data: [ref], count: keys, size }
    }
    case 'symlink': {
      const { target, namespace } = treeobj
      const data = namespace === undefined ? { target } : { namespace, target }
      return { ver: 1, type: 'symlink', data }
    }
    default:
      return treeobj satisfies never
  }
}

async function valrefJson(
  nodes: Nodes,
  valref: Valref,
  page: { readonly after?: number; readonly limit: number },
): Promise<TreeobjJson> {
  const { count, size, base, attrs } = valref
  const first = base ?? baseNone
  const from = Math.max(first.count, page.after === undefined ? 0 : page.after + 1)
  const to = Math.min(count, from + page.limit)
  const refs: Blobref[] = []
  const sizes: number[] = []
  const more: boolean[] = []
  for await (const entry of entriesOf(nodes, await openArray(nodes, valref), from, to)) {
    refs.push(entry.ref)
    sizes.push(entry.size)
    more.push(entry.more)
  }
  return {
    ver: 1,
    type: 'valref',
    data: refs,
    ...(attrs && { attrs }),
    sizes,
    ...(more.includes(true) && { more }),
    count,
    size,
    ...(base && { base, ref: valref.ref }),
    ...(to < count && { next: to - 1 }),
  }
}
