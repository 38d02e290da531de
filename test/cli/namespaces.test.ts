/** Namespaces, their settings and their roots: `ns` and `root`. See rfc/6, rfc/10. */

import { afterAll, beforeAll, expect, it } from 'vitest'
import { failed, Sandbox } from '../support/sandbox.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.makeServed()
})
afterAll(() => sandbox.remove())

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

it('settings are changed and shown, in the units that people write', async () => {
  const change = ['--history-age', '7d', '--history-size', '2G', '--quota', '10M', '--json']
  expect(JSON.parse(await sandbox.ok(['ns', 'config', 'primary', ...change]))).toEqual({
    historyCount: 4_096,
    historyAgeMs: 7 * 86_400_000,
    historySize: 2 * 1024 ** 3,
    quota: 10 * 1024 ** 2,
  })
  expect(await sandbox.ok(['ns', 'show', 'primary'])).toMatch(/^quota +10485760 bytes$/m)
  await sandbox.ok(['ns', 'config', 'primary', '--quota', 'none'])
  const shown = JSON.parse(await sandbox.ok(['ns', 'show', 'primary', '--json']))
  expect(shown).toMatchObject({ name: 'primary', settings: { historySize: 2 * 1024 ** 3 } })
  expect(shown.settings.quota).toBeUndefined()
  for (const wrong of [[], ['--history-age', '7'], ['--quota', 'much'], ['--history-count', '0']]) {
    expect((await sandbox.call(['ns', 'config', 'primary', ...wrong])).code).toBe(2)
  }
  failed(await sandbox.call(['ns', 'show', 'nowhere']), 'ENONS')
})

it('a quota ends a put with EDQUOT', async () => {
  await sandbox.ok(['ns', 'create', 'small'])
  await sandbox.ok(['ns', 'config', 'small', '--quota', '3'])
  await sandbox.ok(['put', 'k', '123', '-n', 'small'])
  failed(await sandbox.call(['put', 'l', '4', '-n', 'small']), 'EDQUOT')
})
