/** The graph of a run: a step for each target that it makes, and for each branch once these are known.
 *  See rfc/24, rules 1, 3 to 5.
 *  Invariant: a step has a greater index than all whose results it needs, so that the order of the
 *  indices is one in which the steps can be made. No walk here is recursive: a chain of any length is
 *  a graph like others. */

import { targetsMax } from '../api/flow.js'
import type { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import type { TargetRecord } from './target.js'

/** The number of short steps of work between two looks at the clock. */
const visitsPerLook = 16

/** The dependents of a step without any. Nobody writes to it. */
const noSteps: Step[] = []

/** A target or a branch within one run. Its mutable fields are the driver's, but for `dependents` and
 *  `rank`, which the graph sets before it gives the step out. */
export class Step {
  readonly index: number
  readonly target: TargetRecord
  /** The steps whose results it needs, by the slots of its target. */
  readonly sources: readonly Step[]
  /** The map or cross that it is a branch of. */
  readonly of: Step | undefined
  /** Its place among the branches. */
  readonly branch: number
  /** The steps that need its result, each once. */
  dependents: Step[]
  /** The longest path from its begin to the end of all that depends on it, in expected times. */
  rank = 0
  /** The number of its sources whose results are not there. */
  missing: number
  /** True if it is not made, since one that it depends on failed. */
  isSkipped = false
  /** The branches of a map or cross whose arrays are there. */
  branches: Branches | undefined

  constructor(
    index: number,
    target: TargetRecord,
    sources: readonly Step[],
    from?: { readonly of: Step; readonly branch: number },
  ) {
    this.index = index
    this.target = target
    this.sources = sources
    this.of = from?.of
    this.branch = from?.branch ?? 0
    this.dependents = from ? (from.of.branches?.dependents ?? noSteps) : noSteps
    this.missing = from ? 0 : sources.length
  }

  /** The name in events. */
  get name(): string {
    const { of, branch, target } = this
    return of?.branches ? `${target.name}[${of.branches.placesOf(branch).join()}]` : target.name
  }

  /** The elements of a branch, which its function gets first. */
  get elements(): unknown[] {
    return this.of?.branches?.elementsOf(this.branch) ?? []
  }
}

/** The branches of one map or cross. */
export class Branches {
  readonly count: number
  /** The dependents of each branch: the map or cross. */
  readonly dependents: Step[]
  /** The longest path behind each branch, in expected times. */
  readonly below: number
  readonly #lengths: readonly number[]
  #arrays: readonly (readonly unknown[])[]
  /** The number of branches that have a step. */
  added = 0

  constructor(of: Step, arrays: readonly (readonly unknown[])[]) {
    this.#arrays = arrays
    this.#lengths = arrays.map(({ length }) => length)
    this.count = this.#lengths.includes(0) ? 0 : this.#lengths.reduce((all, each) => all * each, 1)
    this.dependents = [of]
    this.below = longestBelow(of)
  }

  /** Returns the index of a branch's element in each of the arrays. */
  placesOf(branch: number): readonly number[] {
    const places: number[] = []
    let rest = branch
    for (const length of this.#lengths.toReversed()) {
      places.push(rest % length)
      rest = Math.floor(rest / length)
    }
    return places.reverse()
  }

  /** Returns a branch's element of each array. REQUIRES: the arrays were not dropped. */
  elementsOf(branch: number): unknown[] {
    const only = this.#arrays.length === 1 ? this.#arrays[0] : undefined
    if (only) return [only[branch]]
    return this.placesOf(branch).map((place, at) => this.#arrays[at]?.[place])
  }

  /** Drops the arrays, once all branches have ended. */
  drop(): void {
    this.#arrays = []
  }
}

/** The graph. Mutable; owned by the driver of its run. */
export class Graph {
  readonly #expectedOf: (step: Step) => number
  readonly #steps: Step[] = []
  /** The steps that there are, and those of branches that are known. */
  #count = 0
  /** The steps of the targets that it was made for, in their order. */
  wanted: readonly Step[] = []

  private constructor(expectedOf: (step: Step) => number) {
    this.#expectedOf = expectedOf
  }

  /** Finds all that the targets depend on. `expectedOf` tells the expected time of a step, in any unit.
   *  Throws EINVAL (two targets have one name), E2BIG (more than `targetsMax`). */
  static async of(
    targets: readonly TargetRecord[],
    slice: LoopSlice,
    expectedOf: (step: Step) => number = () => 1,
  ): Promise<Graph> {
    const graph = new Graph(expectedOf)
    graph.wanted = await graph.#find(targets, slice)
    await graph.#link(slice)
    return graph
  }

  /** The steps by index; branches are the last ones. */
  get steps(): readonly Step[] {
    return this.#steps
  }

  /** Gives a map or cross its branches, whose steps `nextBranch` adds. Throws E2BIG. */
  branch(of: Step, arrays: readonly (readonly unknown[])[]): Branches {
    const branches = new Branches(of, arrays)
    if (this.#count + branches.count > targetsMax) {
      const message = `${of.name} has ${branches.count} branches: a run has at most ${targetsMax} targets, branches included`
      throw new TailraceError('E2BIG', message)
    }
    this.#count += branches.count
    of.branches = branches
    return branches
  }

  /** Adds the step of the next branch of a map or cross; undefined if all are there. */
  nextBranch(of: Step): Step | undefined {
    const { branches } = of
    if (!branches || branches.added === branches.count) return undefined
    const from = { of, branch: branches.added++ }
    const step = new Step(this.#steps.length, of.target, of.sources, from)
    step.rank = this.#expectedOf(step) + branches.below
    this.#steps.push(step)
    return step
  }

  /** Adds the steps of targets and of what they depend on, and returns those of the targets: each after
   *  its sources, these in their order. */
  async #find(targets: readonly TargetRecord[], slice: LoopSlice): Promise<readonly Step[]> {
    const known = new Map<string, Step>()
    const wanted = openedOf(undefined, targets)
    const opened = [wanted]
    for (let visits = 1; ; visits++) {
      if (visits % visitsPerLook === 0 && slice.over) await slice.turn()
      const top = opened.at(-1)
      if (!top) return wanted.sources
      const next = top.needs[top.found]
      if (next) {
        const step = stepOf(known, next)
        if (step) top.sources[top.found++] = step
        else opened.push(openedOf(next, next.sources))
      } else {
        opened.pop()
        // The one below finds it by its name.
        if (top.target) this.#add(known, top.target, top.sources)
      }
    }
  }

  #add(known: Map<string, Step>, target: TargetRecord, sources: readonly Step[]): void {
    stepOf(known, target)
    if (this.#count === targetsMax) {
      throw new TailraceError('E2BIG', `a run has at most ${targetsMax} targets`)
    }
    this.#count++
    const step = new Step(this.#steps.length, target, sources)
    this.#steps.push(step)
    known.set(target.name, step)
  }

  /** Tells each step its dependents and its path. The dependents are counted first, since arrays that
   *  grow take twice the memory. */
  async #link(slice: LoopSlice): Promise<void> {
    const steps = this.#steps
    const counts = new Int32Array(steps.length)
    for (const { index, sources } of steps) {
      if (index % visitsPerLook === 0 && slice.over) await slice.turn()
      for (const source of sources) counts[source.index] = (counts[source.index] ?? 0) + 1
    }
    // From the last one on, so that a step has all dependents when its turn comes.
    for (let index = steps.length - 1; index >= 0; index--) {
      if (index % visitsPerLook === 0 && slice.over) await slice.turn()
      const step = steps[index] as Step
      step.rank = this.#expectedOf(step) + longestBelow(step)
      for (const source of step.sources) {
        const left = counts[source.index] ?? 0
        if (source.dependents.length === 0) source.dependents = new Array<Step>(left)
        source.dependents[left - 1] = step
        counts[source.index] = left - 1
      }
    }
  }
}

/** A target whose sources are looked for; the run itself has none. */
type Opened = {
  readonly target: TargetRecord | undefined
  readonly needs: readonly TargetRecord[]
  readonly sources: Step[]
  /** The number of sources that have a step. */
  found: number
}

function openedOf(target: TargetRecord | undefined, needs: readonly TargetRecord[]): Opened {
  return { target, needs, sources: new Array<Step>(needs.length), found: 0 }
}

/** Returns the step of a target, if it has one. Throws EINVAL if another target has its name. */
function stepOf(known: ReadonlyMap<string, Step>, target: TargetRecord): Step | undefined {
  const step = known.get(target.name)
  if (!step || step.target === target) return step
  throw invalid(`two targets have the name ${target.name}: give each of a run its own`)
}

function longestBelow({ dependents }: Step): number {
  let longest = 0
  for (const { rank } of dependents) if (rank > longest) longest = rank
  return longest
}
