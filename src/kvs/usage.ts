/** How much a store holds: on the disk, and of what. See rfc/10, rule 20. */

import type { NamespaceView } from '../api/namespace.js'
import type { Usage } from '../api/upkeep.js'
import type { Engine } from '../engine/engine.js'

/** Throws EIO, ECLOSED. */
export async function usageOf(
  engine: Pick<Engine, 'stored' | 'diskSize'>,
  namespaces: readonly NamespaceView[],
): Promise<Usage> {
  const disk = await engine.diskSize()
  let [live, history] = [0, 0]
  for (const { size, historySize } of namespaces) {
    live += size
    history += historySize
  }
  return { ...(disk === undefined ? {} : { disk }), stored: engine.stored, live, history }
}
