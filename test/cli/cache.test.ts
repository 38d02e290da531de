/** `cache ls`, `show`, `rm`, `why`, `stat` and `create`, as a person or a script meets them. See rfc/22. */

import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cache } from '../../src/api/cache.js'
import type { Store } from '../../src/api/store.js'
import { openCache } from '../../src/cache/cache.js'
import { connect } from '../../src/client/node.js'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
let store: Store
let cache: Cache
/** The ids of two results, in the order of their publishing. */
let [first, second]: readonly string[] = []

const actions = [
  { task: 'train', code: 'v1', inputs: ['x', 'y'], blob: Uint8Array.of(1), rows: 7n },
  { task: 'train', code: 'v2', inputs: ['x'], blob: Uint8Array.of(2), rows: 7n },
]

beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
  await sandbox.ok(['cache', 'create', 'pr-7', '--parent', 'main'])
  store = await connect(`unix:${join(sandbox.data, 'tailrace.sock')}`)
  cache = openCache(store, { owner: 'ci', code: 'r1' })
  const ids: string[] = []
  for (const action of actions) {
    await cache.cached(action, () => 'x'.repeat(1_000))
    ids.push((await cache.load(action))?.result.id ?? '')
  }
  ;[first, second] = ids
})
afterAll(async () => {
  await store.close()
  await sandbox.remove()
})

const short = (id: string | undefined) => id?.slice(0, 12) ?? ''

describe('cache', () => {
  it('ls lists the own results of a layer', async () => {
    const lines = (await sandbox.ok(['cache', 'ls', '--utc'])).trimEnd().split('\n')
    expect(lines.map((line) => line.slice(0, 12)).sort()).toEqual(
      [short(first), short(second)].sort(),
    )
    expect(lines[0]).toMatch(/^[0-9a-f]{12} {2}\d{4}-\S+Z +\d+ ms +1003B {2}ci, pid \d+$/)
    const { results } = JSON.parse(await sandbox.ok(['cache', 'ls', '--json']))
    expect(results.map(({ id }: { id: string }) => id)).toEqual([first, second].sort())
    const page = JSON.parse(await sandbox.ok(['cache', 'ls', '--json', '--after', results[0].id]))
    expect(page.results).toEqual([results[1]])
    const bounded = JSON.parse(await sandbox.ok(['cache', 'ls', '--json', '--limit', '1']))
    expect(bounded.results).toEqual([results[0]])
    expect(await sandbox.ok(['cache', 'ls', '--layer', 'pr-7'])).toBe('')
    failed(await sandbox.call(['cache', 'ls', '--layer', 'none']), 'ENONS')
    expect((await sandbox.call(['cache', 'ls', '--limit', '0'])).code).toBe(2)
  })

  it('show tells all that is known of a result, by a beginning of its id, from a child layer too', async () => {
    const shown = await sandbox.ok(['cache', 'show', short(first), '--layer', 'pr-7'])
    expect(shown).toMatch(new RegExp(`^id +${first}$`, 'm'))
    expect(shown).toMatch(/^layer +main$/m)
    expect(shown).toMatch(/^code +r1$/m)
    expect(shown).toMatch(/^outputs +"value" 1003B$/m)
    expect(shown).toContain('"blob":{"base64":"AQ=="}')
    const all = JSON.parse(await sandbox.ok(['cache', 'show', first ?? '', '--json']))
    expect(all).toMatchObject({
      ...{ id: first, layer: 'main', code: 'r1' },
      by: { owner: 'ci', pid: process.pid },
      action: { ...actions[0], blob: { base64: 'AQ==' }, rows: { bigint: '7' } },
    })
    failed(await sandbox.call(['cache', 'show', '0'.repeat(64)]), 'ENOENT')
    failed(await sandbox.call(['cache', 'show', 'xyz']), 'EINVAL')
  })

  it('why says which inputs differ', async () => {
    expect(await sandbox.ok(['cache', 'why', short(first), short(second)])).toBe(
      'blob: {"base64":"AQ=="} → {"base64":"Ag=="}\ncode: "v1" → "v2"\ninputs[1]: "y" → nothing\n',
    )
    const args = ['cache', 'why', short(second), short(first), '--json']
    expect(JSON.parse(await sandbox.ok(args)).differences.at(-1)).toEqual({
      path: 'inputs[1]',
      after: 'y',
    })
    expect(await sandbox.ok(['cache', 'why', short(first), short(first)])).toBe('')
    failed(await sandbox.call(['cache', 'why', short(first), '0'.repeat(64)]), 'ENOENT')
  })

  it('rm removes results of the layer itself', async () => {
    const action = { task: 'gone' }
    await cache.cached(action, () => 1)
    const { id } = (await cache.load(action))?.result ?? { id: '' }
    failed(await sandbox.call(['cache', 'rm', id, '--layer', 'pr-7']), 'ENOENT')
    expect(JSON.parse(await sandbox.ok(['cache', 'rm', short(id), '--json']))).toEqual({
      removed: [id],
    })
    expect(await cache.load(action)).toBeUndefined()
    failed(await sandbox.call(['cache', 'rm', short(id)]), 'ENOENT')
  })

  it('config bounds a layer', async () => {
    const set = ['cache', 'config', '--layer', 'pr-7']
    expect(await sandbox.ok([...set, '--keep', '5', '--keep-age', '1d', '--keep-size', '1M'])).toBe(
      'kept: 5 results, 86400 s, 1.0M\n',
    )
    const bounds = JSON.parse(await sandbox.ok([...set, '--keep', 'none', '--json']))
    expect(bounds).toEqual({ keepAgeMs: 86_400_000, keepSize: 1024 ** 2 })
    expect(await sandbox.ok([...set, '--keep-age', 'none', '--keep-size', 'none'])).toBe(
      'all are kept\n',
    )
    expect((await sandbox.call(set)).code).toBe(2)
  })

  it('stat and create show and make layers', async () => {
    expect(JSON.parse(await sandbox.ok(['cache', 'stat', '--json']))).toMatchObject({
      ...{ layer: 'main', parents: [], results: 2, size: expect.any(Number) },
    })
    expect(await sandbox.ok(['cache', 'stat', '--layer', 'pr-7'])).toMatch(
      /^pr-7: 0 results, \S+, reads go on in main; all are kept\n$/,
    )
    const made = await sandbox.ok(['cache', 'create', 'pr-8', '--parent', 'pr-7', '--json'])
    expect(JSON.parse(made)).toEqual({ layer: 'pr-8', parent: 'pr-7' })
    failed(await sandbox.call(['cache', 'create', 'pr-8']), 'EEXIST')
    failed(await sandbox.call(['cache', 'create', 'pr-9', '--parent', 'none']), 'ENONS')
    failed(await sandbox.call(['cache', 'create', 'A/b']), 'EINVAL')
  })
})
