/** The commands that copy and move, and those on links, treeobjs and blobs, as processes on one server. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commandGroups } from '../../src/cli/commands.js'
import { type Ended, exitCode, Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
  const change = {
    ops: [
      { op: 'put', key: 'd/a', value: 'A' },
      { op: 'put', key: 'd/b', value: 'B' },
      { op: 'append', key: 'log', value: '1' },
      { op: 'append', key: 'log', value: '2', seal: true },
    ],
  }
  await sandbox.ok(['txn', '-'], { input: JSON.stringify(change) })
})
afterAll(() => sandbox.remove())

function failed(ended: Ended, code: string, status = exitCode(code)): void {
  expect(ended.stderr).toMatch(new RegExp(`^tailrace: ${code}: .+\\n$`))
  expect(ended.code).toBe(status)
}

describe('help', () => {
  const { commands = [] } = commandGroups.find(({ heading }) => heading.startsWith('Copies')) ?? {}
  it.each(commands.map(({ name }) => name))('of %s has an example', async (name) => {
    expect(await sandbox.ok([name, '--help'])).toMatch(
      new RegExp(`Examples:\\n(.*\\n)*.*tailrace ${name}`),
    )
  })
})

describe('cp, mv, fork and restore', () => {
  it('copy and move keys and directories, and bring them back', async () => {
    const { seq } = JSON.parse(await sandbox.ok(['cp', 'd', 'copy/d', '--json']))
    await sandbox.ok(['mv', 'copy/d/a', 'copy/moved'])
    expect(await sandbox.ok(['ls', '-R', 'copy'])).toBe('d\nd/b\nmoved\n')
    failed(await sandbox.call(['cp', 'log', 'copy/d']), 'EISDIR')
    await sandbox.ok(['cp', '-r', 'log', 'copy/d', '--replace'])
    expect(await sandbox.ok(['get', 'copy/d'])).toBe('12')
    await sandbox.ok(['cp', 'copy/d', 'older', '--at', String(seq)])
    expect(await sandbox.ok(['ls', 'older'])).toBe('a\nb\n')
    const { ref } = JSON.parse(await sandbox.ok(['root', '--json']))
    await sandbox.ok(['restore', 'copy', '--at', String(seq)])
    expect(await sandbox.ok(['ls', '-R', 'copy'])).toBe('d\nd/a\nd/b\n')
    await sandbox.ok(['restore', '/', '--at', ref])
    expect(await sandbox.ok(['ls', 'copy'])).toBe('d\nmoved\n')
    failed(await sandbox.call(['mv', 'd', 'd/in']), 'EINVAL')
    failed(await sandbox.call(['restore', 'd']), 'EINVAL', 2)
  })

  it('fork a log', async () => {
    await sandbox.ok(['fork', 'log', 'young', '--count', '1'])
    await sandbox.ok(['append', 'young', '!'])
    expect(await sandbox.ok(['get', 'young'])).toBe('1!')
    failed(await sandbox.call(['fork', 'log', 'x']), 'EINVAL', 2)
    failed(await sandbox.call(['fork', 'log', 'x', '--count', '3']), 'EINVAL')
  })

  it('work between namespaces, and make one of another', async () => {
    await sandbox.ok(['ns', 'create', 'other', '--from', 'primary'])
    expect(await sandbox.ok(['get', 'd/a', '-n', 'other'])).toBe('A')
    await sandbox.ok(['mv', 'd', 'theirs', '--from-namespace', 'other'])
    expect(await sandbox.ok(['ls', 'theirs'])).toBe('a\nb\n')
    failed(await sandbox.call(['ls', 'd', '-n', 'other']), 'ENOENT')
    await sandbox.ok(['cp', 'log', 'log', '-n', 'other', '--from-namespace', 'primary'])
  })
})

describe('link and readlink', () => {
  it('make a link and show where it leads', async () => {
    await sandbox.ok(['link', 'd/a', 'to-a'])
    await sandbox.ok(['link', 'x', 'far', '--target-namespace', 'staging'])
    expect(await sandbox.ok(['readlink', 'to-a'])).toBe('d/a\n')
    expect(await sandbox.ok(['readlink', 'far'])).toBe('staging:x\n')
    expect(JSON.parse(await sandbox.ok(['readlink', 'far', '--json']))).toEqual({
      target: 'x',
      namespace: 'staging',
    })
    failed(await sandbox.call(['readlink', 'd/a']), 'EINVAL')
    failed(await sandbox.call(['readlink', 'none']), 'ENOENT')
  })
})

describe('treeobj and blob', () => {
  it('show what a key names, and make a key of it again', async () => {
    const json = await sandbox.ok(['treeobj', 'log'])
    expect(JSON.parse(json)).toMatchObject({
      ver: 1,
      type: 'valref',
      sizes: [1, 1],
      count: 2,
      attrs: { sealed: true },
    })
    await sandbox.ok(['treeobj', 'put', 'again', '-'], { input: json })
    const stats = ['log', 'again'].map((key) => sandbox.ok(['stat', key, '--json']))
    const [before, after] = (await Promise.all(stats)).map((text) => JSON.parse(text))
    expect(after.ref).toBe(before.ref)
    failed(await sandbox.call(['treeobj', 'put', 'x', '-'], { input: '{}' }), 'EINVAL')
    failed(await sandbox.call(['treeobj', 'put', 'x', '-'], { input: 'nothing' }), 'EINVAL')
    failed(await sandbox.call(['treeobj', 'none']), 'ENOENT')
  })

  it('a log of more than one page is joined', async () => {
    const lines = Array.from({ length: 10_100 }, (_, at) => `${at}\n`).join('')
    await sandbox.ok(['append', 'long', '-', '--lines'], { input: lines })
    const { data, sizes, count, next } = JSON.parse(await sandbox.ok(['treeobj', 'long']))
    expect([data.length, sizes.length, count, next]).toEqual([10_100, 10_100, 10_100, undefined])
  })

  it('store and load a blob', async () => {
    const ref = (await sandbox.ok(['blob', 'put', '-'], { input: 'a blob' })).trim()
    expect(ref).toMatch(/^blake3-[0-9a-f]{64}$/)
    expect(await sandbox.ok(['blob', 'get', ref])).toBe('a blob')
    failed(await sandbox.call(['blob', 'get', `blake3-${'0'.repeat(64)}`]), 'ENOENT')
    failed(await sandbox.call(['blob', 'get', 'x']), 'EINVAL')
    failed(await sandbox.call(['blob', 'put', '-'], { input: Buffer.alloc(262_121) }), 'E2BIG')
    const dangling = { ver: 1, type: 'valref', data: [`blake3-${'0'.repeat(64)}`], sizes: [3] }
    const input = JSON.stringify(dangling)
    failed(await sandbox.call(['treeobj', 'put', 'lost', '-'], { input }), 'ENOENT')
    await sandbox.ok(['treeobj', 'put', 'lost', '-', '--dangling'], { input })
    failed(await sandbox.call(['get', 'lost']), 'EDANGLING')
  })
})

it('a quota ends a put with EDQUOT', async () => {
  await sandbox.ok(['ns', 'create', 'small'])
  await sandbox.ok(['ns', 'config', 'small', '--quota', '3'])
  await sandbox.ok(['put', 'k', '123', '-n', 'small'])
  failed(await sandbox.call(['put', 'l', '4', '-n', 'small']), 'EDQUOT')
})
