/** The command `npm run bench`: its arguments, its list, and one small run. No time is measured. */

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { parseArguments } from '../../bench/arguments.js'
import { benches } from '../../bench/benches.js'

const known = {
  benches: ['one', 'two', 'three'],
  all: ['one', 'two'],
  peers: ['file', 'redis'],
} as const
const repository = fileURLToPath(new URL('../../', import.meta.url))

test('a name that is not known is wrong, and the known ones are said', () => {
  expect(parseArguments(['one', 'four'], known)).toEqual({
    type: 'wrong',
    message: 'there is no benchmark four; there are: one, two, three',
  })
})

test('without names all are run but those by name only', () => {
  const asked = { type: 'run', runs: 3, scale: 1, peers: ['file', 'redis'], record: false }
  expect(parseArguments([], known)).toMatchObject({ ...asked, names: ['one', 'two'] })
  expect(parseArguments(['three', 'one'], known)).toMatchObject({ names: ['three', 'one'] })
  expect(parseArguments(['--record'], known)).toMatchObject({
    ...asked,
    names: ['one', 'two'],
    record: true,
  })
})

test.each<[readonly string[], string]>([
  [['--record', 'one'], '--record is for'],
  [['--record', '--scale', '2'], '--record is for'],
  [['--record', '--peers', 'redis'], '--record is for'],
  [['--runs', '0'], '--runs takes'],
  [['--scale', 'x'], '--scale takes'],
  [['--peers', 'mongo'], 'there is no peer mongo; there are: file, redis'],
  [['--what'], "'--what'"],
])('%j is wrong', (args, message) => {
  const asked = parseArguments(args, known)
  expect(asked).toMatchObject({ type: 'wrong', message: expect.stringContaining(message) })
})

test('peers are those that are named, in their order, or none', () => {
  expect(parseArguments(['--peers', 'redis,file'], known)).toMatchObject({
    peers: ['file', 'redis'],
  })
  expect(parseArguments(['--peers', 'none'], known)).toMatchObject({ peers: [] })
})

test('--help and --list are heard beside anything', () => {
  expect(parseArguments(['one', '--help'], known)).toEqual({ type: 'help' })
  expect(parseArguments(['--list'], known)).toEqual({ type: 'list' })
})

test('the page of the benchmarks has a row or a word for each of them', async () => {
  const page = await readFile(join(repository, 'bench/README.md'), 'utf8')
  for (const [name, { byNameOnly }] of Object.entries(benches)) {
    expect(page).toContain(byNameOnly ? `**${name}** (` : `\n| ${name} | `)
  }
})

test('a small run of one benchmark writes its table and its values', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-test-'))
  try {
    const args = ['tree', '--scale', '10000', '--peers', 'none', '--out', directory]
    const run = promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', 'bench/run.ts', ...args],
      {
        cwd: repository,
      },
    )
    const { stdout } = await run
    expect(stdout).toContain('| **tree**: one change in a directory of 100, bytes |')
    expect(await readFile(join(directory, 'table.md'), 'utf8')).toBe(stdout.trimEnd().concat('\n'))
    const report = JSON.parse(await readFile(join(directory, 'figures.json'), 'utf8'))
    expect(report).toMatchObject({ scale: 10_000, failed: [], systems: [{ id: 'tailrace' }] })
    expect(report.rows[0].figures).toEqual([{ system: 'tailrace', values: [expect.any(Number)] }])
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
