/** Whether a directory is empty, where the transactions of one group take turns at it. See rfc/6. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { refusal } from './expect.js'

let store: EmbeddedStore
beforeEach(async () => {
  store = await open()
})
afterEach(() => store[Symbol.asyncDispose]())

const unlink = (...keys: string[]): Op[] => keys.map((key) => ({ op: 'unlink', key }))

it('what a refused transaction removed stands in the way of the next one again', async () => {
  for (const name of ['a', 'b', 'c']) await store.put(`d/${name}`, 'v')
  const refused = refusal(store.commit({ ops: unlink('d/a', 'd') }))
  const next = refusal(store.commit({ ops: unlink('d/b', 'd/c', 'd') }))
  expect(await refused).toMatchObject({ code: 'ENOTEMPTY', failed: { op: 1 } })
  expect(await next).toMatchObject({ code: 'ENOTEMPTY', failed: { op: 2 } })
  await store.commit({ ops: unlink('d/a', 'd/b', 'd/c', 'd') })
  expect(await store.stat('d')).toBeUndefined()
})

it('what was put again, before or behind what is left, does too', async () => {
  for (const name of ['a', 'b']) await store.put(`d/${name}`, 'v')
  const again: Op = { op: 'put', key: 'd/a', value: 'v' }
  const ops = [...unlink('d/a'), again, ...unlink('d/b', 'd')]
  expect(await refusal(store.commit({ ops }))).toMatchObject({ code: 'ENOTEMPTY' })
  const behind: Op = { op: 'put', key: 'd/z', value: 'v' }
  const more = [behind, ...unlink('d/a', 'd/b', 'd')]
  expect(await refusal(store.commit({ ops: more }))).toMatchObject({ code: 'ENOTEMPTY' })
  await store.commit({ ops: [behind, ...unlink('d/a', 'd/b', 'd/z', 'd')] })
  expect(await store.stat('d')).toBeUndefined()
})

it('directories that are emptied name by name cost each name once', async () => {
  const count = 4_000
  const keys = Array.from({ length: count }, (_, at) => `d/${at}`)
  await store.commit({ ops: keys.map((key) => ({ op: 'put', key, value: '', ttl: 1_000_000 })) })
  await store.commit({ ops: [...unlink(...keys), ...unlink('d')] })
  expect((await store.list('')).entries).toEqual([])
})
