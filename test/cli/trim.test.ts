/** `tailrace trim`, and what other commands say of a trimmed log. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
})
afterAll(() => sandbox.remove())

describe('append --keep', () => {
  it('caps a log as it is written, by whoever writes it', async () => {
    const stat = async () => {
      const { count, base, cap } = JSON.parse(await sandbox.ok(['stat', 'capped', '--json']))
      return [count, base?.count, cap]
    }
    const input = Array.from({ length: 9_000 }, (_, at) => `${at}\n`).join('')
    await sandbox.ok(['append', 'capped', '-', '--lines', '--keep', '1000'], { input })
    expect(await stat()).toEqual([9_000, 8_000, { keep: 1_000 }])
    await sandbox.ok(['append', 'capped', 'more\n'])
    expect(await sandbox.ok(['tail', 'capped', '-n', '2'])).toBe('8999\nmore\n')
    const bounds = ['--keep-bytes', '1K', '--keep-age', '7d']
    await sandbox.ok(['append', 'capped', '-', '--stream', ...bounds], { input: 'x'.repeat(2_000) })
    expect(await stat()).toEqual([9_002, 9_001, { keepBytes: 1_024, keepAge: 604_800_000 }])
    await sandbox.ok(['append', 'capped', 'x', '--uncap'])
    expect(await stat()).toEqual([9_003, 9_001, undefined])
    const both = await sandbox.call(['append', 'capped', 'x', '--keep', '1', '--uncap'])
    expect(both.code).toBe(2)
    const seal = await sandbox.call(['append', 'capped', '--seal', '--keep', '1'])
    expect(seal.code).toBe(2)
  })
})

describe('trim', () => {
  it('drops by each of its measures, and says what is gone if asked', async () => {
    await sandbox.ok(['append', 'log', '-', '--lines'], { input: 'a\nbb\nccc\ndddd\n' })
    expect(await sandbox.ok(['trim', 'log', '--before', '1'])).toBe('')
    expect(await sandbox.ok(['get', 'log'])).toBe('bb\nccc\ndddd\n')
    const kept = JSON.parse(await sandbox.ok(['trim', 'log', '--keep', '2', '--json']))
    expect(kept.results).toEqual([{ base: { count: 2, size: 5 }, count: 4 }])
    await sandbox.ok(['trim', 'log', '--older-than', '7d'])
    expect(await sandbox.ok(['watch', 'log', '--no-follow'])).toBe('ccc\ndddd\n')
    expect(await sandbox.ok(['tail', 'log', '-n', '9'])).toBe('ccc\ndddd\n')
    const stat = JSON.parse(await sandbox.ok(['stat', 'log', '--json']))
    expect(stat).toMatchObject({ count: 4, size: 14, base: { count: 2, size: 5 } })
    expect(await sandbox.ok(['stat', 'log'])).toMatch(/^base\s.*2.*5/m)
    const below = await sandbox.call(['watch', 'log', '--from', '0'])
    expect(below.code).not.toBe(0)
    expect(below.stderr).toContain('ECOMPACTED')
    expect(below.stderr).toContain('index 2')
    await sandbox.ok(['trim', 'log', '--bytes', '5'])
    expect(await sandbox.ok(['get', 'log'])).toBe('dddd\n')
    await sandbox.ok(['trim', 'log', '--older-than', '0'])
    expect(await sandbox.ok(['get', 'log'])).toBe('')
    expect(await sandbox.ok(['ls', '-l'])).toMatch(/\b0B log/)
  }, 30_000)

  it('takes one measure', async () => {
    for (const args of [[], ['--keep', '1', '--bytes', '1'], ['--older-than', '7']]) {
      const ended = await sandbox.call(['trim', 'log', ...args])
      expect(ended.code).toBe(2)
    }
  })
})
