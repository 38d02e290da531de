/** `server.log`: its bound, what a crash leaves in it, and what keeps it from being written. A program of its own
 *  writes it, since the log takes the place of its standard error. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { crashRoom, logSizeMax } from '../../src/local/log-file.js'
import { smallDisk } from '../small-disk.js'
import { bundledPrograms } from '../support/programs.js'
import { Sandbox } from '../support/sandbox.js'

const programs = bundledPrograms({ log: 'src/local/log-file.ts' })

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-log-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

/** Runs `script` with `log`, a LogFile on `path`, and waits until it has ended. */
async function run(path: string, script: string, ...flags: readonly string[]) {
  const program = `import { LogFile } from ${JSON.stringify(programs.log)}
    const log = new LogFile(${JSON.stringify(path)})
    ${script}`
  const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', program], {
    stdio: 'ignore',
  })
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  return { code, signal }
}

/** Writes `count` lines of 1,000 bytes, each with its number. */
const writeLines = (count: number, name = 'line') =>
  `for (let i = 0; i < ${count}; i++) log.write(('${name} ' + i + ' ').padEnd(999, '.'))`

async function linesOf(path: string): Promise<string[]> {
  const older = await readFile(`${path}.1`, 'utf8').catch(() => '')
  return `${older}${await readFile(path, 'utf8')}`.split('\n').slice(0, -1)
}

async function sizeOf(path: string): Promise<number> {
  const sizes = [`${path}.1`, path].map((file) => stat(file).then(({ size }) => size))
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

describe('the log of a server', () => {
  it('is two files within the bound, and no line between the oldest and the newest is missing', async () => {
    const path = join(directory, 'server.log')
    await run(path, writeLines(12_000))
    expect(await readdir(directory)).toEqual(['server.log', 'server.log.1'])
    expect(await sizeOf(path)).toBeLessThanOrEqual(logSizeMax)
    const numbers = (await linesOf(path)).map((line) => Number(line.split(' ')[1]))
    const first = numbers[0] ?? 0
    expect(numbers).toEqual(Array.from({ length: 12_000 - first }, (_, index) => first + index))
    expect(numbers.length).toBeGreaterThan(4_000)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('goes on over restarts, within the bound', async () => {
    const path = join(directory, 'server.log')
    for (let start = 0; start < 4; start++) await run(path, writeLines(1_500, `start ${start}`))
    expect(await sizeOf(path)).toBeLessThanOrEqual(logSizeMax)
    const lines = await linesOf(path)
    expect(lines[0]).toMatch(/^start 0 0 /)
    expect(lines).toHaveLength(6_000)
  })

  it('of several processes keeps the bound, whole lines, and the newest of them', async () => {
    const path = join(directory, 'server.log')
    const names = ['a', 'b', 'c']
    await Promise.all(names.map((name) => run(path, writeLines(3_000, name))))
    expect(await sizeOf(path)).toBeLessThanOrEqual(logSizeMax)
    const lines = await linesOf(path)
    expect(lines.every((line) => line.length === 999)).toBe(true)
    expect(lines.length).toBeGreaterThan(4_000)
    // One that ends early is followed by more than is kept.
    expect(lines.some((line) => / 2999 /.test(line))).toBe(true)
  })

  it('has what a crash says, after it was turned over too', async () => {
    const path = join(directory, 'server.log')
    await run(path, `${writeLines(5_000)}\nthrow new Error('an end that nobody foresaw')`)
    expect(await readFile(path, 'utf8')).toMatch(/Error: an end that nobody foresaw\n +at /)
    const heap = "const all = []; for (;;) all.push(new Array(1000).fill('x'))"
    const { signal } = await run(path, `${writeLines(5_000)}\n${heap}`, '--max-old-space-size=10')
    expect(signal).not.toBeNull()
    expect(await readFile(path, 'utf8')).toMatch(/FATAL ERROR: .*heap/)
    expect(await sizeOf(path)).toBeLessThanOrEqual(logSizeMax)
  })

  it('that somebody removed is made anew', async () => {
    const path = join(directory, 'server.log')
    const remove = `;(await import('node:fs')).rmSync(${JSON.stringify(path)})`
    await run(path, `log.write('one')\n${remove}\nlog.write('two')`)
    expect(await readFile(path, 'utf8')).toBe('two\n')
  })

  it('on a full disk is no error, and says later how much it lacks', async (context) => {
    await using disk = await smallDisk(1024 * 1024, context)
    const path = join(disk.directory, 'server.log')
    const ballast = join(disk.directory, 'ballast')
    await writeFile(ballast, Buffer.alloc(2 * 1024 * 1024)).catch(() => {})
    const free = `;(await import('node:fs')).rmSync(${JSON.stringify(ballast)})`
    const script = `${writeLines(20)}\n${free}\nlog.write('again'); log.write('and on')`
    expect(await run(path, script)).toEqual({ code: 0, signal: null })
    const lines = await linesOf(path)
    expect(lines.slice(-3)).toEqual([
      expect.stringMatching(/^\d+ lines could not be written here$/),
      'again',
      'and on',
    ])
  })
})

describe('a start', () => {
  it('goes on where the log cannot be written, and an error is said all the same', async () => {
    const sandbox = await Sandbox.make()
    try {
      await mkdir(join(sandbox.data, 'server.log'), { recursive: true, mode: 0o700 })
      await sandbox.ok(['put', 'key', 'value'])
      await sandbox.ok(['stop'])
      await writeFile(join(sandbox.data, 'store', 'data.mdb'), Buffer.alloc(10_000, 'x'))
      const { stderr } = await sandbox.call(['put', 'key', 'value'])
      expect(stderr).toMatch(/^tailrace: ECORRUPT: /)
    } finally {
      await sandbox.remove()
    }
  })

  it('turns the log over that the last ones filled', async () => {
    const sandbox = await Sandbox.make()
    try {
      await mkdir(sandbox.data, { mode: 0o700 })
      const log = join(sandbox.data, 'server.log')
      await writeFile(log, Buffer.alloc(logSizeMax / 2 - crashRoom + 1, 'x'), { mode: 0o600 })
      await sandbox.ok(['put', 'key', 'value'])
      expect((await stat(log)).size).toBeLessThan(10_000)
      expect((await stat(`${log}.1`)).size).toBe(logSizeMax / 2 - crashRoom + 1)
    } finally {
      await sandbox.remove()
    }
  })
})
