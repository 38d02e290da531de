/** The place of a flow in a store, and the ids of its runs. See rfc/24, rule 19. */

import { randomBytes } from 'node:crypto'
import { mainLayer } from '../api/cache.js'
import type { FlowStore } from '../api/flow.js'
import type { Store } from '../api/store.js'
import { invalid } from '../base/shape.js'

const runId = /^r[0-9a-v]{15}$/
const flowName = /^[a-z0-9][a-z0-9_-]{0,56}$/

/** A store, and the names of a flow and of a layer of its cache. */
export type FlowPlace = Required<FlowStore>

/** Returns the place with its defaults. Throws EINVAL. */
export function placeOf(
  store: Store,
  { layer = mainLayer, flow = 'main' }: Partial<FlowStore>,
): FlowPlace {
  namespaceOfFlow(flow)
  return { store, layer, flow }
}

/** Returns the namespace of a flow. Throws EINVAL. */
export function namespaceOfFlow(flow: string): string {
  if (flowName.test(flow)) return `flow-${flow}`
  throw invalid('a flow is 1 to 57 of a-z, 0-9, "_" and "-", and starts with a letter or digit')
}

/** Throws EINVAL for a text that is no id of a run. */
export function checkRunId(run: string): void {
  if (runId.test(run)) return
  throw invalid(`${JSON.stringify(run.slice(0, 50))} is no id of a run: "flow ls" lists them`)
}

/** Returns a new id of a run: ids sort by their times. */
export function newRunId(now = Date.now()): string {
  const random = randomBytes(4).readUInt32BE() % 32 ** 6
  return `r${now.toString(32).padStart(9, '0')}${random.toString(32).padStart(6, '0')}`
}
