/** What a child inherits of a program that has a store open: a job nothing, another child what it got without the store. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const source = (name: string) => JSON.stringify(join(import.meta.dirname, '../../src', name))

const program = `
import { execFileSync } from 'node:child_process'
import { readStream } from ${source('eventlog/read-stream.ts')}
import { open } from ${source('open.ts')}

const list = ['-l', '/proc/self/fd']
// Without the directory that ls reads.
const parse = (text) => text.split('\\n').filter((line) => / -> (?!.proc.)/.test(line)).map((line) => line.replace(/.* (\\d+) -> /, '$1 '))
const before = parse(execFileSync('ls', list).toString())
const store = await open({ directory: process.argv[2] })
const { id } = await store.jobs.submit({ command: ['ls', ...list], cwd: '/', env: { PATH: process.env.PATH } })
await store.jobs.wait(id)
let text = ''
for await (const chunk of readStream(store, id, 'stdout')) text += Buffer.from(chunk).toString()
const after = parse(execFileSync('ls', list).toString())
await store[Symbol.asyncDispose]()
console.log(JSON.stringify({ before, job: parse(text), after }))`

test('a job has the descriptors 0, 1 and 2; other children of the program all but those of the store', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tailrace-fds-'))
  try {
    const file = join(directory, 'program.mts')
    writeFileSync(file, program)
    // High enough that Node does not mark it itself, as flock(1)'s users write it.
    const shell = 'exec 77>/dev/null; exec "$0" --import tsx "$1" "$2"'
    const args = ['-c', shell, process.execPath, file, join(directory, 'data')]
    const told = JSON.parse(execFileSync('bash', args, { encoding: 'utf8' }))
    const numbers = (lines: readonly string[]) => lines.map((line) => Number(line.split(' ')[0]))
    expect(numbers(told.job)).toEqual([0, 1, 2])
    expect(numbers(told.before)).toContain(77)
    expect(numbers(told.after)).toEqual(numbers(told.before))
    expect(told.after.join('\n')).not.toContain('data.mdb')
    expect(told.after.join('\n')).not.toContain('segment-')
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
