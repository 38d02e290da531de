/** Graphs that are settled: of which a run found or made all results. A look at one that nothing has changed
 *  since does not look at each target. See rfc/24, rule 38.
 *  Invariant: a graph counts as settled only while a look at each of its targets would find all results. */

import type { Op } from '../api/transaction.js'
import type { LoopSlice } from '../base/loop-slice.js'
import { list, shapeOf, text, within } from '../base/shape.js'
import { encode } from '../blob/codec.js'
import {
  areKeptIn,
  type LayerState,
  layerState,
  layerStates,
  preparedLayerStates,
} from '../cache/layer.js'
import { pack, unpack } from '../cache/packing.js'
import { type Code, isCode } from '../error.js'
import type { Graph, Step } from './graph.js'
import { type GraphParts, graphHash } from './graph-hash.js'
import { hexHashOf } from './modules.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'

/** A graph that was settled, and the states of the layers in which its results are. */
type SettledRecord = { readonly graph: string; readonly layers: readonly LayerState[] }

const record = within(
  shapeOf<SettledRecord>(
    {
      graph: text,
      layers: {
        is: (value) => list.is(value) && (value as unknown[]).every(layerState.is),
        expected: 'states of layers',
      },
    },
    ['graph', 'layers'],
  ),
)

/** Codes of a read where nothing stands, or nothing that can be read. */
const unreadable: readonly Code[] = ['ENONS', 'EINVAL', 'EDANGLING', 'ECORRUPT']

/** The layers of a run as they were when it began. Whatever is removed from them later unsettles what the run
 *  has found before. */
export class SettledRun {
  readonly #place: FlowPlace
  readonly #before: readonly LayerState[]

  private constructor(place: FlowPlace, before: readonly LayerState[]) {
    this.#place = place
    this.#before = before
  }

  /** Reads the states of the layers. REQUIRES: the run has looked for nothing yet. Throws what `Kvs` throws. */
  static async begin(place: FlowPlace): Promise<SettledRun> {
    const { store, layer } = place
    return new SettledRun(place, await preparedLayerStates(store, layer))
  }

  /** Returns the op that tells that a graph is settled; none if something was removed since the run began.
   *  `steps`: those that are no branches. REQUIRES: the run found or made all of them, and all branches.
   *  Throws what `graphHash` and `Kvs` throw. */
  async ops(
    wanted: readonly Step[],
    steps: readonly Step[],
    parts: GraphParts,
    slice: LoopSlice,
  ): Promise<readonly Op[]> {
    const { store, layer } = this.#place
    const layers = await layerStates(store, layer)
    if (!areKeptIn(layers, this.#before)) return []
    const graph = await graphHash(steps, parts, slice)
    const value = pack({ graph, layers } satisfies SettledRecord, 'a settled graph')
    return [{ op: 'put', key: settledKey(wanted), value }]
  }
}

/** True if a graph is settled: nothing of it was changed since a run found or made all of it, and no result
 *  was removed. False says nothing. Throws what `Kvs` throws. */
export async function isSettled(
  place: FlowPlace,
  { wanted, steps }: Pick<Graph, 'wanted' | 'steps'>,
  parts: GraphParts,
  slice: LoopSlice,
): Promise<boolean> {
  const settled = await settledRecord(place, wanted)
  if (!settled) return false
  const { store, layer } = place
  if (!areKeptIn(await layerStates(store, layer), settled.layers)) return false
  // Code or files that cannot be read are told by the look, where it needs them.
  const now = await graphHash(steps, parts, slice).catch(() => undefined)
  return now === settled.graph
}

/** Reads what is settled for targets; undefined if nothing is, or if nobody can read it. */
async function settledRecord(
  { store, flow }: FlowPlace,
  wanted: readonly Step[],
): Promise<SettledRecord | undefined> {
  try {
    const bytes = await store.get(settledKey(wanted), { namespace: namespaceOfFlow(flow) })
    const found = bytes && unpack(bytes, 'a settled graph')
    return record.is(found) ? (found as SettledRecord) : undefined
  } catch (error) {
    if (unreadable.some((code) => isCode(error, code))) return undefined
    throw error
  }
}

/** Returns the key of what is settled for the targets that a run was asked for. */
function settledKey(wanted: readonly Step[]): string {
  return `settled/${hexHashOf(encode(wanted.map(({ name }) => name)))}`
}
