/** The commands on the time of a namespace: `roots`, `log`, `diff` and pins. See rfc/10. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
let from = 0
let to = 0
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
  await seqOf('put', 'keep', 'x')
  await seqOf('put', 'gone', 'x')
  from = await seqOf('put', 'dir/colour', 'red')
  await seqOf('put', 'dir/colour', 'blue')
  await seqOf('put', 'dir/new', 'n')
  await sandbox.ok(['rm', 'gone'])
  to = JSON.parse(await sandbox.ok(['root', '--json'])).seq
})
afterAll(() => sandbox.remove())

async function seqOf(...args: string[]): Promise<number> {
  return JSON.parse(await sandbox.ok([...args, '--json'])).seq
}

async function lines(...args: string[]): Promise<string[]> {
  return (await sandbox.ok(args)).split('\n').filter((line) => line !== '')
}

it('times are of the zone, or of UTC; what a table shows of a ref stands for its root', async () => {
  await sandbox.ok(['ns', 'create', 'short'])
  await sandbox.ok(['put', 'k', 'old', '-n', 'short'])
  await sandbox.ok(['put', 'k', 'new', '-n', 'short'])
  const table = ['roots', '-n', 'short', '--after', '0', '--limit', '1']
  const there = await sandbox.shell(`TZ=Asia/Kolkata t ${table.join(' ')}`)
  const [seq, day, clock, zone, ref = ''] = there.stdout.trim().split(' ')
  const [{ time }] = JSON.parse(await sandbox.ok([...table, '--json'])).roots
  expect([seq, zone]).toEqual(['1', '+0530'])
  expect(Date.parse(`${day}T${clock}+05:30`)).toBe(time)
  expect(await sandbox.ok([...table, '--utc'])).toContain(` ${new Date(time).toISOString()} `)
  expect(await sandbox.ok(['get', 'k', '-n', 'short', '--at', ref])).toBe('old')
  expect(await sandbox.ok(['diff', ref, '-n', 'short'])).toBe('M k\n')
  const copy = ['ns', 'create', 'short-copy', '--from', 'short', '--at', ref]
  await sandbox.ok(copy)
  failed(await sandbox.call(['get', 'k', '--at', ref]), 'ENOENT') // of another namespace
  failed(await sandbox.call(['get', 'k', '--at', 'blake3-00000000']), 'ENOENT')
  expect((await sandbox.call(['get', 'k', '--at', 'blake3-0000000'])).code).toBe(2)
})

describe('roots and log', () => {
  it('list the retained roots, oldest or newest first', async () => {
    const all = await lines('roots')
    expect(all).toHaveLength(to + 1)
    expect(all[0]).toMatch(/^ +0 \d{4}-\d\d-\d\d [\d:.]+ [+-]\d{4} blake3-[0-9a-f]{12}$/)
    expect(await lines('roots', '--newest')).toEqual(all.toReversed())
    expect(await lines('roots', '--newest', '--limit', '2')).toEqual(all.slice(-2).reverse())
    expect(await lines('roots', '--after', String(to - 1))).toEqual(all.slice(-1))
    const { roots, more } = JSON.parse(await sandbox.ok(['roots', '--limit', '1', '--json']))
    expect({ count: roots.length, more }).toEqual({ count: 1, more: true })
  })

  it('tell the past of a key', async () => {
    const past = await lines('log', 'dir/colour')
    expect(past.map((line) => line.trim().split(/ +/).slice(4, 6))).toEqual([
      ['val', '4B'],
      ['val', '3B'],
    ])
    expect((await lines('log', 'gone'))[0]).toMatch(/ removed$/)
    const { entries } = JSON.parse(await sandbox.ok(['log', 'dir', '--json', '--limit', '2']))
    expect(entries.map(({ seq }: { seq: number }) => seq)).toEqual([from + 2, from + 1])
    expect(JSON.parse(await sandbox.ok(['log', 'never', '--json']))).toMatchObject({ entries: [] })
  })
})

describe('diff', () => {
  it('shows what was added, removed and changed, up to now or to a root', async () => {
    expect(await lines('diff', String(from))).toEqual(['M dir/colour', 'A dir/new', 'D gone'])
    expect(await lines('diff', String(from), String(from + 1))).toEqual(['M dir/colour'])
    expect(await lines('diff', String(from), 'now', 'dir')).toEqual(['M dir/colour', 'A dir/new'])
    expect(await lines('diff', String(from), '-l')).toEqual([
      'M dir/colour 3B 4B',
      'A dir/new - 1B',
      'D gone 1B -',
    ])
    const one = JSON.parse(await sandbox.ok(['diff', String(from), '--limit', '1', '--json']))
    expect(one).toMatchObject({ from, to, more: true, entries: [{ key: 'dir/colour' }] })
    failed(await sandbox.call(['diff', String(to + 1000)]), 'EINVAL')
    failed(await sandbox.call(['diff', 'no-pin']), 'ENOENT')
  })
})

describe('pins', () => {
  it('keep a root by name while the rest goes', async () => {
    const ns = 'pinned'
    await sandbox.ok(['ns', 'create', ns])
    const seq = await seqOf('put', 'k', 'then', '-n', ns)
    await sandbox.ok(['pin', 'release', '--at', String(seq), '-n', ns])
    const config = ['ns', 'config', ns, '--history-count', '1', '--history-age', '0', '--json']
    const settings = JSON.parse(await sandbox.ok(config))
    expect(settings).toMatchObject({ historyCount: 1, historyAgeMs: 0 })
    await sandbox.ok(['put', 'k', 'later', '-n', ns])
    expect(await lines('roots', '-n', ns)).toHaveLength(1)
    expect((await lines('pins'))[0]).toMatch(new RegExp(`^release +pinned ${seq} .+ blake3-`))
    expect(await lines('diff', 'release', '-n', ns)).toEqual(['M k'])
    const [{ ref }] = JSON.parse(await sandbox.ok(['pins', '--json'])).pins
    expect(await sandbox.ok(['get', 'k', '--at', ref, '-n', ns])).toBe('then')
    await sandbox.ok(['unpin', 'release'])
    failed(await sandbox.call(['get', 'k', '--at', ref, '-n', ns]), 'ECOMPACTED')
    failed(await sandbox.call(['unpin', 'release']), 'ENOENT')
  })
})
