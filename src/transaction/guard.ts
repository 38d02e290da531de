/** Guards: what must hold before a transaction's first op. See rfc/6.
 *  Invariant: a guard changes nothing; it sees what earlier transactions of the group did. */

import type { Key } from '../tree/key.js'
import type { Treeobj } from '../tree/treeobj.js'
import type { Group } from './group.js'
import { refusesToken } from './leases.js'
import { refusesProducer } from './producers.js'
import { draftTreeobj } from './source.js'
import { statOf } from './stat.js'
import type { PreparedGuard } from './transaction.js'

/** Undefined if the guard holds at `seq`; otherwise why not, and what is there. */
export async function refuses(
  group: Group,
  guard: PreparedGuard,
  seq: number,
): Promise<{ readonly message: string; readonly state: unknown } | undefined> {
  if (guard.kind === 'seq') {
    if (guard.seq === seq) return undefined
    return { message: `the namespace is at seq ${seq}, not ${guard.seq}`, state: { seq } }
  }
  if (guard.kind === 'lease') return refusesToken(group, guard)
  if (guard.kind === 'producer') return refusesProducer(group, guard)
  // The common guard of one who appends alone costs no node.
  if (guard.kind === 'count' && (await isOpenLog(group, guard))) return undefined
  const treeobj = await draftTreeobj(group, guard.key)
  const state = stateOf(treeobj)
  switch (guard.kind) {
    case 'absent':
      return treeobj && { message: `${guard.key} is there`, state }
    case 'ref':
      if (state.ref === guard.ref) return undefined
      return { message: `${guard.key} is not at ${guard.ref}`, state }
    case 'count':
      if (state.type !== 'dir' && state.count === guard.count) return undefined
      return { message: `${guard.key} does not have ${guard.count} blobs`, state }
    default:
      return guard satisfies never
  }
}

async function isOpenLog(
  { draft }: Group,
  { key, count }: { readonly key: Key; readonly count: number },
): Promise<boolean> {
  const { entry } = await draft.locate(key, { follow: true })
  return entry?.type === 'log' && entry.array.count === count
}

function stateOf(treeobj: Treeobj | undefined) {
  if (!treeobj) return { absent: true, count: 0 } as const
  const { type, ref, count, size, sealed } = statOf(treeobj, 0)
  return { type, ref, count, size, sealed } as const
}
