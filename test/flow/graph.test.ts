/** The graph of a run: the order of its steps, their paths, names and bounds. See rfc/24, rules 1, 3 to
 *  5. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Target, targetsMax } from '../../src/api/flow.js'
import { LoopSlice } from '../../src/base/loop-slice.js'
import { Graph, type Step } from '../../src/flow/graph.js'
import { cross, map, target } from '../../src/flow/target.js'
import { foundOf, pathOf, placeOf, randomFlow, recordOf, targetsOf } from './random-flows.js'

const graphOf = (wanted: readonly Target<unknown>[], expectedOf?: (step: Step) => number) =>
  Graph.of(wanted.map(recordOf), new LoopSlice(), expectedOf)

function stepAt(graph: Graph, index: number): Step {
  const step = graph.steps[index]
  if (!step) throw new Error(`there is no step ${index}`)
  return step
}

describe('Graph', () => {
  it('has each target once, behind its sources, with its dependents and its longest path', async () => {
    await fc.assert(
      fc.asyncProperty(randomFlow, async (flow) => {
        const made = targetsOf(flow)
        const graph = await graphOf(
          flow.wanted.flatMap((at) => made[at] ?? []),
          ({ name }) => flow.targets[placeOf(name)]?.time ?? 0,
        )
        const found = foundOf(flow)
        expect(graph.steps.map(({ name }) => placeOf(name))).toEqual(found)
        expect(graph.wanted.map(({ name }) => placeOf(name))).toEqual(flow.wanted)
        for (const [index, step] of graph.steps.entries()) {
          const at = placeOf(step.name)
          expect(step.index).toBe(index)
          expect(step.sources.map(({ name }) => placeOf(name))).toEqual(flow.targets[at]?.sources)
          expect(step.missing).toBe(step.sources.length)
          expect(step.dependents).toEqual(
            graph.steps.filter(({ sources }) => sources.includes(step)),
          )
          expect(step.rank).toBe(pathOf(flow, at))
        }
      }),
    )
  })

  it('goes through a chain of 100,000 without recursion', async () => {
    let last: Target<number> = target('t0', [], () => 0)
    for (let at = 1; at < 100_000; at++) last = target(`t${at}`, [last], (number) => number + 1)
    const graph = await graphOf([last])
    expect(graph.steps.length).toBe(100_000)
    expect(stepAt(graph, 0).rank).toBe(100_000)
    expect(stepAt(graph, 99_999)).toMatchObject({ name: 't99999', rank: 1 })
  })

  it('refuses two targets of one name, wherever they stand', async () => {
    const error = expect.objectContaining({
      code: 'EINVAL',
      message: expect.stringContaining('the name a'),
    })
    const [one, other] = [target('a', [], () => 1), target('a', [], () => 1)]
    await expect(graphOf([one, other])).rejects.toEqual(error)
    await expect(graphOf([target('b', [one, other], () => 1)])).rejects.toEqual(error)
    await expect(graphOf([target('a', [one], () => 1)])).rejects.toEqual(error)
    await expect(graphOf([one, target('b', [one], () => 1)])).resolves.toBeDefined()
  })

  it('adds branches behind all, named by their places, with the elements of these', async () => {
    const [xs, ys] = [target('xs', [], () => [1, 2]), target('ys', [], () => ['a', 'b', 'c'])]
    const all = cross('all', [xs, ys], (x, y) => `${x}${y}`)
    const graph = await graphOf([target('last', [all], () => 1)])
    const step = stepAt(graph, 2)
    const arrays = [
      [1, 2],
      ['a', 'b', 'c'],
    ]
    expect(graph.branch(step, arrays).count).toBe(6)
    const added: Step[] = []
    for (;;) {
      const branch = graph.nextBranch(step)
      if (!branch) break
      added.push(branch)
    }
    expect(added.map(({ name, elements }) => [name, elements])).toEqual([
      ['all[0,0]', [1, 'a']],
      ['all[0,1]', [1, 'b']],
      ['all[0,2]', [1, 'c']],
      ['all[1,0]', [2, 'a']],
      ['all[1,1]', [2, 'b']],
      ['all[1,2]', [2, 'c']],
    ])
    expect(added.map(({ index }) => index)).toEqual([4, 5, 6, 7, 8, 9])
    expect(added.map(({ rank }) => rank)).toEqual([2, 2, 2, 2, 2, 2])
    for (const branch of added) expect(branch.dependents).toEqual([step])
  })

  it('has no branches of an empty array', async () => {
    const xs = target('xs', [], (): number[] => [])
    const graph = await graphOf([cross('all', [xs, xs], () => 1)])
    const step = stepAt(graph, 1)
    expect(graph.branch(step, [[], [1]]).count).toBe(0)
    expect(graph.nextBranch(step)).toBeUndefined()
  })

  it('has at most 1,000,000 targets, branches included, also those that have no step yet', async () => {
    const xs = target('xs', [], () => [1])
    const maps = [map('one', [xs], () => 1), map('two', [xs], () => 1)]
    const graph = await graphOf(maps)
    const [one, two] = [stepAt(graph, 1), stepAt(graph, 2)]
    const left = targetsMax - 3
    const tooMany = expect.objectContaining({ code: 'E2BIG' })
    expect(() => graph.branch(one, [new Array(left + 1)])).toThrow(tooMany)
    expect(graph.branch(one, [new Array(left - 1)]).count).toBe(left - 1)
    expect(() => graph.branch(two, [new Array(2)])).toThrow(tooMany)
    expect(graph.branch(two, [new Array(1)]).count).toBe(1)
  })
})
