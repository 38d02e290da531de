/** The commands that name what is there already: `cp`, `mv`, `fork`, `restore`, and links. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
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
