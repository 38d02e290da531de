/** A data directory that was copied, moved, or put back: who is who afterwards. See rfc/4, rule 21. */

import { cp, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Position, WatchEvent } from '../src/api/watch.js'
import { type EmbeddedStore, open } from '../src/open.js'
import { textOfToken, tokenOfText } from '../src/wire/token.js'

let root = ''
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tailrace-copied-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const at = (name: string) => join(root, name)
const copy = (from: string, to: string) =>
  cp(at(from), at(to), { recursive: true, preserveTimestamps: true })
const formatOf = async (name: string) =>
  JSON.parse(await readFile(join(at(name), 'format.json'), 'utf8')).storeId

async function first(store: EmbeddedStore, from?: Position): Promise<WatchEvent> {
  const watch = store.watch('log', { mode: 'append', ...(from ? { from } : {}) })
  for await (const event of watch) return event
  throw new Error('an unsealed log has events')
}

async function positionOf(store: EmbeddedStore): Promise<Position> {
  const event = await first(store)
  if (event.type !== 'append') throw new Error('the log has an append')
  return event.position
}

function lease(store: EmbeddedStore, action: 'take' | 'renew', token?: unknown) {
  const ops = [{ op: 'lease', key: 'lock', action, ttl: 60_000, ...(token ? { token } : {}) }]
  return store.commit({ ops } as Parameters<EmbeddedStore['commit']>[0])
}

test('a copy is a store of its own: what one told, the other refuses', async () => {
  const original = await open({ directory: at('a') })
  await original.append('log', 'one')
  await original.history.pin('first')
  await original.append('log', 'two')
  const position = await positionOf(original)
  const token = (await lease(original, 'take')).results[0]?.token
  const { storeId } = original
  expect(await formatOf('a')).toBe(storeId)
  await original[Symbol.asyncDispose]()
  await copy('a', 'b')

  await using copied = await open({ directory: at('b') })
  expect(copied.storeId).not.toBe(storeId)
  expect(await formatOf('b')).toBe(copied.storeId)
  await expect(first(copied, position)).rejects.toMatchObject({ code: 'EOVERWRITTEN' })
  await expect(lease(copied, 'renew', token)).rejects.toMatchObject({ code: 'EFENCED' })
  // The original's lease is still held, under a token of the copy's own.
  const failed = await lease(copied, 'take').catch((error) => error.failed)
  const own = failed.state.lease.token
  expect(own).toEqual({ ...token, incarnation: `${token?.incarnation}.${copied.storeId}` })
  expect(tokenOfText(textOfToken(own))).toEqual(own)
  // What a store keeps of its own past is its copy's, too.
  expect((await copied.history.roots()).roots.flatMap(({ pins = [] }) => pins)).toEqual(['first'])
  expect((await copied.history.pin('first', { at: 1 })).seq).toBe(1)

  await using again = await open({ directory: at('a') })
  expect(again.storeId).toBe(storeId)
  expect(await first(again, position)).toMatchObject({ type: 'append', index: 1 })
  await lease(again, 'renew', token)
  const other = await positionOf(copied)
  await expect(first(again, other)).rejects.toMatchObject({ code: 'EOVERWRITTEN' })
})

test('a copy keeps the identity that it got, also when it is moved', async () => {
  await (await open({ directory: at('a') }))[Symbol.asyncDispose]()
  await copy('a', 'b')
  const copied = await open({ directory: at('b') })
  const { storeId } = copied
  await copied[Symbol.asyncDispose]()
  await rename(at('b'), at('c'))
  await using moved = await open({ directory: at('c') })
  expect(moved.storeId).toBe(storeId)
})

test('a backup that is put back at the same path is another store', async () => {
  const before = await open({ directory: at('a') })
  const { storeId } = before
  await before[Symbol.asyncDispose]()
  await copy('a', 'backup')
  // Its inodes may be used again by the files that come back.
  await rm(at('a'), { recursive: true })
  await copy('backup', 'a')
  await using after = await open({ directory: at('a') })
  expect(after.storeId).not.toBe(storeId)
  expect(await formatOf('a')).toBe(after.storeId)
})

test('the copy of a live store opens, and leaves the processes of its jobs alone', async () => {
  await using original = await open({ directory: at('a') })
  const { id } = await original.jobs.submit({ command: ['sleep', '60'], cwd: '/', env: {} })
  await original.jobs.live(id)?.changed.wait(0)
  while ((await original.jobs.show(id)).pid === undefined) {
    await original.jobs.live(id)?.changed.wait(original.jobs.live(id)?.changed.count ?? 0)
  }
  await copy('a', 'b')
  await using copied = await open({ directory: at('b') })
  expect(await copied.jobs.show(id)).toMatchObject({ exception: { type: 'lost' } })
  expect((await original.jobs.show(id)).state).toBe('running')
  await original.jobs.signal(id, 'SIGKILL')
  expect(await original.jobs.wait(id)).toMatchObject({ signal: 'SIGKILL' })
})
