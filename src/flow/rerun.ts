/** The targets that a run calls though their results are there. See rfc/24, rule 32. Pure. */

import { invalid } from '../base/shape.js'
import type { Graph, Step } from './graph.js'

/** The targets that are called again. */
export type Rerun = {
  /** The names of targets and of branches. */
  readonly names: readonly string[]
  /** True if what depends on them is called again, too. */
  readonly withDependents: boolean
}

/** Returns true for the steps that are called again. Throws EINVAL for a name that the graph has not. */
export function rerunIn(
  { steps }: Graph,
  { names, withDependents }: Rerun,
): (step: Step) => boolean {
  const named = new Set(names)
  const targets = new Set(steps.map(({ name }) => name))
  const mapOf = (name: string) => (targets.has(name) ? name : name.replace(/\[.*$/, ''))
  const unknown = names.find((name) => !targets.has(mapOf(name)))
  if (unknown !== undefined)
    throw invalid(`the run has no target ${unknown}, so it cannot rerun it`)
  const changed = new Set(names.map(mapOf))
  const whole = new Set<Step>()
  // Each stands behind those that it depends on.
  for (const step of steps) {
    const follows = withDependents && step.sources.some(({ name }) => changed.has(name))
    if (follows) changed.add(step.name)
    if (follows || named.has(step.name)) whole.add(step)
  }
  return (step) => whole.has(step.of ?? step) || named.has(step.name)
}
