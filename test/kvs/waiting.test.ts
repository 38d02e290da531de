/** What waits. Transactions that wait have a bound: one more is EBUSY at once, and none of the others is lost. A wait
 *  for a seq costs nothing until that is reached. See rfc/6, rules 14 and 21. */

import { expect, it } from 'vitest'
import { waitingMax, waitingSizeMax } from '../../src/api/transaction.js'
import { waitingSumMax } from '../../src/commit/waiting-budget.js'
import { isCode } from '../../src/error.js'
import { open } from '../../src/open.js'

it(`${waitingMax} transactions wait, the next is refused`, { timeout: 30_000 }, async () => {
  await using store = await open()
  const sent = Array.from({ length: waitingMax + 1 }, () => store.commit({ ops: [] }))
  await expect(sent.at(-1)).rejects.toMatchObject({ code: 'EBUSY' })
  const taken = await Promise.all(sent.slice(0, -1))
  expect(taken.at(-1)?.seq).toBe(waitingMax)
  expect((await store.commit({ ops: [] })).seq).toBe(waitingMax + 1)
})

it('what waits in all namespaces together is bounded, and a namespace that asks for little is served', async () => {
  await using store = await open()
  const names = Array.from({ length: 8 }, (_, n) => `busy-${n}`)
  for (const namespace of [...names, 'quiet']) await store.namespaces.create(namespace)
  const value = Buffer.alloc(4 * 1024 * 1024)
  const each = waitingSizeMax / value.length
  // Each would have what a namespace may have if it were alone.
  const sent = names.flatMap((namespace) =>
    Array.from({ length: each }, () => store.append('log', value, { namespace })),
  )
  const quiet = store.put('a', 'x', { namespace: 'quiet' })
  const outcomes = await Promise.allSettled(sent)
  expect((await quiet).seq).toBe(1)
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
  for (const { reason } of refused) expect(isCode(reason, 'EBUSY')).toBe(true)
  const taken = (outcomes.length - refused.length) * value.length
  expect(taken).toBeGreaterThan(0)
  // The last one of each namespace may go beyond.
  expect(taken).toBeLessThanOrEqual(waitingSumMax + names.length * value.length)
  // What has left the queues counts no more.
  for (const namespace of names) await store.append('log', value, { namespace })
})

it('transactions that have no value count as well as values', async () => {
  await using store = await open()
  const guards = Array.from(
    { length: 1_024 },
    (_, n) => ({ key: `key-${n}`, absent: true }) as const,
  )
  const sent = Array.from({ length: 512 }, () => store.commit({ guards, ops: [] }))
  const outcomes = await Promise.allSettled(sent)
  expect(outcomes.at(0)?.status).toBe('fulfilled')
  expect(outcomes.at(-1)).toMatchObject({ reason: { code: 'EBUSY' } })
})

it('a root that moves wakes those that wait for it, and does not look at the others', async () => {
  await using store = await open()
  const { signal } = new AbortController()
  let looks = 0
  Object.defineProperty(signal, 'aborted', {
    get: () => {
      looks++
      return false
    },
  })
  const far = Array.from({ length: 100 }, (_, n) => store.root({ waitSeq: 1_000 + n, signal }))
  const next = store.root({ waitSeq: 1 })
  const begun = looks
  for (let n = 0; n < 20; n++) await store.commit({ ops: [] })
  expect((await next).seq).toBeGreaterThanOrEqual(1)
  expect(looks - begun).toBe(0)
  const ended = Promise.allSettled(far)
  await store[Symbol.asyncDispose]()
  for (const wait of await ended) expect(wait).toMatchObject({ reason: { code: 'ECLOSED' } })
})
