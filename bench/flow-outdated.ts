/** How long does it take to see that 100,000 targets are up to date, and how long does a run that finds all
 *  of them, beside GNU make and ninja with as many files?
 *
 *  Graph. U100k: 100 layers of 1,000, each of which needs 1 to 8 of the layer before; the same number is
 *  the work of a target and the content of a file. A run in this process fills an embedded store, which
 *  is opened anew for each measurement. Here a target is a function whose module was read before; there
 *  a file and a command of `build.ninja` or `Makefile`, which are read each time.
 *
 *  Expected. The graph is settled (rfc/24, rule 38): a look hashes what it consists of, some 10 µs a target for
 *  its steps, its code and its inputs, and asks for one key. For a run a target is an action of some
 *  300 B, which is packed and hashed, 5 µs; a record that is read, 10 µs where records are asked for by
 *  the hundred; and an event in the log, 2 µs: 2 s, if a look is no request of its own. make and
 *  ninja look at each file, 2 µs, and at its rule, 5: 1 s and less. A collection may begin when the
 *  store is opened, since the fill leaves much garbage.
 *
 *  The fill takes minutes and some GB. ninja builds the files, of which make then finds all up to date: it
 *  has no log of its own. In one process, without a server. */

import { pathToFileURL } from 'node:url'
import type { Bench } from './bench.js'
import { bundleProject } from './bundle.js'
import type { ColumnId, Row } from './figures.js'
import { flowGraphs, titles } from './flow-graphs.js'
import { type Builder, make, ninja } from './flow-peers/make-ninja.js'
import { withDirectory } from './scratch.js'
import type { Compared } from './systems/system.js'
import { inTurnAlone } from './turns.js'

const builders: readonly Builder[] = [ninja, make]
/** The commands at a time of the build that makes the files. */
const jobs = 2

type Program = typeof import('./flow-outdated-times.js')

export const flowOutdated: Bench = {
  question: 'how long does it take to see that 100,000 targets are up to date?',
  byNameOnly: true,
  run: async ({ runs, scale, systems, flowPeers }): Promise<readonly Row[]> => {
    const { times } = await bundleProject({ times: 'flow-outdated-times.ts' })
    const { UpToDate }: Program = await import(pathToFileURL(times).href)
    const graph = flowGraphs.u100k(scale)
    const ours: Compared<ColumnId>[] = systems.filter(({ id }) => id === 'tailrace')
    const theirs = builders.filter((builder) => flowPeers.includes(builder))
    return withDirectory((files) =>
      withDirectory(async (directory) => {
        const upToDate = new UpToDate(graph, directory)
        await upToDate.fill()
        const built = new Set<ColumnId>()
        const outcomes = await inTurnAlone<'outdated' | 'run', Compared<ColumnId>>(
          [...ours, ...theirs],
          runs,
          async ({ id }) => {
            const builder = theirs.find((each) => each.id === id)
            if (!builder) return await upToDate.times()
            if (!built.has(id)) {
              await builder.describe(files, graph)
              await builder.build(files, jobs)
              built.add(id)
            }
            return {
              outdated: await builder.check(files),
              run: await builder.build(files, jobs),
            }
          },
        )
        const row = { bench: 'flow-outdated', unit: 'ms', better: 'less' } as const
        return [
          {
            ...{ ...row, work: `${titles.u100k}, up to date: a look at all` },
            figures: outcomes.figures('outdated'),
            gates: [{ bound: 1_000 }],
          },
          {
            ...{ ...row, work: `${titles.u100k}, up to date: a run that finds all` },
            figures: outcomes.figures('run'),
          },
        ]
      }),
    )
  },
}
