/** The commands on keys, as processes on one server that the first of them starts. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Ended, exitCode, Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
})
afterAll(() => sandbox.remove())

function failed(ended: Ended, code: string): void {
  expect(ended.stderr).toMatch(new RegExp(`^tailrace: ${code}: .+\\n$`))
  expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code: exitCode(code), stdout: '' })
}

describe('put and get', () => {
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

  it('keep the content type and obey the conditions', async () => {
    await sandbox.ok(['put', 'cond/key', '{}', '--type', 'application/json', '--if-absent'])
    const stat = JSON.parse(await sandbox.ok(['stat', 'cond/key', '--json']))
    expect(stat).toMatchObject({ type: 'val', size: 2, attrs: { contentType: 'application/json' } })
    failed(await sandbox.call(['put', 'cond/key', 'x', '--if-absent']), 'ECONFLICT')
    await sandbox.ok(['put', 'cond/key', 'y', '--if-ref', stat.ref])
    failed(await sandbox.call(['put', 'cond/key', 'z', '--if-ref', stat.ref]), 'ECONFLICT')
    expect(await sandbox.ok(['get', 'cond/key'])).toBe('y')
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

describe('ls, rm, mkdir, ln', () => {
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

  it('remove keys, and directories only when told', async () => {
    await sandbox.ok(['put', 'rm/a/b', 'x'])
    failed(await sandbox.call(['rm', 'rm/nothing']), 'ENOENT')
    await sandbox.ok(['rm', '-f', 'rm/nothing'])
    failed(await sandbox.call(['rm', 'rm']), 'ENOTEMPTY')
    await sandbox.ok(['rm', '-r', 'rm'])
    failed(await sandbox.call(['get', 'rm/a/b']), 'ENOENT')
  })

  it('link, and read through the link', async () => {
    await sandbox.ok(['put', 'real/key', 'value'])
    await sandbox.ok(['ln', '-s', 'real', 'latest'])
    expect(await sandbox.ok(['get', 'latest/key'])).toBe('value')
    const link = JSON.parse(await sandbox.ok(['stat', 'latest', '--nofollow', '--json']))
    expect(link).toMatchObject({ type: 'symlink', target: 'real' })
    await sandbox.ok(['rm', 'latest'])
    expect(await sandbox.ok(['get', 'real/key'])).toBe('value')
  })
})

describe('txn, root, ns', () => {
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

  it('a namespace has a root of its own', async () => {
    await sandbox.ok(['ns', 'create', 'other'])
    await sandbox.ok(['put', 'key', 'there', '-n', 'other'])
    expect(await sandbox.ok(['get', 'key', '--namespace', 'other'])).toBe('there')
    failed(await sandbox.call(['get', 'key']), 'ENOENT')
    const root = JSON.parse(await sandbox.ok(['root', '-n', 'other', '--json']))
    expect(await sandbox.ok(['root', '-n', 'other'])).toBe(`${root.seq} ${root.ref}\n`)
    const { namespaces } = JSON.parse(await sandbox.ok(['ns', 'list', '--json']))
    const names = namespaces.map(({ name }: { name: string }) => name)
    expect(names).toEqual(expect.arrayContaining(['other', 'primary']))
    failed(await sandbox.call(['ns', 'create', 'other']), 'EEXIST')
    await sandbox.ok(['ns', 'remove', 'other'])
    failed(await sandbox.call(['get', 'key', '-n', 'other']), 'ENONS')
  })
})

describe('watch', () => {
  it('prints raw appends as they come, and ends at the seal', async () => {
    const { child, ended } = sandbox.start(['watch', 'w/live', '--wait-create'])
    const all = ended()
    const first = once(child.stdout, 'data')
    await sandbox.ok(['append', 'w/live', 'a\n'])
    expect(String(await first)).toBe('a\n')
    await sandbox.ok(['append', 'w/live', 'b', '--seal'])
    expect(await all).toMatchObject({ code: 0, stdout: 'a\nb', stderr: '' })
  })

  it('starts where it is told', async () => {
    await sandbox.ok(['append', 'w/from', '-', '--lines', '--seal'], { input: '0\n1\n2\n3\n' })
    expect(await sandbox.ok(['watch', 'w/from'])).toBe('0\n1\n2\n3\n')
    expect(await sandbox.ok(['watch', 'w/from', '--from', '2'])).toBe('2\n3\n')
    expect(await sandbox.ok(['watch', 'w/from', '--from', '-1'])).toBe('3\n')
    expect(await sandbox.ok(['watch', 'w/from', '-n', '3'])).toBe('1\n2\n3\n')
    expect(await sandbox.ok(['watch', 'w/from', '-n', '0'])).toBe('')
    expect(await sandbox.ok(['watch', 'w/from', '--offset', '4'])).toBe('2\n3\n')
    const json = (await sandbox.ok(['watch', 'w/from', '-n', '1', '--json'])).trim().split('\n')
    const events = json.map((line) => JSON.parse(line))
    expect(events[0]).toMatchObject({
      type: 'append',
      index: 3,
      offset: 6,
      data: { base64: 'Mwo=' },
    })
    expect(events.at(-1)).toMatchObject({ type: 'end', reason: 'sealed' })
  })

  it('--no-follow ends when all that is there was printed', async () => {
    await sandbox.ok(['append', 'w/open', 'open'])
    expect(await sandbox.ok(['watch', 'w/open', '--no-follow'])).toBe('open')
    expect(await sandbox.ok(['watch', 'w/open', '--mode', 'value', '--no-follow'])).toBe('open\n')
  })

  it('of an overwritten key ends with 4 after what was there', async () => {
    await sandbox.ok(['append', 'w/over', 'before'])
    const { child, ended } = sandbox.start(['watch', 'w/over'])
    const all = ended()
    await once(child.stdout, 'data')
    await sandbox.ok(['put', 'w/over', 'after'])
    const { code, stdout, stderr } = await all
    expect(stderr).toMatch(/^tailrace: EOVERWRITTEN: .+\n$/)
    expect({ code, stdout }).toEqual({ code: 4, stdout: 'before' })
  })

  it('of values prints each new one', async () => {
    await sandbox.ok(['put', 'w/value', 'one'])
    const { child, ended } = sandbox.start(['watch', 'w/value', '--mode', 'value', '--uniq'])
    const all = ended()
    await once(child.stdout, 'data')
    await sandbox.ok(['put', 'w/value', 'one'])
    const second = once(child.stdout, 'data')
    await sandbox.ok(['put', 'w/value', 'two\n'])
    await second
    child.kill('SIGINT')
    expect(await all).toMatchObject({ code: 130, stdout: 'one\ntwo\n' })
  })
})

describe('eventlog', () => {
  it('appends, prints, follows to the seal, and waits for an event', async () => {
    failed(await sandbox.call(['eventlog', 'wait-event', 'ev', 'finish']), 'ENOENT')
    const waiting = sandbox.start(['eventlog', 'wait-event', '--wait-create', 'ev', 'finish'])
    const waited = waiting.ended()
    const stamp = ['--timestamp', '1.5']
    await sandbox.ok(['eventlog', 'append', 'ev', 'start', '{"pid":7}', ...stamp])
    await sandbox.ok(['eventlog', 'append', 'ev', 'finish', ...stamp, '--seal'])
    const start = '{"timestamp":1.5,"name":"start","context":{"pid":7}}\n'
    const finish = '{"timestamp":1.5,"name":"finish"}\n'
    expect(await waited).toMatchObject({ code: 0, stdout: finish })
    expect(await sandbox.ok(['eventlog', 'get', 'ev'])).toBe(start + finish)
    expect(await sandbox.ok(['eventlog', 'follow', 'ev'])).toBe(start + finish)
    failed(await sandbox.call(['eventlog', 'wait-event', 'ev', 'never']), 'ENOENT')
    const never = ['eventlog', 'wait-event', '--wait-create', '--timeout', '100ms', 'none', 'x']
    expect((await sandbox.call(never)).stderr).toMatch(/^tailrace: ETIMEDOUT: /)
    failed(await sandbox.call(['eventlog', 'get', 'no/log']), 'ENOENT')
    expect((await sandbox.call(['eventlog', 'append', 'ev2', 'x', '{'])).code).toBe(2)
  })
})
