/** A process that appends to one log with 16 writers until it is killed, and prints the index and the
 *  line of each append once it is acknowledged. Arguments: the data directory, a name for the run. */

import { writeSync } from 'node:fs'
import { open } from '../../src/open.js'

const [directory = '', run = ''] = process.argv.slice(2)
const store = await open({ directory })

async function write(writer: number): Promise<void> {
  for (let count = 0; ; count++) {
    const line = `${run}/${writer}/${count}`
    const { result } = await store.append('log', `${line}\n`)
    writeSync(1, `${result.index} ${line}\n`)
  }
}

await Promise.all(Array.from({ length: 16 }, (_, writer) => write(writer)))
