/** The graphs that the benchmarks of flows give to all schedulers: what they are, and that results which are
 *  wrong are seen. */

import { expect, test } from 'vitest'
import { call, checkResults, type FlowGraph, flowGraphs, lastOf } from '../../bench/flow-graphs.js'
import { ReadyNodes } from '../../bench/flow-peers/ready-nodes.js'
import { targetsOf } from '../../bench/flow-targets.js'
import { run } from '../../src/flow/flow.js'

const scale = 20
const graphs = Object.entries(flowGraphs).map(([name, of]) => [name, of(scale)] as const)

test('graphs have the sizes that their names say', () => {
  const sizes = Object.values(flowGraphs).map((graph) => graph(1).length)
  expect(sizes).toEqual([501, 1_000, 10_001, 5_000, 100_000])
})

test('no two targets of layers do the same with equal inputs', () => {
  const made = new Set(flowGraphs.r5000(1).map(({ argument }) => argument))
  expect(made.size).toBe(5_000)
})

test.each(graphs)(
  '%s: a run of its targets gives the results that are expected',
  async (_, graph) => {
    const results = await run(targetsOf('t', graph)).result
    checkResults(graph, results)
    const [first, ...rest] = results
    expect(() => checkResults(graph, [Number(first) + 1, ...rest])).toThrow(`, not ${first}`)
    expect(() => checkResults(graph, rest)).toThrow(`not ${results.length}`)
  },
)

test.each(graphs)(
  '%s: the driver of peers gives each node once, behind its sources',
  (_, graph) => {
    const nodes = new ReadyNodes(graph)
    const given = new Set<number>(nodes.first)
    for (const at of given) {
      expect(graph[at]?.sources.every((source) => given.has(source))).toBe(true)
      expect(nodes.areMade).toBe(false)
      for (const next of endOf(graph, nodes, at)) {
        expect(given.has(next)).toBe(false)
        given.add(next)
      }
    }
    expect(given.size).toBe(graph.length)
    expect(nodes.areMade).toBe(true)
    checkResults(graph, nodes.results)
  },
)

test('the last nodes are those that nobody needs', () => {
  expect(lastOf(flowGraphs.c1000(100))).toEqual([9])
  expect(lastOf(flowGraphs.d501(100))).toEqual([1, 2, 3, 4, 5])
})

function endOf(graph: FlowGraph, nodes: ReadyNodes, at: number): readonly number[] {
  const node = graph[at]
  return node ? nodes.end(at, call(node, nodes.inputsOf(at))) : []
}
