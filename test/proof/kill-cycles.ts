/** The long form of kill.test.ts: `npx tsx test/proof/kill-cycles.ts [CYCLES=200 [SEED]]`. What it judged
 *  is in kill-cycles.log where anything was found. See rfc/16. */

import { killCycles } from './kill.js'

const [cycles = '200', seed = `${Date.now() % 1_000_000}`] = process.argv.slice(2)
console.log(`${cycles} cycles, seed ${seed}`)
const started = Date.now()
const { problems, counts } = await killCycles({
  seed: Number(seed),
  cycles: Number(cycles),
  processes: 2,
  clients: 4,
  log: console.log,
  dump: 'kill-cycles.log',
})
console.log(counts)
for (const problem of problems.slice(0, 50)) console.log(problem)
const seconds = Math.round((Date.now() - started) / 1000)
console.log(`${problems.length} problems in ${seconds} s (seed ${seed})`)
process.exitCode = problems.length > 0 ? 1 : 0
