/** What does a target cost in process, without a store, beside p-graph and beside a loop that calls the
 *  same functions in their order?
 *
 *  Graphs. D501: one target of data, and 500 that each take a slice of it. C1000: a chain. W10k: 10,000,
 *  and one that joins them. R5000: 50 layers of 100, each of which needs 1 to 8 of the layer before. Most
 *  functions return at once; those of one row return promises. The time is from the first target that is
 *  made to the result, so the graph counts too.
 *
 *  Expected. A target is some objects (itself, its step, its plans: 500 B), two looks into a map by its
 *  name, a place in a heap, two events, and a call with a signal: 1 to 2 µs, and 30 to 50 ns for each
 *  input. A promise takes 1 µs more. The loop is the functions alone: below 0.1 µs. p-graph makes two
 *  sets for each, has a heap too, and some promises for each.
 *
 *  In one process, without a server. */

import { PGraph } from 'p-graph'
import type { Target } from '../src/api/flow.js'
import { run, target } from '../src/flow/flow.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { call, type FlowGraph, flowGraphs, titles, type Value } from './flow-graphs.js'
import { median } from './measure.js'

/** A target of a graph: the earlier ones that it needs, and its function. */
type Work = {
  readonly sources: readonly number[]
  readonly fn: (inputs: readonly Value[]) => Value | Promise<Value>
}

const warmRounds = 5
const rounds = 15
/** The most inputs that a function gets one by one; more are an array. */
const flatMax = 16

function worksOf(graph: FlowGraph, { isLater } = { isLater: false }): readonly Work[] {
  return graph.map((node) => {
    const fn = (inputs: readonly Value[]) => call(node, inputs)
    return { sources: node.sources, fn: isLater ? async (inputs) => fn(inputs) : fn }
  })
}

async function flowOf(graph: readonly Work[]): Promise<Value> {
  const made: Target<Value>[] = []
  for (const [at, { sources, fn }] of graph.entries()) {
    const inputs = sources.flatMap((source) => made[source] ?? [])
    made.push(
      inputs.length > flatMax
        ? target(`t${at}`, [inputs], (values) => fn(values))
        : target(`t${at}`, inputs, (...values) => fn(values)),
    )
  }
  const results = await run(made).result
  return results.at(-1) ?? 0
}

async function pGraphOf(graph: readonly Work[]): Promise<Value> {
  const results: Value[] = []
  const nodes = new Map<string, { readonly run: () => Promise<void> }>()
  const links: [string, string][] = []
  for (const [at, { sources, fn }] of graph.entries()) {
    const call = async () => {
      results[at] = await fn(sources.map((source) => results[source] ?? 0))
    }
    nodes.set(`t${at}`, { run: call })
    for (const source of sources) links.push([`t${source}`, `t${at}`])
  }
  await new PGraph(nodes, links).run()
  return results.at(-1) ?? 0
}

async function loopOf(graph: readonly Work[]): Promise<Value> {
  const results: Value[] = []
  for (const { sources, fn } of graph) {
    const value = fn(sources.map((source) => results[source] ?? 0))
    results.push(value instanceof Promise ? await value : value)
  }
  return results.at(-1) ?? 0
}

const ways = { flow: flowOf, pGraph: pGraphOf, loop: loopOf } as const
type Way = keyof typeof ways

/** The median time of a target, in µs, in each way; the ways take turns. */
async function timesOf(
  graph: readonly Work[],
  count: number,
): Promise<Readonly<Record<Way, number>>> {
  const times: Readonly<Record<Way, number[]>> = { flow: [], pGraph: [], loop: [] }
  const expected = await loopOf(graph)
  for (let round = -warmRounds; round < count; round++) {
    for (const way of Object.keys(ways) as Way[]) {
      const began = performance.now()
      const result = await ways[way](graph)
      const us = ((performance.now() - began) * 1_000) / graph.length
      if (String(result) !== String(expected)) throw new Error(`${way} gave ${result}`)
      if (round >= 0) times[way].push(us)
    }
  }
  return { flow: median(times.flow), pGraph: median(times.pGraph), loop: median(times.loop) }
}

export const flow: Bench = {
  question: 'what does a target cost in process, beside p-graph and beside a loop?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const { d501, c1000, w10k, r5000 } = flowGraphs
    const graphs: Readonly<Record<string, readonly Work[]>> = {
      [titles.d501]: worksOf(d501(scale)),
      'D501 of functions that return promises': worksOf(d501(scale), { isLater: true }),
      [titles.c1000]: worksOf(c1000(scale)),
      [titles.w10k]: worksOf(w10k(scale)),
      [titles.r5000]: worksOf(r5000(scale)),
    }
    const rows: Row[] = []
    for (const [work, graph] of Object.entries(graphs)) {
      const times: Readonly<Record<Way, number[]>> = { flow: [], pGraph: [], loop: [] }
      for (let at = 0; at < runs; at++) {
        const all = await timesOf(graph, Math.ceil(rounds / scale))
        for (const way of Object.keys(ways) as Way[]) times[way].push(all[way])
      }
      rows.push({
        ...({ bench: 'flow', work, unit: 'µs a target', better: 'less' } as const),
        figures: [
          { system: 'tailrace', values: times.flow },
          { system: 'file', values: times.loop, label: 'loop' },
        ],
        gates: [{ bound: 10 }, { label: 'p-graph', values: times.pGraph, ratio: 1 }],
      })
    }
    return rows
  },
}
