/** How much CPU do a run and its workers take while 8 workers are idle and one calls a long function?
 *
 *  Expected. Nothing polls. The guard of each worker says each 10 s that it lives, 9 small messages, 0.4 ms
 *  each with both ends, since their code and data are in no cache. The claim of the target is renewed
 *  after half of its 10 s, a synced commit, 1 to 3 ms of the scheduler for the same reason; so is the
 *  lease of the run. Together 8 to 15 ms in 10 s, 0.08 to 0.15 % of a core. After its last work V8
 *  collects all garbage up to three times, 8 s apart, and it compiles what the renewals run once they
 *  have run some times: the rest begins after that.
 *
 *  The scheduler, with its embedded store, and each worker are processes of their own, all of which
 *  count. Of ours alone. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Bench } from './bench.js'
import { bundleProject } from './bundle.js'
import type { Row } from './figures.js'
import { cpuNsOf } from './measure.js'
import { withDirectory } from './scratch.js'
import { ServerProcess } from './systems/server-process.js'

const idleWorkers = 8
const settleMs = 60_000
const restMs = 30_000

export const flowIdle: Bench = {
  question: 'how much CPU do a run and its workers take while one long function runs?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const files = await bundleProject({
      program: 'flow-idle-program.ts',
      targets: 'flow-idle-targets.ts',
    })
    const values: number[] = []
    for (let run = 0; run < runs; run++) {
      values.push(
        await withDirectory(async (directory) => {
          const args = [files.program, directory, files.targets, String(idleWorkers + 1)]
          await using scheduler = await ServerProcess.start(process.execPath, args)
          const pids = await scheduler.answers(() => pidsIn(directory))
          await delay(settleMs / scale)
          const cpu = () => pids.reduce((sum, pid) => sum + cpuNsOf(pid), 0)
          const before = cpu()
          await delay(restMs / scale)
          return (100 * (cpu() - before)) / 1e6 / (restMs / scale)
        }),
      )
    }
    return [
      {
        bench: 'flow-idle',
        work: `a target that lasts, by one of ${idleWorkers + 1} workers: CPU of all processes`,
        ...{ unit: '% of a core', better: 'less' },
        figures: [{ system: 'tailrace', values }],
        gates: [{ bound: 0.1 }],
      },
    ]
  },
}

/** The processes of the run, which it has written once all of them are there. */
async function pidsIn(directory: string): Promise<readonly number[]> {
  return JSON.parse(await readFile(join(directory, 'pids.json'), 'utf8'))
}
