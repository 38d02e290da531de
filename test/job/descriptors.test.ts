/** What a child inherits of a program that has a store open: a job nothing, another child what it got without the store. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bundledPrograms } from '../support/programs.js'

const programs = bundledPrograms({ child: 'test/job/descriptors-child.ts' })

test('a job has the descriptors 0, 1 and 2; other children of the program all but those of the store', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tailrace-fds-'))
  try {
    // High enough that Node does not mark it itself, as flock(1)'s users write it.
    const shell = 'exec 77>/dev/null; exec "$0" "$1" "$2"'
    const args = ['-c', shell, process.execPath, programs.child, join(directory, 'data')]
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
