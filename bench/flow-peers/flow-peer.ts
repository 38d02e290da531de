/** A scheduler that the benchmarks of flows compare with ours: it makes the same graphs, with the same
 *  work. Each file beside this one has one of them. */

import { setTimeout as delay } from 'node:timers/promises'
import type { FlowGraph } from '../flow-graphs.js'
import type { Compared } from '../systems/system.js'

export type FlowPeerId = 'make' | 'ninja' | 'bullmq' | 'dask' | 'piscina'

/** The place of a peer: a directory that is its own, and its calls at the same time. */
export type FlowPlace = {
  readonly directory: string
  readonly processes: number
  /** The calls of each process. */
  readonly slots: number
}

/** A graph that was made. `results`: those of its last nodes, see `lastOf`. */
export type MadeGraph = { readonly ms: number; readonly results: readonly unknown[] }

/** Makes all of a graph, nothing of which is there. The time is from the first target that begins to the
 *  last result; what the peer has to be told of the graph before is no part of it. */
export type MakeGraph = (graph: FlowGraph) => Promise<MadeGraph>

export type FlowPeer = Compared<FlowPeerId> & {
  /** True if results outlive its processes. */
  readonly keeps: boolean
  /** Starts what makes graphs, for the time of `use`: all that it started has ended then. */
  with<T>(place: FlowPlace, use: (make: MakeGraph) => Promise<T>): Promise<T>
}

/** The time after which a peer that makes a graph is given up, in ms. */
export const makeMsMax = 600_000

/** Waits for a graph that is made, at most for `makeMsMax`. */
export async function inTime<T>(making: Promise<T>): Promise<T> {
  const made = new AbortController()
  const late = delay(makeMsMax, undefined, { signal: made.signal }).then(() => {
    throw new Error(`a graph took longer than ${makeMsMax / 1_000} s`)
  })
  try {
    return await Promise.race([making, late])
  } finally {
    made.abort()
  }
}
