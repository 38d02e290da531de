/** The graph of a run as its flow keeps it, so that others know the targets that have not begun. See
 *  rfc/26, rule 7. Pure.
 *  Invariant: a target stands behind those that it depends on. */

import { list, shapeOf, within } from '../base/shape.js'
import { pack, unpack } from '../cache/packing.js'
import type { Step } from './graph.js'
import { hexHashOf } from './modules.js'

/** The largest number of targets, and of inputs of all of them, of a graph that is kept. */
export const [graphTargetsMax, graphInputsMax] = [10_000, 100_000]

/** A target of a graph. */
export type GraphNode = {
  readonly name: string
  /** The places of the targets that it depends on. */
  readonly sources: readonly number[]
  /** True for a `map` or `cross`. */
  readonly hasBranches: boolean
  /** The amounts that its call takes of resources. */
  readonly needs: readonly (readonly [resource: string, amount: number])[]
}

/** A graph without the functions of its targets. */
export type RunGraph = readonly GraphNode[]

/** A graph as it is stored, and its hash. */
export type PackedGraph = { readonly hash: string; readonly bytes: Uint8Array }

const packedGraph = within(shapeOf<{ readonly targets: unknown }>({ targets: list }, ['targets']))

/** Returns the key of a graph. */
export function graphKey(hash: string): string {
  return `graphs/${hash}`
}

/** Returns the graph of steps that are no branches. */
export function runGraphOf(steps: readonly Step[]): RunGraph {
  return steps.map(({ target, sources }) => ({
    name: target.name,
    sources: sources.map(({ index }) => index),
    hasBranches: target.arrays.length > 0,
    needs: target.needs?.amounts ?? [],
  }))
}

/** Packs the graph of steps; undefined for one that is too large. */
export function packGraph(steps: readonly Step[]): PackedGraph | undefined {
  if (steps.length > graphTargetsMax) return undefined
  const inputs = steps.reduce((sum, { sources }) => sum + sources.length, 0)
  if (inputs > graphInputsMax) return undefined
  const targets = runGraphOf(steps).map(({ name, sources, hasBranches, needs }) => {
    return [name, sources, hasBranches, ...(needs.length > 0 ? [needs] : [])]
  })
  const bytes = pack({ targets }, 'a graph')
  return { hash: hexHashOf(bytes), bytes }
}

/** Returns a graph that was stored; undefined for bytes that are none. */
export function unpackGraph(bytes: Uint8Array): RunGraph | undefined {
  const value = unpack(bytes, 'a graph')
  if (!packedGraph.is(value)) return undefined
  const nodes: GraphNode[] = []
  for (const each of (value as { readonly targets: readonly unknown[] }).targets) {
    const node = nodeOf(each, nodes.length)
    if (!node) return undefined
    nodes.push(node)
  }
  return nodes
}

function nodeOf(value: unknown, place: number): GraphNode | undefined {
  if (!Array.isArray(value)) return undefined
  const [name, sources, hasBranches, needs = []]: readonly unknown[] = value
  if (typeof name !== 'string' || typeof hasBranches !== 'boolean') return undefined
  const isBefore = (source: unknown) => Number.isInteger(source) && (source as number) < place
  if (!Array.isArray(sources) || !sources.every(isBefore)) return undefined
  if (!Array.isArray(needs) || !needs.every(isNeed)) return undefined
  return { name, sources, hasBranches, needs }
}

function isNeed(value: unknown): boolean {
  return Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'number'
}
