/** The graph of a flow for people: as plain data, as text, and as a diagram. See rfc/24, rule 23.
 *  Invariant: no function is called, and no store is asked. The drawings are pure functions of the
 *  plain data, in its order, and as long as its inputs are many: nothing is nested. */

import type { WantedTargets } from '../api/flow.js'
import type { GraphTarget } from '../api/flow-look.js'
import { LoopSlice } from '../base/loop-slice.js'
import { Graph } from './graph.js'
import { planWanted } from './target.js'

/** Returns the targets in `wanted` and all that they depend on, each after those that it depends on.
 *  Throws EINVAL (no targets; two targets have one name), E2BIG (more than `targetsMax`).
 *
 *      for (const { target, inputs } of await graphOf(report)) console.log(target, inputs)
 */
export async function graphOf(wanted: WantedTargets): Promise<readonly GraphTarget[]> {
  const { steps } = await Graph.of(planWanted(wanted).sources, new LoopSlice())
  return steps.map(({ target, sources }) => ({
    target: target.name,
    hasBranches: target.arrays.length > 0,
    inputs: sources.map(({ name }) => name),
  }))
}

/** Draws a graph as lines of text: each target once, its inputs indented below it. Names of targets
 *  with branches end with `[*]`. */
export function graphLines(targets: readonly GraphTarget[]): readonly string[] {
  return targets.flatMap(({ target, hasBranches, inputs }) => [
    hasBranches ? `${target}[*]` : target,
    ...inputs.map((input) => `  ${input}`),
  ])
}

/** Draws a graph as the lines of a flowchart of Mermaid. Targets with branches have double borders. */
export function mermaidLines(targets: readonly GraphTarget[]): readonly string[] {
  // Nodes have numbers, since a name may be a word of Mermaid, such as `end`.
  const ids = new Map(targets.map(({ target }, at) => [target, `t${at}`]))
  const nodes = targets.map(({ target, hasBranches }) => {
    const label = `"${labelOf(target)}"`
    return `  ${ids.get(target)}${hasBranches ? `[[${label}]]` : `[${label}]`}`
  })
  const arrows = targets.flatMap(({ target, inputs }) =>
    inputs.map((input) => `  ${ids.get(input)} --> ${ids.get(target)}`),
  )
  return ['flowchart LR', ...nodes, ...arrows]
}

/** Writes all but the characters that names of targets have as codes of Mermaid. */
function labelOf(name: string): string {
  return name.replace(/[^\w.-]/gu, (character) => `#${character.codePointAt(0)};`)
}
