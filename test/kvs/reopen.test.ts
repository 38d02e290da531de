/** What a store is after it was closed and opened again: the same, its older roots and positions too.
 *  And the bounds of a namespace. See rfc/6, rfc/7. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { waitingSizeMax } from '../../src/api/transaction.js'
import type { Position } from '../../src/api/watch.js'
import { open } from '../../src/open.js'
import { refusal, text } from './expect.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-reopen-'))
})
afterEach(() => rm(directory, { recursive: true }))

it('values, older roots, namespaces and positions are there after the store was opened again', async () => {
  const positions: Position[] = []
  const before = await (async () => {
    await using store = await open({ directory })
    for (let count = 1; count <= 5; count++) {
      await store.commit({
        ops: [
          { op: 'put', key: 'value', value: `${count}` },
          { op: 'append', key: 'log', value: `${count};` },
        ],
      })
    }
    await store.namespaces.create('other')
    for await (const event of store.watch('log', { mode: 'append' })) {
      if (event.type === 'live') break
      if (event.type === 'append') positions.push(event.position)
    }
    return {
      root: await store.root(),
      namespaces: await store.namespaces.list(),
      id: store.storeId,
    }
  })()
  await using store = await open({ directory })
  expect(store.storeId).toBe(before.id)
  expect(await store.root()).toEqual(before.root)
  expect(await store.namespaces.list()).toEqual(before.namespaces)
  for (let seq = 1; seq <= 5; seq++) {
    expect(text(await store.get('value', { at: seq }))).toBe(`${seq}`)
  }
  expect(await store.get('value', { at: 0 })).toBeUndefined()
  const [, second] = positions
  if (!second) throw new Error('five appends have five positions')
  const watching = store.watch('log', { mode: 'append', from: second })
  const next = await watching.next()
  expect(next.value).toMatchObject({ type: 'append', index: 2, offset: 4 })
  await watching.return?.()
})

it('a transaction of more keys than a root names is seen by every watcher', async () => {
  await using store = await open()
  await store.append('log', 'a')
  const watching = store.watch('log', { mode: 'append', from: 1 })
  expect((await watching.next()).value).toMatchObject({ type: 'live' })
  const next = watching.next()
  const puts = Array.from({ length: 2_000 }, (_, at) => ({
    op: 'put' as const,
    key: `many/${at}`,
    value: '',
  }))
  await store.commit({ ops: [...puts, { op: 'append', key: 'log', value: 'b' }] })
  expect((await next).value).toMatchObject({ type: 'append', index: 1 })
  await watching.return?.()
})

it('more bytes than may wait are EBUSY at once, and what was taken is committed', async () => {
  await using store = await open({ directory })
  const value = Buffer.alloc(4 * 1024 * 1024)
  const sent = Array.from({ length: 2 * (waitingSizeMax / value.length) }, () =>
    store.append('log', value),
  )
  const outcomes = await Promise.allSettled(sent)
  const taken = outcomes.filter(({ status }) => status === 'fulfilled').length
  expect(taken).toBeGreaterThan(1)
  expect(taken).toBeLessThan(sent.length)
  expect(await refusal(sent.at(-1) ?? Promise.resolve())).toMatchObject({ code: 'EBUSY' })
  expect((await store.stat('log'))?.size).toBe(taken * value.length)
})
