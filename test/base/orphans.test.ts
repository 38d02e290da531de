/** Orphans that fall to a process are reaped, and its own children's ends are told to Node. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const source = (name: string) => JSON.stringify(join(import.meta.dirname, '../../src', name))

/** As process 1 would be: what its children leave falls to it. */
const program = `
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { OrphanReaper } from ${source('base/orphans.ts')}
import { becomeSubreaper } from ${source('base/posix.ts')}
import { processes } from ${source('base/processes.ts')}
const orphans = () => processes().filter(({ pid, parent }) => parent === process.pid && !own?.has(pid))
var own
becomeSubreaper()
// What the loader started is there already.
own = new Set(orphans().map(({ pid }) => pid))
// The reaper's listeners keep no program running: this timer does, until the program ends it.
const alive = setTimeout(() => {}, 60_000)
const reaper = new OrphanReaper()

const codes = await Promise.all(Array.from({ length: 30 }, async (_, index) => {
  // Leaves one that ends before it, one that ends after it.
  const child = spawn('sh', ['-c', '(true &); (sleep 0.3 &); exit ' + index])
  own.add(child.pid)
  const [code] = await once(child, 'exit')
  return code
}))
const fallen = orphans().length
while (orphans().length > 0) await reaper.ended.wait(reaper.ended.count)
clearTimeout(alive)
console.log(JSON.stringify({ codes, fallen }))`

test('what falls to a process is reaped; the exit codes of its own children are theirs', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tailrace-orphans-'))
  try {
    const file = join(directory, 'program.mts')
    writeFileSync(file, program)
    const told = execFileSync(process.execPath, ['--import', 'tsx', file], { encoding: 'utf8' })
    const { codes, fallen } = JSON.parse(told)
    expect(codes).toEqual(Array.from({ length: 30 }, (_, index) => index))
    expect(fallen).toBeGreaterThan(0)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
