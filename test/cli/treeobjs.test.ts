/** `treeobj` and `blob`. */

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
