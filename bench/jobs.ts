/** How many small jobs a second does a server run: 300 × `true`, submitted together and waited for?
 *
 *  Expected. A job is one fork and exec and one wait, 2–4 ms of CPU on one core (beside it: `spawn`
 *  of a Node program, which does that alone, with as many at once), and commits that many jobs
 *  share: submission, start, output and end, one fdatasync of 0.2 ms each for all that wait. So 0.7
 *  of the bare spawns and more. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { runningMaxDefault } from '../src/api/job.js'
import { connect } from '../src/client/node.js'
import type { Bench } from './bench.js'
import { inPlaceOfFile, type Row } from './figures.js'
import { now } from './measure.js'
import { tailrace } from './systems/tailrace.js'
import { Outcomes, withServer } from './turns.js'

const command = 'true'
const jobsOfRun = 300

export const jobs: Bench = {
  question: 'how many small jobs a second does a server run?',
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const count = Math.ceil(jobsOfRun / scale)
    const outcomes = new Outcomes<'rate'>()
    for (let run = 0; run < runs; run++) {
      outcomes.add('tailrace', { rate: await rateOfJobs(count) })
      outcomes.add('file', { rate: await rateOfSpawns(count) })
    }
    return [
      {
        bench: 'jobs',
        work: `${jobsOfRun} × \`true\`, submitted together`,
        unit: 'jobs/s',
        better: 'more',
        figures: inPlaceOfFile(outcomes.figures('rate'), 'bare spawn'),
        gates: [{ to: 'file', ratio: 0.7 }],
      },
    ]
  },
}

function rateOfJobs(count: number): Promise<number> {
  return withServer(tailrace, async ({ address }) => {
    await using store = await connect(address)
    const job = { command: [command], cwd: process.cwd(), env: process.env }
    await store.jobs.wait((await store.jobs.submit(job)).id) // the first one makes the namespace
    const start = now()
    const one = async () => {
      const { id } = await store.jobs.submit(job)
      const { status } = await store.jobs.wait(id)
      if (status !== 0) throw new Error(`${command} ended with ${status}`)
    }
    await Promise.all(Array.from({ length: count }, one))
    return (count * 1_000) / (now() - start)
  })
}

/** Spawns, as many at once as a server runs. */
async function rateOfSpawns(count: number): Promise<number> {
  let left = count
  const start = now()
  const lane = async () => {
    while (left-- > 0) {
      const [status] = await once(spawn(command, { stdio: ['ignore', 'pipe', 'pipe'] }), 'close')
      if (status !== 0) throw new Error(`${command} ended with ${status}`)
    }
  }
  await Promise.all(Array.from({ length: runningMaxDefault }, lane))
  return (count * 1_000) / (now() - start)
}
