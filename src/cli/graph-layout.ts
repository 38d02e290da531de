/** The places of the nodes of a graph on a page: the only import of d3-dag. See rfc/26, rule 14, which also
 *  says why this library draws it.
 *  Invariant: a node stands to the right of all that it depends on. */

import { coordGreedy, decrossDfs, graphStratify, layeringLongestPath, sugiyama } from 'd3-dag'

/** The largest sum of the layers that all links span for which the library is asked. */
const spansMax = 50_000
/** The distances of layers, and of nodes within one, in pixels. */
export const [layerWidth, nodeHeight] = [160, 24]

/** A node, and the places of those that it depends on, all before its own. */
export type LaidNode = { readonly sources: readonly number[] }

/** Returns where each node stands, in pixels. */
export function layout(
  nodes: readonly LaidNode[],
): readonly { readonly x: number; readonly y: number }[] {
  if (nodes.length === 0) return []
  const layers = layersOf(nodes)
  let spans = 0
  for (const [place, { sources }] of nodes.entries()) {
    for (const source of sources) spans += (layers[place] ?? 0) - (layers[source] ?? 0)
  }
  if (spans > spansMax) return inRows(layers)
  const stratify = graphStratify()
    .id(({ id }: StratifiedNode) => id)
    .parentIds(({ parentIds }: StratifiedNode) => parentIds)
  const graph = stratify(
    nodes.map(({ sources }, place) => ({ id: `${place}`, parentIds: sources.map(String) })),
  )
  const lay = sugiyama()
    .layering(layeringLongestPath())
    .decross(decrossDfs())
    .coord(coordGreedy())
    .nodeSize([nodeHeight, layerWidth])
  lay(graph)
  const places = new Array<{ readonly x: number; readonly y: number }>(nodes.length)
  // Its layers go down, ours to the right.
  for (const { data, x, y } of graph.nodes()) places[Number(data.id)] = { x: y, y: x }
  return places
}

type StratifiedNode = { readonly id: string; readonly parentIds: readonly string[] }

function layersOf(nodes: readonly LaidNode[]): Int32Array {
  const layers = new Int32Array(nodes.length)
  for (const [place, { sources }] of nodes.entries()) {
    for (const source of sources) {
      layers[place] = Math.max(layers[place] ?? 0, (layers[source] ?? 0) + 1)
    }
  }
  return layers
}

/** Returns places in the order of the nodes, layer by layer: quick for any graph. */
function inRows(layers: Int32Array): readonly { readonly x: number; readonly y: number }[] {
  const filled: number[] = []
  return [...layers].map((layer) => {
    const row = filled[layer] ?? 0
    filled[layer] = row + 1
    return { x: layer * layerWidth, y: row * nodeHeight }
  })
}
