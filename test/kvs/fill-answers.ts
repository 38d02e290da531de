/** Answers as large as they may be, so that a namespace forgets its earlier answers. */

import type { Store } from '../../src/api/store.js'
import { answersSizeMax, type Op } from '../../src/api/transaction.js'

/** Commits transactions under idempotency keys until their answers have more bytes than a namespace
 *  keeps. Each answer has 400 refused takes of a lease with a long key: some 400 KB. */
export async function fillAnswers(store: Store): Promise<void> {
  const key = `held/${Array.from({ length: 5 }, (_, at) => `${at}`.repeat(200)).join('/')}`
  await using _lease = await store.leases.take(key, { ttl: 600_000 })
  const take: Op = { op: 'lease', key, action: 'take', ttl: 60_000, takeId: 't', optional: true }
  const ops = Array.from({ length: 400 }, () => take)
  const count = Math.ceil(answersSizeMax / (400 * key.length)) + 1
  for (let at = 0; at < count; at++) await store.commit({ ops }, { idempotencyKey: `fill ${at}` })
}
