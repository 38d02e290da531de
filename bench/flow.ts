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
import { median } from './measure.js'

type Value = number | readonly number[]
/** A target of a graph: the earlier ones that it needs, and its function. */
type Work = {
  readonly sources: readonly number[]
  readonly fn: (inputs: readonly Value[]) => Value | Promise<Value>
}

const warmRounds = 5
const rounds = 15
/** The most inputs that a function gets one by one; more are an array. */
const flatMax = 16
const inputsOfLayerMax = 8
const dataTargets = 500
const chain = 1_000
const wide = 10_000
const [layers, layerSize] = [50, 100]

const sum = (inputs: readonly Value[]): number =>
  inputs.reduce((all: number, input) => all + (typeof input === 'number' ? input : 0), 0)

function dataGraph(count: number, isLater: boolean): readonly Work[] {
  const sizeOfSlice = 10
  const data = Array.from({ length: count * sizeOfSlice }, (_, at) => at)
  const slices = Array.from({ length: count }, (_, at): Work => {
    const fn = ([all]: readonly Value[]) =>
      typeof all === 'object' ? sum(all.slice(at * sizeOfSlice, (at + 1) * sizeOfSlice)) : 0
    return { sources: [0], fn: isLater ? async (inputs) => fn(inputs) : fn }
  })
  return [{ sources: [], fn: () => data }, ...slices]
}

function chainGraph(count: number): readonly Work[] {
  const fn = (inputs: readonly Value[]) => sum(inputs) + 1
  return Array.from({ length: count }, (_, at) => ({ sources: at === 0 ? [] : [at - 1], fn }))
}

function wideGraph(count: number): readonly Work[] {
  const all = Array.from({ length: count }, (_, at): Work => ({ sources: [], fn: () => at }))
  return [...all, { sources: all.map((_, at) => at), fn: sum }]
}

function layeredGraph(count: number, size: number): readonly Work[] {
  let seed = 7
  // The generator of Park and Miller: the same graph in each run.
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  return Array.from({ length: count * size }, (_, at): Work => {
    const layer = Math.floor(at / size)
    const links = layer === 0 ? 0 : 1 + random(inputsOfLayerMax)
    const sources = Array.from({ length: links }, () => (layer - 1) * size + random(size))
    return { sources: [...new Set(sources)], fn: (inputs) => sum(inputs) + 1 }
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
    const scaled = (count: number) => Math.ceil(count / scale)
    const graphs: Readonly<Record<string, readonly Work[]>> = {
      'D501, 1 target of data and 500 that take a slice': dataGraph(scaled(dataTargets), false),
      'D501 of functions that return promises': dataGraph(scaled(dataTargets), true),
      'C1000, a chain': chainGraph(scaled(chain)),
      'W10k, 10,000 and one that joins them': wideGraph(scaled(wide)),
      'R5000, 50 layers of 100 with 1 to 8 inputs': layeredGraph(scaled(layers), layerSize),
    }
    const rows: Row[] = []
    for (const [work, graph] of Object.entries(graphs)) {
      const times: Readonly<Record<Way, number[]>> = { flow: [], pGraph: [], loop: [] }
      for (let at = 0; at < runs; at++) {
        const all = await timesOf(graph, scaled(rounds))
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
