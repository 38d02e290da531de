/** `gc`, `forget` and `fsck`. See rfc/14, rfc/15. */

import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { open } from '../../src/open.js'
import { flip, scribble } from '../fsck/damage.js'
import { failed, Sandbox } from '../support/sandbox.js'

describe('gc and forget', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.makeServed()
  })
  afterAll(() => sandbox.remove())

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

describe('fsck', () => {
  let sandbox: Sandbox
  beforeEach(async () => {
    sandbox = await Sandbox.make()
  })
  afterEach(() => sandbox.remove())

  it('is refused while the server runs, and says what to do', async () => {
    await sandbox.serve()
    const ended = await sandbox.call(['fsck'])
    expect(ended.code).toBe(4)
    expect(ended.stderr).toMatch(/^tailrace: EBUSY: .*tailrace stop --data /)
  })

  it('says clean with 0, findings with 1, and repairs', async () => {
    {
      await using store = await open({ directory: sandbox.data })
      await store.put('a', 'v'.repeat(500))
      await store.append('log', 'one')
      await store.append('log', 'two', { seal: true })
    }
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
