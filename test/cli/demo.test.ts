/** The demo, on a hundredth of its bytes: it ends well and leaves nothing. And `lptest`. */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { mainFile, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

it('demo compares every byte, counts every append, and removes its store', async () => {
  const stdout = await sandbox.ok(['demo', '--scale', '40', '--json'], {
    env: { TMPDIR: sandbox.directory },
  })
  const result = JSON.parse(stdout)
  expect(result.jobs).toMatchObject([
    { command: 'lptest 80 50000', bytes: 4_050_000 },
    { command: 'lptest 2000000 2', bytes: 4_000_002 },
  ])
  for (const job of result.jobs) {
    expect(job.responses).toBe(job.appends)
    expect(job.replayResponses).toBe(job.appends)
    expect(job.appends).toBeGreaterThan(4_000_000 / 262_120)
  }
  expect(result.root.ref).toMatch(/^blake3-/)
  expect(await readdir(sandbox.directory)).toEqual([])
})

it('demo prints a summary for people', async () => {
  const env = { TMPDIR: sandbox.directory }
  const { code, stdout, stderr } = await sandbox.call(['demo', '--scale', '40'], { env })
  expect(code).toBe(0)
  expect(stderr).toBe('')
  for (const part of ['live', 'again', 'responses', 'server memory', 'root', 'Try next:']) {
    expect(stdout).toContain(part)
  }
})

describe('lptest', () => {
  it('prints the vectors', async () => {
    expect(await sandbox.ok(['lptest', '2', '3'])).toBe('!"\n"#\n#$\n')
    expect(await sandbox.ok(['lptest', '0', '3'])).toBe('\n\n\n')
    expect(await sandbox.ok(['lptest', '3', '0'])).toBe('')
    const { bytes } = await sandbox.call(['lptest'])
    expect(createHash('sha1').update(bytes).digest('hex')).toBe(
      '5044a9bab9b8808520a004f9127d644fc07047a1',
    )
  })

  it('whose reader goes away ends quietly', async () => {
    const pipe = `"${process.execPath}" "${mainFile}" lptest 80 20000000 | head -n 1; echo "\${PIPESTATUS[0]}"`
    const { stdout, stderr } = await promisify(execFile)('bash', ['-c', pipe])
    expect(stdout.split('\n')[1]).toBe('0')
    expect(stderr).toBe('')
  })

  it('ends with 130 on SIGINT', async () => {
    const { child, ended } = sandbox.start(['lptest', '80', '200000000'])
    child.stdout.once('data', () => {
      child.kill('SIGINT')
      child.stdout.resume()
    })
    expect((await ended()).code).toBe(130)
  })
})
