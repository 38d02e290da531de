/** A program that runs a target by two workers, for tests of its end. It says the pids of the workers, then what came
 *  of the run. Arguments: the name of the target, the path of the module of targets. */

import { pathToFileURL } from 'node:url'
import type { Target } from '../../src/api/flow.js'
import { openWorkers, run } from './api.js'

const [name = '', module = ''] = process.argv.slice(2)
const targets: Readonly<Record<string, Target<unknown>>> = await import(pathToFileURL(module).href)
const wanted = targets[name]
if (!wanted) throw new Error(`there is no target ${name}`)
await using workers = openWorkers({ module, processes: 2, graceMs: 200 })
console.log(
  workers
    .list()
    .map(({ pid }) => pid)
    .join(' '),
)
console.log(`result ${await run(wanted, { workers }).result}`)
