/** A benchmark, as run.ts runs it. */

import type { Row } from './figures.js'
import type { FlowPeer } from './flow-peers/flow-peer.js'
import type { System } from './systems/system.js'

export type Bench = {
  /** The question that it answers, in one line. */
  readonly question: string
  /** True if it has no part in a run of all: it compares ours with ours only. */
  readonly byNameOnly?: true
  run(settings: Settings): Promise<readonly Row[]>
}

export type Settings = {
  readonly runs: number
  /** The work is divided by it: above 1 only to see whether a benchmark works. */
  readonly scale: number
  /** The systems to compare, ours first, those that are missing included. */
  readonly systems: readonly System[]
  /** The schedulers to compare flows with, those that are missing included. */
  readonly flowPeers: readonly FlowPeer[]
}
