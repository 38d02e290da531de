/** What waits. Transactions that wait have a bound: one more is EBUSY at once, and none of the others is lost. A wait
 *  for a seq costs nothing until that is reached. See rfc/6, rules 14 and 21. */

import { expect, it } from 'vitest'
import { waitingMax } from '../../src/api/transaction.js'
import { open } from '../../src/open.js'

it(`${waitingMax} transactions wait, the next is refused`, { timeout: 30_000 }, async () => {
  await using store = await open()
  const sent = Array.from({ length: waitingMax + 1 }, () => store.commit({ ops: [] }))
  await expect(sent.at(-1)).rejects.toMatchObject({ code: 'EBUSY' })
  const taken = await Promise.all(sent.slice(0, -1))
  expect(taken.at(-1)?.seq).toBe(waitingMax)
  expect((await store.commit({ ops: [] })).seq).toBe(waitingMax + 1)
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
