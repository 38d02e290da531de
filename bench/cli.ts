/** How long does a command take: `--help`, a `get` with a server, and one that starts its server?
 *
 *  Expected. Node itself starts in 40–50 ms (beside it: `node -e 0`). `--help` loads one bundle and
 *  no package, 20 ms more. A `get` loads the client, connects to a Unix socket and asks once, 40 ms
 *  more. One that starts the server waits for a second Node with the server's modules, LMDB and the
 *  hash, 250 ms, and opens the store. */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { mainFile } from '../src/local/installation.js'
import type { Bench } from './bench.js'
import { inPlaceOfFile, type Row } from './figures.js'
import { median, now } from './measure.js'
import { withDirectory } from './scratch.js'
import { Outcomes } from './turns.js'

const callsOfRun = 7

const works = [
  { name: 'help', work: '`tailrace --help`', bound: 100 },
  { name: 'get', work: '`tailrace get` with a server', bound: 120 },
  { name: 'start', work: '`tailrace get` that starts the server', bound: 450 },
] as const
type Name = (typeof works)[number]['name']

export const cli: Bench = {
  question: 'how long does a command take, with a server and without one?',
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const calls = Math.ceil(callsOfRun / scale)
    const outcomes = await withDirectory((directory) => measure(directory, runs, calls))
    return works.map(({ name, work, bound }) => ({
      bench: 'cli',
      work,
      unit: 'ms',
      better: 'less',
      figures: inPlaceOfFile(outcomes.figures(name), '`node -e 0`'),
      gates: [{ bound }],
    }))
  },
}

async function measure(directory: string, runs: number, calls: number): Promise<Outcomes<Name>> {
  const outcomes = new Outcomes<Name>()
  const environment = { ...process.env, TAILRACE_URL: '', TAILRACE_DATA: join(directory, 'data') }
  const node = async (...args: readonly string[]) => {
    await promisify(execFile)(process.execPath, args, { env: environment })
  }
  const tailrace = (...args: readonly string[]) => node(mainFile, ...args)
  const times = async (step: () => Promise<void>, before?: () => Promise<void>) => {
    const all: number[] = []
    for (let call = 0; call < calls; call++) {
      await before?.()
      const start = now()
      await step()
      all.push(now() - start)
    }
    return median(all)
  }
  try {
    await tailrace('put', 'key', 'value')
    for (let run = 0; run < runs; run++) {
      const get = () => tailrace('get', 'key')
      const stop = () => tailrace('stop')
      outcomes.add('tailrace', {
        help: await times(() => tailrace('--help')),
        get: await times(get),
        start: await times(get, stop),
      })
      const bare = await times(() => node('-e', '0'))
      outcomes.add('file', { help: bare, get: bare, start: bare })
    }
  } finally {
    await tailrace('stop')
  }
  return outcomes
}
