/** The state of layers: equal states have all results that an earlier look found, and find the same ones. See
 *  rfc/22, rule 21.
 *  Invariant: whatever removes or replaces results of a layer writes the op of `removalOp` in the same
 *  transaction. */

import type { Kvs } from '../api/kvs.js'
import { count, type Rule, shapeOf, text, within } from '../base/shape.js'
import { unless } from '../error.js'
import { layersFrom, namespaceOf, removalsKey } from './layer.js'
import { recordsKey } from './record.js'

/** The state of one layer. */
export type LayerState = {
  readonly layer: string
  /** The text that the last removal has written; empty before the first one. */
  readonly removals: string
  /** The number of results. */
  readonly results: number
  /** The ref of all results, of a layer that hides those of a parent; else empty. */
  readonly ref: string
}

export const layerState: Rule = within(
  shapeOf<LayerState>({ layer: text, removals: text, results: count, ref: text }, [
    ...(['layer', 'removals', 'results', 'ref'] as const),
  ]),
)

/** Returns the states of a layer and of those above it, the layer itself first. Throws ENONS. */
export async function layerStates(kvs: Kvs, layer: string): Promise<readonly LayerState[]> {
  const layers = await layersFrom(kvs, layer)
  return Promise.all(layers.map((each, at) => stateOf(kvs, each, at === layers.length - 1)))
}

async function stateOf(kvs: Kvs, layer: string, isLast: boolean): Promise<LayerState> {
  const scope = { namespace: namespaceOf(layer) }
  const [removals, stat] = await Promise.all([
    kvs.get(removalsKey, scope).catch(unless('ENONS')),
    kvs.stat(recordsKey, scope).catch(unless('ENONS')),
  ])
  return {
    layer,
    removals: removals ? Buffer.from(removals).toString() : '',
    results: stat?.count ?? 0,
    ref: isLast ? '' : (stat?.ref ?? ''),
  }
}

/** True if all results that a look found in the states `before` are still what it finds. A layer without a
 *  parent may have got more: nothing was hidden by them. */
export function areKeptIn(now: readonly LayerState[], before: readonly LayerState[]): boolean {
  return (
    now.length === before.length &&
    now.every((state, at) => {
      const then = before[at]
      return (
        then !== undefined &&
        state.layer === then.layer &&
        state.removals === then.removals &&
        state.ref === then.ref &&
        state.results >= then.results
      )
    })
  )
}
