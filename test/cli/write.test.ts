/** `put`, `append`, `rm`, `mkdir` and `txn`. */

import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

describe('put', () => {
  it('give back text, stdin and a file, byte for byte', async () => {
    const bytes = randomBytes(700_000)
    const file = join(sandbox.directory, 'value.bin')
    await writeFile(file, bytes)
    expect(await sandbox.ok(['put', 'put/text', 'hellö'])).toBe('')
    await sandbox.ok(['put', 'put/stdin', '-'], { input: bytes })
    await sandbox.ok(['put', 'put/file', '--file', file])
    expect(await sandbox.ok(['get', 'put/text'])).toBe('hellö')
    expect((await sandbox.call(['get', 'put/stdin'])).bytes.equals(bytes)).toBe(true)
    expect((await sandbox.call(['get', 'put/file'])).bytes.equals(bytes)).toBe(true)
    const tail = await sandbox.call(['get', 'put/file', '--offset', '699990'])
    expect(tail.bytes.equals(bytes.subarray(699_990))).toBe(true)
  })

  it('take a value that begins with a dash, and - itself, behind --', async () => {
    await sandbox.ok(['put', 'dash/a', '--', '-param'])
    expect(await sandbox.ok(['get', 'dash/a'])).toBe('-param')
    await sandbox.ok(['put', 'dash/b', '--type', 'text/plain', '--', '-'], { input: 'stdin' })
    expect(await sandbox.ok(['get', 'dash/b'])).toBe('-')
    await sandbox.ok(['append', 'dash/c', '--', '-'], { input: 'stdin' })
    await sandbox.ok(['append', '--', 'dash/c', '-x'])
    expect(await sandbox.ok(['get', 'dash/c'])).toBe('--x')
    for (const args of [
      ['put', 'k', '-param'],
      ['append', 'log', '-x'],
      ['eventlog', 'append', 'e', '-n'],
    ]) {
      const { code, stderr } = await sandbox.call(args)
      expect(stderr).toMatch(/^tailrace: EINVAL: .* begins with a dash .* behind --/)
      expect(code).toBe(2)
    }
  })

  it('keep the content type and obey the conditions', async () => {
    await sandbox.ok(['put', 'cond/key', '{}', '--type', 'application/json', '--if-absent'])
    const stat = JSON.parse(await sandbox.ok(['stat', 'cond/key', '--json']))
    expect(stat).toMatchObject({ type: 'val', size: 2, attrs: { contentType: 'application/json' } })
    failed(await sandbox.call(['put', 'cond/key', 'x', '--if-absent']), 'ECONFLICT')
    await sandbox.ok(['put', 'cond/key', 'y', '--if-ref', stat.ref])
    failed(await sandbox.call(['put', 'cond/key', 'z', '--if-ref', stat.ref]), 'ECONFLICT')
    expect(await sandbox.ok(['get', 'cond/key'])).toBe('y')
  })
})

describe('append', () => {
  it('appends text, all of stdin, lines, and seals', async () => {
    await sandbox.ok(['append', 'log', 'one '])
    await sandbox.ok(['append', 'log', '-'], { input: 'two\nlines ' })
    const lines = ['append', 'log', '-', '--lines', '--seal']
    await sandbox.ok(lines, { input: 'a\nb\n\nlast' })
    expect(await sandbox.ok(['get', 'log'])).toBe('one two\nlines a\nb\n\nlast')
    expect(await sandbox.ok(['get', 'log', '--index', '3'])).toBe('b\n')
    const stat = JSON.parse(await sandbox.ok(['stat', 'log', '--json']))
    expect(stat).toMatchObject({ type: 'valref', count: 6, sealed: true })
    failed(await sandbox.call(['append', 'log', 'more']), 'ESEALED')
  })

  it('seals alone, and says index and count when asked', async () => {
    const { result } = JSON.parse(await sandbox.ok(['append', 'alone', 'x', '--json']))
    expect(result).toMatchObject({ index: 0, count: 1 })
    await sandbox.ok(['append', 'alone', '--seal'])
    failed(await sandbox.call(['append', 'alone', 'y']), 'ESEALED')
  })

  it('of more than one transaction holds is E2BIG and leaves nothing', async () => {
    const input = Buffer.alloc(8 * 1024 * 1024 + 1)
    failed(await sandbox.call(['append', 'big', '-'], { input }), 'E2BIG')
    failed(await sandbox.call(['stat', 'big']), 'ENOENT')
    await sandbox.ok(['append', 'big', '-', '--stream'], { input })
    expect(JSON.parse(await sandbox.ok(['stat', 'big', '--json'])).size).toBe(input.length)
  })
})

describe('rm', () => {
  it('remove keys, and directories only when told', async () => {
    await sandbox.ok(['put', 'rm/a/b', 'x'])
    failed(await sandbox.call(['rm', 'rm/nothing']), 'ENOENT')
    await sandbox.ok(['rm', '-f', 'rm/nothing'])
    failed(await sandbox.call(['rm', 'rm']), 'ENOTEMPTY')
    await sandbox.ok(['rm', '-r', 'rm'])
    failed(await sandbox.call(['get', 'rm/a/b']), 'ENOENT')
  })
})

describe('txn', () => {
  it('commits all or nothing, from stdin and from a file', async () => {
    const ops = [
      { op: 'put', key: 'txn/a', value: 'text' },
      { op: 'append', key: 'txn/b', value: { base64: 'AAH/' } },
    ]
    const guards = [{ key: 'txn/a', absent: true }]
    const file = join(sandbox.directory, 'txn.json')
    await writeFile(file, JSON.stringify({ guards, ops }))
    const committed = JSON.parse(await sandbox.ok(['txn', file]))
    expect(committed.results).toHaveLength(2)
    expect((await sandbox.call(['get', 'txn/b'])).bytes).toEqual(Buffer.from([0, 1, 255]))
    failed(
      await sandbox.call(['txn', '-'], { input: JSON.stringify({ guards, ops }) }),
      'ECONFLICT',
    )
    const json = await sandbox.call(['txn', '--json'], { input: JSON.stringify({ guards, ops }) })
    expect(json.code).toBe(4)
    expect(JSON.parse(json.stdout)).toMatchObject({
      error: { code: 'ECONFLICT', failed: { guard: 0 } },
    })
    failed(await sandbox.call(['txn'], { input: '{"ops": [}' }), 'EINVAL')
    failed(await sandbox.call(['txn'], { input: '{"ops":[{"op":"putt"}]}' }), 'EINVAL')
  })
})
