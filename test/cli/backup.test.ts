/** export, import, verify and fsck as commands, on a server's store and on its files. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { commandGroups } from '../../src/cli/commands.js'
import { Output } from '../../src/cli/output.js'
import { runProgram } from '../../src/cli/program.js'
import { open } from '../../src/open.js'
import { flip, scribble } from '../fsck/damage.js'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

async function fill(): Promise<void> {
  await sandbox.ok(['put', 'a', 'v'.repeat(500)])
  await sandbox.ok(['append', 'log', 'one'])
  await sandbox.ok(['append', 'log', 'two', '--seal'])
}

describe('export and import', () => {
  it('move a namespace through a pipe and through a file, which verify checks', async () => {
    await fill()
    const file = join(sandbox.directory, 'backup')
    const piped = await sandbox.call(['export'])
    expect(piped.code).toBe(0)
    const { size } = JSON.parse(await sandbox.ok(['export', '-o', file, '--json']))
    expect((await readFile(file)).equals(piped.bytes)).toBe(true)
    expect(size).toBe(piped.bytes.length)
    expect(await sandbox.ok(['verify', file])).toMatch(
      /^whole: primary at 3 \(.*\): 2 keys, 506 bytes\n$/,
    )
    expect(JSON.parse(await sandbox.ok(['verify', file, '--json']))).toMatchObject({
      namespace: 'primary',
      seq: 3,
      keys: 2,
    })
    const imported = await sandbox.ok(['import', '-', '-n', 'b', '--json'], { input: piped.bytes })
    expect(JSON.parse(imported)).toMatchObject({ namespace: 'b', keys: 2, stored: { count: 0 } })
    expect(await sandbox.ok(['get', 'log', '-n', 'b'])).toBe('onetwo')
    const again = await sandbox.call(['import', file, '-n', 'b'])
    expect(again).toMatchObject({ code: 4, stderr: expect.stringContaining('ENOTEMPTY') })
    expect(await sandbox.ok(['import', file, '-n', 'b', '--replace'])).toContain('b is at 1')
  })

  it('--at and --since take roots apart', async () => {
    await fill()
    const older = await sandbox.call(['export', '--at', '2'])
    const rest = await sandbox.call(['export', '--since', '2'])
    await sandbox.ok(['import', '-n', 'b'], { input: older.bytes })
    expect(await sandbox.ok(['get', 'log', '-n', 'b'])).toBe('one')
    await sandbox.ok(['import', '-n', 'b'], { input: rest.bytes })
    expect(await sandbox.ok(['get', 'log', '-n', 'b'])).toBe('onetwo')
    const twice = await sandbox.call(['import', '-n', 'b'], { input: rest.bytes })
    expect(twice).toMatchObject({ code: 4, stderr: expect.stringContaining('ECONFLICT') })
  })

  it('a terminal gets no bytes', async () => {
    const terminal = Object.assign(new PassThrough(), { isTTY: true })
    const streams = { stdout: new Output(terminal), stderr: new Output(new PassThrough()) }
    const spec = { version: '0', description: '', groups: commandGroups }
    const exporting = runProgram(spec, ['export'], { ...streams, environment: {} })
    await expect(exporting).rejects.toThrow(/-o FILE/)
  })

  it('say what is wrong, and leave no half file', async () => {
    await fill()
    const file = join(sandbox.directory, 'backup')
    await sandbox.ok(['export', '-o', file])
    const bytes = await readFile(file)
    await writeFile(file, bytes.subarray(0, -1))
    for (const command of [
      ['verify', file],
      ['import', file, '-n', 'b'],
    ]) {
      const ended = await sandbox.call(command)
      expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('EINVAL') })
    }
    const missing = join(sandbox.directory, 'no-export')
    const failed = await sandbox.call(['export', '-n', 'none', '-o', missing])
    expect(failed).toMatchObject({ code: 3, stderr: expect.stringContaining('ENONS') })
    await expect(readFile(missing)).rejects.toThrow()
    expect(await sandbox.call(['export', '--json'])).toMatchObject({ code: 2 })
  })
})

describe('fsck', () => {
  it('is refused while the server runs, and says what to do', async () => {
    await fill()
    const ended = await sandbox.call(['fsck'])
    expect(ended.code).toBe(4)
    expect(ended.stderr).toMatch(/^tailrace: EBUSY: .*tailrace stop --data /)
  })

  it('says clean with 0, findings with 1, and repairs', async () => {
    await fill()
    await sandbox.ok(['stop'])
    expect(await sandbox.ok(['fsck'])).toMatch(/^clean: 5 namespaces, \d+ roots, /)
    await flip(sandbox.data, Buffer.from('v'.repeat(500)))
    const found = await sandbox.call(['fsck'])
    expect(found.code).toBe(1)
    expect(found.stdout).toMatch(/^primary: a: blob 0 \(bytes 0–499\): ECORRUPT: .*\n1 finding: /)
    const report = JSON.parse((await sandbox.call(['fsck', '--json', '--repair'])).stdout)
    expect(report).toMatchObject({
      clean: false,
      found: 1,
      findings: [{ where: 'data', namespace: 'primary', key: 'a', code: 'ECORRUPT' }],
      repaired: [{ namespace: 'primary', moved: [{ key: 'a', note: 'lost+found/a.lost' }] }],
    })
    expect(await sandbox.ok(['get', 'log'])).toBe('onetwo')
    expect(await sandbox.ok(['ls', 'lost+found'])).toBe('a.lost\n')
  })

  it.each([
    [0, 1],
    [0.02, 0.3],
    [0.3, 0.6],
    [0.6, 1],
  ])('of a file that is overwritten from %d to %d ends with 1, however', async (from, to) => {
    {
      await using store = await open({ directory: sandbox.data })
      for (let at = 0; at < 20; at++) await store.put(`k${at}`, `${at}`.repeat(300))
    }
    await scribble(sandbox.data, from, to)
    const ended = await sandbox.call(['fsck', '--json'])
    expect(ended.code).toBe(1)
    expect(JSON.parse(ended.stdout)).toMatchObject({ clean: false })
  })

  it('of a directory without a store is ENOENT', async () => {
    const ended = await sandbox.call(['fsck', '--data', join(sandbox.directory, 'none')])
    expect(ended).toMatchObject({ code: 3, stderr: expect.stringContaining('ENOENT') })
  })
})
