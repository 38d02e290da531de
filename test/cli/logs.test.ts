/** `tail`, beside what `tail` itself prints, and `trim`. See rfc/7, rfc/19. */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

/** Of a file: with `-n 0` it ends before it has read its input. */
async function byTail(input: string, args: readonly string[]): Promise<string> {
  const file = join(sandbox.directory, 'input')
  await writeFile(file, input)
  return execFileSync('tail', [...args, file], { encoding: 'utf8' })
}

describe('tail -f', () => {
  it('of a log that somebody has watched since the root it was seen at has gone', async () => {
    await sandbox.ok(['ns', 'config', 'primary', '--history-count', '1', '--history-age', '0'])
    await sandbox.ok(['append', 'quiet', 'one\n'])
    const watcher = sandbox.start(['watch', 'quiet'])
    await once(watcher.child.stdout, 'data')
    await sandbox.ok(['append', 'quiet', 'two\n'])
    for (const value of ['1', '2']) await sandbox.ok(['put', 'other', value])
    const following = sandbox.start(['tail', '-f', 'quiet'])
    const ended = following.ended()
    await once(following.child.stdout, 'data')
    await sandbox.ok(['append', 'quiet', 'three\n', '--seal'])
    expect(await ended).toMatchObject({ code: 0, stdout: 'one\ntwo\nthree\n', stderr: '' })
  })
})

describe('tail', () => {
  const text = Array.from({ length: 3_000 }, (_, at) => `line ${at} ${'x'.repeat(at % 90)}`).join(
    '\n',
  )

  it.each([
    [[]],
    [['-n', '1']],
    [['-n', '0']],
    [['-n', '-3']],
    [['-n', '2999']],
    [['-n', '3000']],
    [['-n', '5000']],
    [['-n', '+1']],
    [['-n', '+2990']],
    [['-n', '+4000']],
    [['-c', '1']],
    [['-c', '100']],
    [['-c', '999999']],
    [['-c', '+5']],
    [['-c', '+999999']],
  ])('%j prints what tail prints', async (args) => {
    const stat = await sandbox.call(['stat', 'text'])
    if (stat.code !== 0) await sandbox.ok(['append', 'text', '-', '--lines'], { input: text })
    expect(await sandbox.ok(['tail', 'text', ...args])).toBe(await byTail(text, args))
  })

  it('of a value that ends its last line, of one line, of nothing', async () => {
    for (const [at, value] of ['a\nb\n', '\n', '\n\n', 'one', ''].entries()) {
      await sandbox.ok(['put', `small/${at}`, '-'], { input: value })
      for (const lines of ['1', '2', '+2']) {
        const printed = await sandbox.ok(['tail', `small/${at}`, '-n', lines])
        expect(printed).toBe(await byTail(value, ['-n', lines]))
      }
    }
  })

  it('--follow goes on where the end was, until the seal', async () => {
    await sandbox.ok(['append', 'followed', '-', '--lines'], { input: 'a\nb\nc\n' })
    const { child, ended } = sandbox.start(['tail', 'followed', '-n', '2', '-f'])
    const first = once(child.stdout, 'data')
    const all = ended()
    await first
    await sandbox.ok(['append', 'followed', 'd\n'])
    await sandbox.ok(['append', 'followed', 'e', '--seal'])
    expect(await all).toMatchObject({ code: 0, stdout: 'b\nc\nd\ne' })
  })

  it('--follow of a log that is not there yet waits when asked', async () => {
    const { ended } = sandbox.start(['tail', 'later', '-f', '--wait-create'])
    const all = ended()
    await sandbox.ok(['append', 'later', 'first\n', '--seal'])
    expect(await all).toMatchObject({ code: 0, stdout: 'first\n' })
  })

  it('says what is wrong', async () => {
    expect(await sandbox.call(['tail', 'no/key'])).toMatchObject({ code: 3 })
    expect((await sandbox.call(['tail', 'no/key', '-f'])).stderr).toMatch(/ENOENT/)
    expect((await sandbox.call(['tail', '/'])).stderr).toMatch(/EISDIR/)
    expect(await sandbox.call(['tail', 'text', '-n', 'x'])).toMatchObject({ code: 2 })
    expect(await sandbox.call(['tail', 'text', '-n', '1', '-c', '1'])).toMatchObject({ code: 2 })
  })
})

describe('trim', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.makeServed()
  })
  afterAll(() => sandbox.remove())

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
