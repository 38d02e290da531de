/** The driver of peers that run calls and know no graph: it says which nodes are ready.
 *  Invariant: each node is given once, when the last of its sources has a result. */

import { type FlowGraph, lastOf, type Value } from '../flow-graphs.js'

/** Mutable; owned by who makes the graph. */
export class ReadyNodes {
  /** The nodes that need nothing. */
  readonly first: readonly number[]
  readonly #graph: FlowGraph
  readonly #dependents: readonly number[][]
  /** The number of sources without a result, of each node. */
  readonly #missing: number[]
  readonly #results: Value[] = []
  #left: number

  constructor(graph: FlowGraph) {
    this.#graph = graph
    this.#left = graph.length
    this.#missing = graph.map(({ sources }) => sources.length)
    this.#dependents = graph.map(() => [])
    for (const [at, { sources }] of graph.entries()) {
      for (const source of sources) this.#dependents[source]?.push(at)
    }
    this.first = [...graph.keys()].filter((at) => this.#missing[at] === 0)
  }

  inputsOf(at: number): readonly Value[] {
    return this.#graph[at]?.sources.map((source) => this.#results[source] ?? 0) ?? []
  }

  /** Takes a result, and returns the nodes that are ready with it. */
  end(at: number, result: Value): readonly number[] {
    this.#results[at] = result
    this.#left--
    return (this.#dependents[at] ?? []).filter((dependent) => {
      const missing = (this.#missing[dependent] ?? 0) - 1
      this.#missing[dependent] = missing
      return missing === 0
    })
  }

  /** True if all nodes have results. */
  get areMade(): boolean {
    return this.#left === 0
  }

  /** The results of the last nodes. */
  get results(): readonly Value[] {
    return lastOf(this.#graph).map((at) => this.#results[at] ?? Number.NaN)
  }
}
