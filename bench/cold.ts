/** How long is it from the start of a server on a store that is there to its first answer, and how
 *  long does a get take of a value that is in nobody's memory?
 *
 *  Expected. A start of ours is that of Node with its modules, 0.2 s, and the opening of the
 *  store, which reads what the last commits left and nothing that grows with the store. Then a get
 *  reads a node a level of the directory and the value, 4 reads of a disk of 0.1 ms, most of them
 *  only the first time. Redis reads all it has; the others are native programs that open what they
 *  have.
 *
 *  The page cache of the files is dropped before each start, so the disk is asked. Values are 1
 *  KiB. */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { now, percentile } from './measure.js'
import { withDirectory } from './scratch.js'
import type { System } from './systems/system.js'
import { inTurnAlone, type Measured } from './turns.js'
import { Worker } from './worker.js'

const size = 1_024
const values = 10_000
const gets = 200
const prefix = 'values'

type Name = 'first answer' | 'get'

export const cold: Bench = {
  question: 'how long until a server that starts answers, and how long does a cold get take?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const able = systems.filter(({ keyed, id }) => keyed && id !== 'file')
    const keys = Math.ceil(values / scale)
    return withDirectory(async (parent) => {
      await chmod(parent, 0o711) // a server that runs as another user has its own below
      const outcomes = await inTurnAlone<Name>(able, runs, async (system) => {
        const directory = join(parent, system.id)
        if (!existsSync(directory)) await fill(system, directory, keys)
        return start(system, directory, keys)
      })
      const row = { bench: 'cold', unit: 'ms', better: 'less' } as const
      const shown = values.toLocaleString('en')
      return [
        {
          ...row,
          work: `from the start of the server on ${shown} values of 1 KiB to its first answer`,
          figures: outcomes.figures('first answer'),
        },
        {
          ...row,
          work: `a get of 1 KiB that is in nobody's memory, of ${shown}, p50`,
          figures: outcomes.figures('get'),
        },
      ]
    })
  },
}

/** Makes a store with values. */
async function fill(system: System, directory: string, keys: number): Promise<void> {
  await mkdir(directory)
  await using server = await system.start(directory)
  await using writer = await Worker.start(system, server)
  await writer.run('fill', { prefix, keys, inFlight: 64, size })
}

async function start(system: System, directory: string, keys: number): Promise<Measured<Name>> {
  await forgetPages(directory)
  const started = now()
  await using server = await system.start(directory)
  await using client = await system.connect(server.address)
  await client.get(`${prefix}/0`)
  const firstAnswer = now() - started
  await using reader = await Worker.start(system, server)
  const times = await reader.run('sample', { prefix, keys, gets, size })
  return { 'first answer': firstAnswer, get: percentile(times, 50) }
}

/** Has the system drop what it keeps in memory of the files below a directory. */
async function forgetPages(directory: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  for (const entry of entries) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const args = ['oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']
    await promisify(execFile)('dd', [`of=${path}`, ...args])
  }
}
