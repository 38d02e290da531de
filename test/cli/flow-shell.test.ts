/** `tailrace flow shell` and `again`, built as its users have them: a call that failed is made again where the code is,
 *  and elsewhere. See rfc/27, rules 7 to 9. */

import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const flowFile = `
import { command, file, target } from 'tailrace/flow'
import { parsed } from './parsed.mjs'
export const rows = target('rows', [file('rows.csv'), { from: 1 }], parsed)
export const sorted = command('sorted', {
  run: ['sh', '-c', 'cat d/rows -; echo $WHO >&2; exit 3'],
  in: { 'd/rows': file('rows.csv') },
  stdin: 'last',
  env: { WHO: "it's me" },
})
`
const parsedFile = `
import { readFileSync } from 'node:fs'
export function parsed(path, { from }) {
  throw new RangeError('no rows in ' + readFileSync(path, 'utf8').slice(from))
}
`

let sandbox: Sandbox

/** A project whose flow has failed, and whose directory has gone since. */
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
  await mkdir(at('project/node_modules'), { recursive: true })
  await symlink(root, at('project/node_modules/tailrace'))
  await writeFile(at('project/package.json'), '{"type":"module"}')
  await writeFile(at('project/flow.mjs'), flowFile)
  await writeFile(at('project/parsed.mjs'), parsedFile)
  await writeFile(at('project/rows.csv'), '1,2\n')
  const run = ['flow', 'run', 'flow.mjs', '--keep-going']
  expect((await sandbox.call(run, { cwd: at('project') })).code).toBe(1)
  await rename(at('project'), at('elsewhere'))
  await writeFile(at('elsewhere/rows.csv'), 'others')
})
afterAll(() => sandbox.remove())

const at = (path: string) => join(sandbox.directory, path)

it('runs a command in a fresh directory, which makes the error again, and removes it', async () => {
  const words = ['flow', 'shell', 'rows', '--', 'sh', '-c', 'pwd; ls; again']
  const { code, stdout, stderr } = await sandbox.call(words, { cwd: at('elsewhere') })
  const [directory = '', ...names] = stdout.trimEnd().split('\n')
  expect([code, names]).toEqual([1, ['README.md', 'again', 'inputs']])
  expect(stderr).toMatch(/^RangeError: no rows in ,2\n$/m)
  expect(stderr).toContain('rows failed with the same error\n')
  expect(existsSync(directory)).toBe(false)
})

it('runs a command target where no code is, with its files, its stdin and its variables', async () => {
  const { code, stdout, stderr } = await sandbox.call(['flow', 'shell', 'sorted', '--', 'again'])
  expect([code, stdout, stderr]).toEqual([3, '1,2\nlast', "it's me\n"])
})

it('--dir keeps the directory, which says what happened; again says which code differs', async () => {
  expect(await sandbox.ok(['flow', 'shell', 'rows', '--dir', at('kept')])).toBe(`${at('kept')}\n`)
  const readme = await readFile(at('kept/README.md'), 'utf8')
  expect(readme).toContain('RangeError: no rows in ,2')
  expect(readme).toContain('- 0: `inputs/0/rows.csv`\n- 1: `inputs/1.json`')
  expect(readme).toContain('is not on this machine: `./again --file FILE`')
  expect((await stat(at('kept/again'))).mode & 0o777).toBe(0o755)
  failed(await sandbox.call(['flow', 'again', at('kept')]), 'EINVAL')
  await writeFile(at('elsewhere/parsed.mjs'), parsedFile.replace('no rows', 'no lines'))
  const again = await sandbox.call(['flow', 'again', 'kept', '--file', 'elsewhere/flow.mjs'])
  expect(again.code).toBe(1)
  expect(again.stderr).toMatch(/^ {2}module\.files\["parsed\.mjs"\]: "\w+" → "\w+"$/m)
  expect(again.stderr).toContain('another error; the one before was: no rows in ,2')
})

it('--json tells all, and a target that never ran is refused', async () => {
  const words = ['flow', 'shell', 'sorted', '--json', '--dir', at('json')]
  expect(JSON.parse(await sandbox.ok(words))).toMatchObject({
    ...{ target: 'sorted', state: 'failed', kind: 'command', directory: at('json') },
    error: { code: 'EIO', message: expect.stringContaining("it's me") },
    command: { run: ['sh', '-c', expect.any(String)], stdin: true },
    log: 'log.txt',
    origin: { file: 'flow.mjs', directory: at('project') },
  })
  failed(await sandbox.call(['flow', 'shell', 'none']), 'ENOENT')
})

it('log prints what a target has printed, and rm removes it', async () => {
  const { runs } = JSON.parse(await sandbox.ok(['flow', 'ls', '--json']))
  const [{ run }] = runs
  const printed = await sandbox.call(['flow', 'log', run, 'sorted'])
  expect([printed.code, printed.stdout, printed.stderr]).toEqual([0, '', "it's me\n"])
  failed(await sandbox.call(['flow', 'log', run, 'rows']), 'ENOENT')
  expect(await sandbox.ok(['flow', 'status', run])).toMatch(/^failed {2}sorted .*\n +\| it's me$/m)
  expect(await sandbox.ok(['flow', 'rm', run])).toBe('')
  failed(await sandbox.call(['flow', 'log', run, 'sorted']), 'ENOENT')
})
