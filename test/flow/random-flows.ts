/** Random flows of targets without branches, and the simplest model of what a run of one has to do. */

import fc from 'fast-check'
import type { Target } from '../../src/api/flow.js'
import { TargetRecord, target } from '../../src/flow/target.js'

/** A target of a random flow. Its sources are earlier ones. */
export type Drawn = {
  readonly sources: readonly number[]
  /** Its expected time. */
  readonly time: number
  readonly needs: { readonly cpu: number; readonly gpu: number }
  readonly fails: boolean
}

/** A random flow, and the targets that are wanted of it. */
export type RandomFlow = { readonly targets: readonly Drawn[]; readonly wanted: readonly number[] }

/** The resources of all runs. */
export const limits = { cpu: 3, gpu: 1 }

const drawn = fc.record({
  links: fc.array(fc.nat(), { maxLength: 4 }),
  time: fc.integer({ min: 1, max: 5 }),
  needs: fc.record({ cpu: fc.nat(limits.cpu), gpu: fc.nat(limits.gpu) }),
  fails: fc.integer({ min: 1, max: 6 }).map((dice) => dice === 6),
})

export const randomFlow: fc.Arbitrary<RandomFlow> = fc
  .record({
    all: fc.array(drawn, { minLength: 1, maxLength: 25 }),
    wanted: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
  })
  .map(({ all, wanted }) => ({
    targets: all.map(({ links, ...rest }, at) => ({ ...rest, sources: distinct(links, at) })),
    wanted: distinct(wanted, all.length),
  }))

function distinct(links: readonly number[], count: number): readonly number[] {
  return count === 0 ? [] : [...new Set(links.map((link) => link % count))]
}

/** Makes the targets of a flow. Each calls `called` with its place, and returns what that returns. */
export function targetsOf(
  { targets }: RandomFlow,
  called: (at: number, inputs: readonly unknown[]) => unknown = () => undefined,
): readonly Target<unknown>[] {
  const made: Target<unknown>[] = []
  for (const [at, { sources, needs }] of targets.entries()) {
    const inputs = sources.flatMap((source) => made[source] ?? [])
    made.push(target(`t${at}`, inputs, (...values) => called(at, values), { needs }))
  }
  return made
}

/** Returns a target as the rooms of a run see it. */
export function recordOf(made: Target<unknown>): TargetRecord {
  if (made instanceof TargetRecord) return made
  throw new Error('no target of ours')
}

/** Returns the place in a flow of a target's name. */
export function placeOf(name: string): number {
  return Number(name.slice(1))
}

/** The places of what a run makes, in the order in which it finds them. */
export function foundOf({ targets, wanted }: RandomFlow): readonly number[] {
  const found: number[] = []
  const visit = (at: number) => {
    if (found.includes(at)) return
    for (const source of targets[at]?.sources ?? []) visit(source)
    found.push(at)
  }
  for (const at of wanted) visit(at)
  return found
}

/** The longest path from a target to the last one that depends on it, both included. */
export function pathOf(flow: RandomFlow, at: number): number {
  const below = foundOf(flow).filter((other) => flow.targets[other]?.sources.includes(at))
  const paths = below.map((other) => pathOf(flow, other))
  return (flow.targets[at]?.time ?? 0) + Math.max(0, ...paths)
}

/** The order in which a run that makes one after the other calls all of a flow. */
export function orderOf(flow: RandomFlow): readonly number[] {
  const found = foundOf(flow)
  const paths = new Map(found.map((at) => [at, pathOf(flow, at)]))
  const order: number[] = []
  while (order.length < found.length) {
    const ready = found.filter(
      (at) =>
        !order.includes(at) && flow.targets[at]?.sources.every((source) => order.includes(source)),
    )
    // Array.sort is stable: equal paths stay in the order in which they were found.
    ready.sort((a, b) => (paths.get(b) ?? 0) - (paths.get(a) ?? 0))
    order.push(...ready.slice(0, 1))
  }
  return order
}

/** What becomes of the targets of a flow of which some fail, if the run goes on. */
export function outcomesOf(flow: RandomFlow): ReadonlyMap<number, 'finish' | 'fail' | 'skip'> {
  const outcomes = new Map<number, 'finish' | 'fail' | 'skip'>()
  for (const at of foundOf(flow)) {
    const { sources = [], fails = false } = flow.targets[at] ?? {}
    const isSkipped = sources.some((source) => outcomes.get(source) !== 'finish')
    outcomes.set(at, isSkipped ? 'skip' : fails ? 'fail' : 'finish')
  }
  return outcomes
}
