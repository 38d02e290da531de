/** `tailrace gc` and `tailrace forget` as processes (rfc/14). */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Ended, exitCode, Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
})
afterAll(() => sandbox.remove())

const failed = ({ code, stdout, stderr }: Ended, error: string) => {
  expect(stderr).toMatch(new RegExp(`^tailrace: ${error}: .+\\n$`))
  expect({ code, stdout }).toEqual({ code: exitCode(error), stdout: '' })
}

describe('gc and forget', () => {
  it('a forgotten key is nowhere, and its bytes go with the next gc', async () => {
    await sandbox.ok(['put', 'secret', 's'.repeat(5_000)])
    await sandbox.ok(['put', 'kept', 'k'.repeat(5_000)])
    const { seq } = JSON.parse(await sandbox.ok(['root', '--json']))
    const none = JSON.parse(await sandbox.ok(['gc', '--json']))
    expect(none.dryRun).toBe(false)
    expect(await sandbox.ok(['get', 'secret'])).toBe('s'.repeat(5_000))
    expect(await sandbox.ok(['forget', 'secret'])).toBe(
      'taken out of 2 roots and 0 pins; "tailrace gc" frees its bytes\n',
    )
    failed(await sandbox.call(['get', 'secret']), 'ENOENT')
    failed(await sandbox.call(['get', 'secret', '--at', String(seq)]), 'ENOENT')
    failed(await sandbox.call(['forget', 'secret']), 'ENOENT')
    const dry = JSON.parse(await sandbox.ok(['gc', '--dry-run', '--json']))
    expect(dry).toMatchObject({ dryRun: true })
    expect(dry.freed.size).toBeGreaterThanOrEqual(5_000)
    const shown = (await sandbox.ok(['gc'])).split('\n')
    expect(shown[0]).toMatch(/^freed \d+ blobs: \d+ bytes$/)
    expect(shown[1]).toMatch(/^\d+ blobs are in use: \d+ bytes$/)
    expect(shown[2]).toMatch(/^(1 step|\d+ steps), the longest took \d+\.\d ms$/)
    expect(await sandbox.ok(['get', 'kept', '--at', String(seq)])).toBe('k'.repeat(5_000))
  })
})
