/** `get`, `ls` and `stat`. */

import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

it('what was there at a time is read, watched and printed from there', async () => {
  await sandbox.ok(['put', 't/key', 'before'])
  await sandbox.ok(['append', 't/log', 'before'])
  const { roots } = JSON.parse(await sandbox.ok(['roots', '--json']))
  const { time } = roots.at(-1)
  // The next root has a later time.
  while (Date.now() <= time) await sandbox.ok(['root'])
  await sandbox.ok(['put', 't/key', 'after'])
  await sandbox.ok(['append', 't/log', 'after', '--seal'])
  const then = new Date(time).toISOString()
  expect(await sandbox.ok(['get', 't/key', '--at', then])).toBe('before')
  expect(await sandbox.ok(['get', 't/key', '--at', '0s'])).toBe('after')
  expect(await sandbox.ok(['watch', 't/log', '--since', then])).toBe('after')
  expect(await sandbox.ok(['tail', 't/log', '--since', then])).toBe('after')
  const changed = await sandbox.ok(['watch', 't/', '--since', then, '--no-follow'])
  expect(changed).toBe('M t/key\nM t/log\n')
  failed(await sandbox.call(['get', 't/key', '--at', '2001-01-01']), 'ECOMPACTED')
  expect((await sandbox.call(['get', 't/key', '--at', '10parsecs'])).code).toBe(2)
})

describe('get', () => {
  it('say with --json what a value is, and what went wrong', async () => {
    const bytes = randomBytes(300_001)
    const { seq } = JSON.parse(await sandbox.ok(['put', 'json/k', '-', '--json'], { input: bytes }))
    const got = JSON.parse(await sandbox.ok(['get', 'json/k', '--json']))
    expect(got).toMatchObject({ seq, size: bytes.length })
    expect(Buffer.from(got.data.base64, 'base64').equals(bytes)).toBe(true)
    const error = async (...args: string[]) => {
      const { code, stdout, stderr } = await sandbox.call([...args, '--json'])
      expect(stderr).toBe('')
      return [code, JSON.parse(stdout).error.code]
    }
    expect(await error('stat', 'nope')).toEqual([3, 'ENOENT'])
    expect(await error('get', 'nope')).toEqual([3, 'ENOENT'])
    expect(await error('ls', '-n', 'nowhere')).toEqual([3, 'ENONS'])
    expect(await error('put', 'json/k', 'v', '--if-absent')).toEqual([4, 'ECONFLICT'])
    expect(await error('put', 'json', 'v')).toEqual([4, 'EISDIR'])
    expect(await error('unpin', 'nope')).toEqual([3, 'ENOENT'])
    expect(await error('ls', '--url', 'http://127.0.0.1:1')).toEqual([5, 'ECLOSED'])
    expect(await error('get', 'a/../b')).toEqual([1, 'EINVAL'])
  })

  it('read an older root with --at', async () => {
    const { seq } = JSON.parse(await sandbox.ok(['put', 'at/key', 'old', '--json']))
    await sandbox.ok(['put', 'at/key', 'new'])
    expect(await sandbox.ok(['get', 'at/key', '--at', String(seq)])).toBe('old')
    expect(await sandbox.ok(['get', 'at/key'])).toBe('new')
  })

  it('say what is wrong', async () => {
    failed(await sandbox.call(['get', 'no/such/key']), 'ENOENT')
    failed(await sandbox.call(['get', 'key', '-n', 'nowhere']), 'ENONS')
    failed(await sandbox.call(['get', 'a/../b']), 'EINVAL')
    failed(await sandbox.call(['put', 'key', '--file', '/nowhere']), 'ENOENT')
    await sandbox.ok(['mkdir', 'dir/in'])
    failed(await sandbox.call(['put', 'dir', 'x']), 'EISDIR')
  })
})

describe('ls', () => {
  it('list in order, page by page, below and long', async () => {
    for (const key of ['tree/b', 'tree/a', 'tree/c/d']) await sandbox.ok(['put', key, 'xyz'])
    expect(await sandbox.ok(['ls', 'tree'])).toBe('a\nb\nc\n')
    expect(await sandbox.ok(['ls', 'tree', '-R'])).toMatch(/^a\nb\n(c\n)?c\/d\n$/)
    expect(await sandbox.ok(['ls', 'tree', '--after', 'a', '--limit', '1'])).toBe('b\n')
    expect(await sandbox.ok(['ls', 'tree', '-l'])).toMatch(
      /^val +1 +3B a\nval +1 +3B b\ndir +1 +3B c\/\n$/,
    )
    const json = JSON.parse(await sandbox.ok(['ls', 'tree', '--limit', '2', '--json']))
    expect(json).toMatchObject({ entries: [{ name: 'a' }, { name: 'b' }], more: true })
    expect(JSON.parse(await sandbox.ok(['ls', 'tree/c', '--json'])).more).toBe(false)
    failed(await sandbox.call(['ls', 'tree/zz']), 'ENOENT')
  })
})
