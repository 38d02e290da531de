/** The scheduler of a run that lasts: `flow-idle-program DIRECTORY MODULE PROCESSES`. It writes the ids of
 *  all processes into the directory once all workers are there and the function was called, and ends
 *  with SIGTERM. */

import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { run } from '../src/flow/flow.js'
import { open } from '../src/open.js'
import { openWorkers } from '../src/worker/worker.js'
import { long } from './flow-idle-targets.js'

const lookMs = 10

async function main([, , directory = '', module = '', processes = '']: readonly string[]) {
  const ending = new AbortController()
  process.once('SIGTERM', () => ending.abort())
  await using store = await open({ directory: join(directory, 'store') })
  await using workers = openWorkers({ module, processes: Number(processes) })
  const running = run(long, { store, workers, signal: ending.signal })
  for await (const { type } of running) if (type === 'start') break
  while (workers.list().some(({ state }) => state !== 'ready')) await delay(lookMs)
  const pids = [process.pid, ...workers.list().flatMap(({ pid }) => pid ?? [])]
  await writeFile(join(directory, 'pids'), JSON.stringify(pids))
  await rename(join(directory, 'pids'), join(directory, 'pids.json'))
  await running.result.catch((error: unknown) => {
    if (!ending.signal.aborted) throw error
  })
}

await main(process.argv)
