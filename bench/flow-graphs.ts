/** The graphs of the benchmarks of flows, as plain data, so that every scheduler makes the same ones.
 *  Invariant: the sources of a node stand before it. Results are whole numbers below `modulus`, or an
 *  array of such: they are the same in every language. */

export type Value = number | readonly number[]

/** A target of a graph: the places of the earlier ones that it needs, and its work with a number.
 *  data: the array of the numbers below it. slice: the sum of ten elements of an array, from it on. sum:
 *  the sum of all inputs and of it. */
export type GraphNode = {
  readonly sources: readonly number[]
  readonly work: 'data' | 'slice' | 'sum'
  readonly argument: number
}
export type FlowGraph = readonly GraphNode[]

export const modulus = 1_000_003
export const sizeOfSlice = 10
const inputsOfLayerMax = 8

/** The graphs. The number of targets is divided by `scale`. In R5000 and U100k no two targets do the same
 *  with equal inputs: a cache that knows results by their content would make only one of them. */
export const flowGraphs = {
  d501: (scale: number) => sliced(Math.ceil(500 / scale)),
  c1000: (scale: number) => chained(Math.ceil(1_000 / scale)),
  w10k: (scale: number) => joined(Math.ceil(10_000 / scale)),
  r5000: (scale: number) => layered(Math.ceil(50 / scale), 100),
  u100k: (scale: number) => layered(100, Math.ceil(1_000 / scale)),
} as const
export type GraphName = keyof typeof flowGraphs

export const titles: Readonly<Record<GraphName, string>> = {
  d501: 'D501, 1 target of data and 500 that take a slice',
  c1000: 'C1000, a chain',
  w10k: 'W10k, 10,000 and one that joins them',
  r5000: 'R5000, 50 layers of 100 with 1 to 8 inputs',
  u100k: 'U100k, 100 layers of 1,000 with 1 to 8 inputs',
}

function sliced(count: number): FlowGraph {
  const slices = Array.from({ length: count }, (_, at): GraphNode => {
    return { sources: [0], work: 'slice', argument: at * sizeOfSlice }
  })
  return [{ sources: [], work: 'data', argument: count * sizeOfSlice }, ...slices]
}

function chained(count: number): FlowGraph {
  return Array.from({ length: count }, (_, at): GraphNode => {
    return { sources: at === 0 ? [] : [at - 1], work: 'sum', argument: 1 }
  })
}

function joined(count: number): FlowGraph {
  const all = Array.from({ length: count }, (_, at): GraphNode => {
    return { sources: [], work: 'sum', argument: at }
  })
  return [...all, { sources: all.map((_, at) => at), work: 'sum', argument: 0 }]
}

function layered(count: number, size: number): FlowGraph {
  let seed = 7
  // The generator of Park and Miller: the same graph in each run.
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  return Array.from({ length: count * size }, (_, at): GraphNode => {
    const layer = Math.floor(at / size)
    const links = layer === 0 ? 0 : 1 + random(inputsOfLayerMax)
    const sources = Array.from({ length: links }, () => (layer - 1) * size + random(size))
    return { sources: [...new Set(sources)], work: 'sum', argument: at }
  })
}

export function dataOf(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at)
}

export function sliceOf(data: Value | undefined, from: number): number {
  if (typeof data !== 'object') throw new Error('a slice is taken of an array')
  return sumOf(data.slice(from, from + sizeOfSlice), 0)
}

export function sumOf(inputs: readonly Value[], more: number): number {
  let sum = more
  for (const input of inputs) if (typeof input === 'number') sum += input
  return sum % modulus
}

/** Does the work of a node. */
export function call(
  { work, argument }: Omit<GraphNode, 'sources'>,
  inputs: readonly Value[],
): Value {
  switch (work) {
    case 'data':
      return dataOf(argument)
    case 'slice':
      return sliceOf(inputs[0], argument)
    case 'sum':
      return sumOf(inputs, argument)
    default:
      return work satisfies never
  }
}

/** Returns the places of the nodes that no other one needs, in their order. */
export function lastOf(graph: FlowGraph): readonly number[] {
  const needed = new Set(graph.flatMap(({ sources }) => sources))
  return [...graph.keys()].filter((at) => !needed.has(at))
}

/** Throws unless these are the results of the last nodes of a graph. */
export function checkResults(graph: FlowGraph, results: readonly unknown[]): void {
  const made: Value[] = []
  for (const node of graph)
    made.push(
      call(
        node,
        node.sources.map((source) => made[source] ?? 0),
      ),
    )
  const last = lastOf(graph)
  if (results.length !== last.length) {
    throw new Error(`${results.length} results were given, not ${last.length}`)
  }
  const wrong = last.findIndex((at, index) => made[at] !== results[index])
  if (wrong < 0) return
  const at = last[wrong] ?? 0
  throw new Error(`target ${at} gave ${results[wrong]}, not ${made[at]}`)
}
