/** `export`, `import` and `verify`. See rfc/15. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { commandGroups } from '../../src/cli/commands.js'
import { Output } from '../../src/cli/output.js'
import { runProgram } from '../../src/cli/program.js'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.makeServed()
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
