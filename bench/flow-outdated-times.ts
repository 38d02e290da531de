/** The times of flows whose targets are up to date, measured in a program that has the package as users
 *  have it. */

import { join } from 'node:path'
import type { Target } from '../src/api/flow.js'
import { outdated, run } from '../src/flow/flow.js'
import { open } from '../src/open.js'
import { checkResults, type FlowGraph, type Value } from './flow-graphs.js'
import { targetsOf } from './flow-targets.js'

/** A graph, and a store that has all results of it once it is filled. */
export class UpToDate {
  readonly #graph: FlowGraph
  readonly #targets: readonly Target<Value>[]
  /** The directory of the store. */
  readonly #directory: string

  constructor(graph: FlowGraph, directory: string) {
    this.#graph = graph
    this.#targets = targetsOf('u100k', graph)
    this.#directory = join(directory, 'store')
  }

  /** Makes all targets. */
  async fill(): Promise<void> {
    await using store = await open({ directory: this.#directory })
    checkResults(this.#graph, await run(this.#targets, { store }).result)
  }

  /** Returns the times in ms of a look and of a run, each in a store that was opened for it. Throws where
   *  something is not found. */
  async times(): Promise<{ readonly outdated: number; readonly run: number }> {
    return { outdated: await this.#look(), run: await this.#run() }
  }

  async #look(): Promise<number> {
    await using store = await open({ directory: this.#directory })
    const began = performance.now()
    const found = await outdated(this.#targets, { store })
    const ms = performance.now() - began
    const [first] = found
    if (first) throw new Error(`${found.length} are outdated: ${first.target} is ${first.because}`)
    return ms
  }

  async #run(): Promise<number> {
    await using store = await open({ directory: this.#directory })
    const began = performance.now()
    const running = run(this.#targets, { store })
    const results = await running.result
    const ms = performance.now() - began
    checkResults(this.#graph, results)
    let hits = 0
    for await (const { type } of running) if (type === 'hit') hits++
    const wanted = this.#graph.length
    if (hits !== wanted) throw new Error(`a run found ${hits} of ${wanted} targets`)
    return ms
  }
}
