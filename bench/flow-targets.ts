/** Graphs of benchmarks as targets. */

import type { Target } from '../src/api/flow.js'
import { target } from '../src/flow/flow.js'
import { dataOf, type FlowGraph, lastOf, sliceOf, sumOf, type Value } from './flow-graphs.js'

/** Returns the targets of the last nodes of a graph. Their names begin with `prefix`. */
export function targetsOf(prefix: string, graph: FlowGraph): readonly Target<Value>[] {
  const made: Target<Value>[] = []
  for (const [at, { sources, work, argument }] of graph.entries()) {
    const name = `${prefix}-${at}`
    const inputs = sources.flatMap((source) => made[source] ?? [])
    const [first] = inputs
    if (work === 'data') made.push(target(name, [argument], (count) => dataOf(count)))
    else if (work === 'slice' && first) {
      made.push(target(name, [first, argument], (data, from) => sliceOf(data, from)))
    } else made.push(target(name, [inputs, argument], (values, more) => sumOf(values, more)))
  }
  return lastOf(graph).flatMap((at) => made[at] ?? [])
}
