/** Keys of a namespace whose past holds nothing else than what its present does: they go, and its history with
 *  them. See rfc/11, rules 16 to 18.
 *  Invariant: once it is answered no root that can be read has the keys; with `pins` no pin either. */

import { removeWithHistory, updateCollection } from '../kvs/configure.js'
import { parseKey } from '../tree/key.js'
import { type ForgetPorts, rewritePins } from './forget.js'

/** With `pins` they are taken out of the pins of the namespace, too, and the next collection is thorough.
 *  Throws ECLOSED, EBUSY, ENOSPC, EIO. */
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
  // As a forget does: before, for what a crash leaves half done; after, for a collection that began meanwhile.
  const note = () => updateCollection(system, (now) => ({ ...now, forgets: now.forgets + 1 }))
  return ports.pinning.exclusively(async () => {
    await note()
    try {
      // While nobody pins: a pin of an older root would bring them back. The pins first: what a crash leaves
      // half done is there still, and can be asked for again.
      await rewritePins(ports, open.live, keys.map(parseKey), system)
      await remove()
    } finally {
      await note()
    }
  })
}
