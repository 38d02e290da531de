/** Removes keys together with the history of their namespace. It is for namespaces whose older
 *  roots hold nothing but removed keys that the newest root lacks, like `jobs`. See rfc/11,
 *  rules 16 to 18.
 *  Invariant: once it has resolved, no retained root has the keys, and
 *  with `pins` no pin has them. */

import { removeWithHistory, updateCollection } from '../kvs/configure.js'
import { parseKey } from '../treeobj/key.js'
import { type ForgetPorts, rewritePins } from './forget.js'

/** Removes keys, and retains no older root of their namespace. With `pins` it also removes
 *  them from the pins of the namespace, and makes the next collection thorough. Throws
 *  ECLOSED, EBUSY, ENOSPC, EIO. */
export async function discard(
  ports: ForgetPorts,
  namespace: string,
  keys: readonly string[],
  { pins }: { readonly pins: boolean },
): Promise<void> {
  const open = ports.spaces.find(namespace)
  const remove = async () => {
    const seq = await removeWithHistory(open, keys)
    ports.spaces.past.kept.raise(open.live, seq)
    ports.spaces.past.holds.forgotten()
  }
  if (!pins) return remove()
  const system = ports.spaces.find('system').committer
  // The forget is counted before the removal, for the case of a crash in the middle of it, and
  // after it, for a collection that began meanwhile.
  const note = () => updateCollection(system, (now) => ({ ...now, forgets: now.forgets + 1 }))
  return ports.pinning.exclusively(async () => {
    await note()
    try {
      // Nobody pins meanwhile: a pin of an older root would bring the keys back. The pins come
      // first: after a crash the keys are still there, so that the removal can be asked for again.
      await rewritePins(ports, open.live, keys.map(parseKey), system)
      await remove()
    } finally {
      await note()
    }
  })
}
