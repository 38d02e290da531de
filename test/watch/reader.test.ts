/** Readers of watches: what they give without a wait, and what they share. See rfc/7, rule 8. */

import { expect, it } from 'vitest'
import { open } from '../../src/open.js'

it('watchers of one key get the same events, and those in memory without a promise', async () => {
  await using store = await open()
  await store.append('log', 'a')
  const readers = Array.from({ length: 3 }, () => store.watchReader('log', { mode: 'append' }))
  for (const reader of readers) {
    expect(await reader.next()).toMatchObject({ type: 'append', index: 0 })
    expect(await reader.next()).toMatchObject({ type: 'live' })
    expect(reader.take()).toBeUndefined()
  }
  const waiting = readers.map((reader) => reader.next())
  const ops = ['b', 'c', 'd'].map((value) => ({ op: 'append', key: 'log', value }) as const)
  await store.commit({ ops })
  const [first, ...others] = await Promise.all(waiting)
  expect(first).toMatchObject({ type: 'append', index: 1, data: Buffer.from('b') })
  for (const other of others) expect(other).toBe(first)
  for (const index of [2, 3]) {
    const [event, ...same] = readers.map((reader) => reader.take())
    expect(event).toMatchObject({ type: 'append', index })
    for (const other of same) expect(other).toBe(event)
  }
  expect(readers.map((reader) => reader.take())).toEqual([undefined, undefined, undefined])
  for (const reader of readers) reader.end()
  expect(store.watchers).toBe(0)
})

it('watchers of one value get the same events', async () => {
  await using store = await open()
  await store.put('key', 'a')
  const readers = Array.from({ length: 3 }, () => store.watchReader('key', { mode: 'value' }))
  for (const value of ['a', 'b'.repeat(1_000)]) {
    const waiting = readers.map((reader) => reader.next())
    await store.put('key', value)
    const [first, ...others] = await Promise.all(waiting)
    expect(first).toMatchObject({ type: 'value', ref: expect.any(String) })
    for (const other of others) expect(other).toBe(first)
  }
  for (const reader of readers) reader.end()
})

it('the end of a reader ends a next() that waits, once', async () => {
  await using store = await open()
  await store.append('log', 'a')
  for (const mode of ['append', 'value'] as const) {
    const reader = store.watchReader('log', { mode })
    await reader.next()
    if (mode === 'append') await reader.next()
    const waiting = reader.next()
    expect(store.watchers).toBe(1)
    reader.end()
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(await reader.next()).toBeUndefined()
    expect(store.watchers).toBe(0)
  }
})

it('a reader that is not asked when the store closes is told so', async () => {
  const store = await open()
  await store.append('log', 'a')
  const readers = (['append', 'value'] as const).map((mode) => store.watchReader('log', { mode }))
  for (const reader of readers) await reader.next()
  await store.close()
  for (const reader of readers) {
    expect(reader.take()).toBeUndefined()
    await expect(reader.next()).rejects.toMatchObject({ code: 'ECLOSED' })
    expect(await reader.next()).toBeUndefined()
  }
})

it('a reader that ends before its first next() leaves nothing', async () => {
  await using store = await open()
  await store.append('log', 'a')
  for (const mode of ['append', 'value'] as const) {
    const reader = store.watchReader('log', { mode })
    const first = reader.next()
    reader.end()
    await expect(first).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(store.watchers).toBe(0)
  }
})

/** A reader of a log that is at rest: all that is there was given. */
async function atRest() {
  const store = await open()
  await store.append('log', 'a')
  const reader = store.watchReader('log', { mode: 'append' })
  expect(reader.rest(() => {})).toBe(false) // nothing was asked for yet
  await reader.next()
  await reader.next()
  const wakes: string[] = []
  const rest = () => reader.rest(() => wakes.push('wake'))
  expect(rest()).toBe(true)
  return { store, reader, wakes, rest }
}

it('a reader at rest is woken once by an append, and then has the event', async () => {
  const { store, reader, wakes, rest } = await atRest()
  expect(rest()).toBe(true)
  await store.append('log', 'b')
  await store.append('log', 'c')
  await expect.poll(() => wakes.length).toBe(1)
  expect(rest()).toBe(false)
  expect(reader.take()).toMatchObject({ index: 1 })
  expect(reader.take()).toMatchObject({ index: 2 })
  expect(reader.take()).toBeUndefined()
  expect(rest()).toBe(true)
  await store.append('log', 'd', { seal: true })
  await expect.poll(() => wakes.length).toBe(2)
  expect(reader.take()).toMatchObject({ index: 3 })
  expect(rest()).toBe(false)
  expect(await reader.next()).toMatchObject({ type: 'end' })
  expect(await reader.next()).toBeUndefined()
  expect(store.watchers).toBe(0)
  await store.close()
})

it.each([
  ['EOVERWRITTEN', 'put'],
  ['ENOENT', 'unlink'],
  ['ECLOSED', 'close'],
  ['ECANCELED', 'end'],
] as const)('a reader at rest is woken, and then told %s', async (code, what) => {
  const { store, reader, wakes, rest } = await atRest()
  if (what === 'put') await store.put('log', 'x')
  else if (what === 'unlink') await store.commit({ ops: [{ op: 'unlink', key: 'log' }] })
  else if (what === 'close') await store.close()
  else reader.end()
  await expect.poll(() => wakes.length).toBe(1)
  expect(reader.take()).toBeUndefined()
  expect(rest()).toBe(false)
  await expect(reader.next()).rejects.toMatchObject({ code })
  expect(store.watchers).toBe(0)
  await store.close()
})

it('a reader of values does not rest', async () => {
  await using store = await open()
  await store.put('key', 'a')
  const reader = store.watchReader('key', { mode: 'value' })
  await reader.next()
  expect(reader.rest(() => {})).toBe(false)
  reader.end()
})
