/** Transactions that wait have a bound: one more is EBUSY at once, and none of the others is lost. rfc/6, rule
 *  14. */

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
