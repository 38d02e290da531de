/** What Node lacks of POSIX, tried against the system: locks over processes, descriptors of children. */

import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  enlargePipe,
  giveBackLargePieces,
  isInherited,
  openDescriptors,
  openLocked,
  tryLock,
} from '../../src/base/posix.js'
import { closePipe, PipePool } from '../../src/job/pipes.js'

const posixFile = join(import.meta.dirname, '../../src/base/posix.ts')

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tailrace-posix-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('a file is locked once, over open files of one process, until its descriptor is closed', () => {
  const path = join(directory, 'lock')
  const first = openLocked(path)
  expect(first).toBeTypeOf('number')
  expect(openLocked(path)).toBeUndefined()
  if (first !== undefined) closeSync(first)
  const second = openLocked(path)
  expect(second).toBeTypeOf('number')
  if (second !== undefined) closeSync(second)
})

test('a lock of this process keeps others out', () => {
  const path = join(directory, 'lock')
  const held = openLocked(path)
  const flock = () => spawnSync('flock', ['-n', path, 'true']).status
  expect(flock()).toBe(1)
  if (held !== undefined) closeSync(held)
  expect(flock()).toBe(0)
})

test('a descriptor that is no file is EIO with the name of the error', () => {
  const closed = openSync(join(directory, 'closed'), 'w')
  closeSync(closed)
  expect(() => tryLock(closed)).toThrow(expect.objectContaining({ code: 'EIO' }))
  expect(() => tryLock(closed)).toThrow('EBADF')
})

test('a child that is started without inheritance gets 0, 1 and 2, later ones what they got before', () => {
  // A shell's redirection is what a caller leaves open: high enough that Node does not mark it itself.
  const program = `
    import { isInherited, withoutInheritance } from ${JSON.stringify(posixFile)}
    import { execFileSync } from 'node:child_process'
    const list = () => execFileSync('sh', ['-c', 'ls /proc/self/fd']).toString().trim().split('\\n').map(Number)
    const before = list()
    const inherited = isInherited(77)
    const within = withoutInheritance(list)
    console.log(JSON.stringify({ before, inherited, within, after: list(), then: isInherited(77) }))`
  const file = join(directory, 'program.mts')
  execFileSync('tee', [file], { input: program, stdio: ['pipe', 'ignore', 'inherit'] })
  const shell = ['-c', `exec 77>/dev/null; exec "$0" --import tsx "$1"`, process.execPath, file]
  const told = execFileSync('bash', shell, { encoding: 'utf8' })
  const { before, inherited, within, after, then } = JSON.parse(told)
  expect(before).toContain(77)
  expect(inherited).toBe(true)
  // `ls` reads the directory with a descriptor of its own.
  expect(within).toEqual([0, 1, 2, 3])
  expect(after).toEqual(before)
  expect(then).toBe(true)
})

test('a pipe becomes larger where the system can, and takes as much without a reader', async () => {
  const pool = new PipePool()
  const [pipe] = (await pool.take(1)) ?? []
  if (!pipe) throw new Error('no pipe')
  const [size, larger] = [100_000, 1024 * 1024]
  expect(enlargePipe(pipe.read, larger)).toBe(process.platform === 'linux')
  if (process.platform === 'linux') expect(writeSync(pipe.write, Buffer.alloc(size))).toBe(size)
  closePipe(pipe)
  await pool.close()
})

test('a file is no pipe that can become larger', () => {
  const file = openSync(join(directory, 'file'), 'w')
  expect(enlargePipe(file, 1024 * 1024)).toBe(false)
  closeSync(file)
})

test('the descriptors of this process are listed', () => {
  const opened = openSync(join(directory, 'file'), 'w')
  expect(openDescriptors()).toContain(opened)
  expect(isInherited(opened)).toBe(false)
  closeSync(opened)
})

test('large pieces of memory go back to the system where the C library is GNU', () => {
  expect(giveBackLargePieces()).toBe(isGnu())
})

// Only Linux tells a process's anonymous memory, and only the GNU C library gives it back on demand.
test.runIf(process.platform === 'linux' && isGnu())(
  'memory that was freed between pieces still in use goes back to the system',
  () => {
    const program = `
      import { readFileSync } from 'node:fs'
      import { setImmediate as turn } from 'node:timers/promises'
      import { giveBackFreedMemory } from ${JSON.stringify(posixFile)}
      const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
      let pieces = Array.from({ length: 2000 }, () => Buffer.alloc(64 * 1024, 1))
      pieces = pieces.filter((_, at) => at % 20 === 0)
      gc()
      await turn()
      gc()
      const before = anonymous()
      await giveBackFreedMemory()
      console.log(JSON.stringify({ before, after: anonymous(), kept: pieces.length }))
    `
    const file = join(directory, 'program.mts')
    execFileSync('tee', [file], { input: program, stdio: ['pipe', 'ignore', 'inherit'] })
    const args = ['--expose-gc', '--import', 'tsx', file]
    const told = execFileSync(process.execPath, args, { encoding: 'utf8' })
    const { before, after } = JSON.parse(told)
    expect(before - after).toBeGreaterThan(40)
  },
)

function isGnu(): boolean {
  const report = process.report.getReport() as { readonly header: object }
  return 'glibcVersionRuntime' in report.header
}
