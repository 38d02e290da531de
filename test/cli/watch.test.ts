/** Followers of a log that drops appends before they were read: rfc/19, rule 5, and rfc/7, rule 17. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { From, WatchEvent } from '../../src/api/watch.js'
import type { CommandContext } from '../../src/cli/command.js'
import { logEvents } from '../../src/cli/watch.js'
import { type EmbeddedStore, open } from '../../src/open.js'

let store: EmbeddedStore
let said: string[]
let call: Pick<CommandContext, 'stderr'>
beforeEach(async () => {
  store = await open()
  said = []
  const line = async (text: string) => void said.push(text)
  call = { stderr: { line } } as unknown as CommandContext
})
afterEach(() => store[Symbol.asyncDispose]())

const shown = (event: WatchEvent | undefined) =>
  event?.type === 'append' ? `${event.index} ${Buffer.from(event.data)}` : event?.type
const appendAll = (values: string) =>
  store.commit({ ops: [...values].map((value) => ({ op: 'append', key: 'log', value }) as const) })

it('say what was dropped before it was read, and go on', async () => {
  await store.append('log', 'a', { cap: { keep: 2 } })
  const events = logEvents(call, store, 'log', {})
  const next = async () => shown((await events.next()).value ?? undefined)
  expect([await next(), await next()]).toEqual(['0 a', 'live'])
  await appendAll('bcdef')
  expect([await next(), await next()]).toEqual(['4 e', '5 f'])
  expect(said).toEqual([
    'tailrace: appends 1 to 3 were dropped before they were read: what follows begins with append 4',
  ])
  await store.append('log', 'g', { seal: true })
  expect([await next(), await next(), await next()]).toEqual(['6 g', 'end', undefined])
  expect(said).toHaveLength(1)
})

it('end as a watch does where they did not begin, or the log is another one', async () => {
  await store.append('log', 'a', { cap: { keep: 1 } })
  await appendAll('bc')
  const from: From = 0
  const below = logEvents(call, store, 'log', { from }).next()
  await expect(below).rejects.toMatchObject({ code: 'ECOMPACTED' })
  const events = logEvents(call, store, 'log', {})
  expect(shown((await events.next()).value ?? undefined)).toBe('2 c')
  await store.put('log', 'other')
  const rest = async () => {
    for await (const event of events) expect(event.type).toBe('live')
  }
  await expect(rest()).rejects.toMatchObject({ code: 'EOVERWRITTEN' })
  expect(said).toEqual([])
})
