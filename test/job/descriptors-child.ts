/** A program that opens a store, and prints the descriptors that a child has before and after, and those of a job, as
 *  `NUMBER PATH`. Argument: the data directory. */

import { execFileSync } from 'node:child_process'
import { readStream } from '../../src/eventlog/read-stream.js'
import { open } from '../../src/open.js'

const list = ['-l', '/proc/self/fd']

/** Takes the descriptors from what `ls` prints, without the directory that it reads itself. */
function parse(text: string): string[] {
  const lines = text.split('\n').filter((line) => / -> (?!.proc.)/.test(line))
  return lines.map((line) => line.replace(/.* (\d+) -> /, '$1 '))
}

const [directory = ''] = process.argv.slice(2)
const before = parse(execFileSync('ls', list).toString())
const store = await open({ directory })
const env = { PATH: process.env['PATH'] ?? '' }
const { id } = await store.jobs.submit({ command: ['ls', ...list], cwd: '/', env })
await store.jobs.wait(id)
let text = ''
for await (const chunk of readStream(store, id, 'stdout')) text += Buffer.from(chunk).toString()
const after = parse(execFileSync('ls', list).toString())
await store[Symbol.asyncDispose]()
console.log(JSON.stringify({ before, job: parse(text), after }))
