/** Idempotency keys: a transaction that is sent again is answered as it was, not done again. See rfc/6.
 *  Invariant: an answer is written by the commit that it answers, so that there is never one without the
 *  other. */

import {
  answerKeptMs,
  answerMarkMs,
  answersMax,
  answersSizeMax,
  type Committed,
} from '../api/transaction.js'
import { TailraceError } from '../error.js'
import {
  type Answer,
  answerOrderEntry,
  answerOrderPath,
  answerPath,
  answersPath,
  decodeAnswer,
  encodeAnswer,
} from './answer-record.js'
import type { Group } from './group.js'
import {
  countOfRecords,
  getRecord,
  removeRecord,
  setRecord,
  sizeOfRecords,
  standingNames,
} from './meta.js'
import type { Once } from './transaction.js'

/** Marks that have had their time and are forgotten with each group that keeps an answer. */
const marksForgottenMax = 64

/** Thrown by a transaction that was committed before its group: this is its answer. */
export class AnsweredBefore extends Error {
  readonly committed: Committed

  constructor(committed: Committed) {
    super('answered before')
    this.committed = committed
  }
}

/** What of a group answers need. */
type Present = Pick<Group, 'meta' | 'now'>

/** How a transaction was answered before; undefined if it was not committed. Throws EINVAL (that was
 *  another transaction), EUNKNOWN (it was committed, its answer is no more kept). */
export async function answered(group: Present, once: Once): Promise<Answer | undefined> {
  const answer = await answerOf(group, once.name)
  const age = answer ? group.now - answer.time : answerMarkMs
  if (!answer || age >= answerMarkMs) return undefined
  const { digest, seq } = answer
  if (Buffer.compare(digest, once.digest) !== 0) {
    const message = `another transaction was committed under this idempotency key, as seq ${seq}: take a new key`
    throw new TailraceError('EINVAL', message, { failed: { state: { seq } } })
  }
  if (age < answerKeptMs) return answer
  const message = `the transaction was committed as seq ${seq}, and its answer is no more kept: look at what is there`
  throw new TailraceError('EUNKNOWN', message, { failed: { state: { seq } } })
}

/** Keeps the answer of a transaction with what it did. */
export async function keepAnswer(
  group: Present,
  once: Once,
  answer: Pick<Answer, 'seq' | 'results'>,
) {
  const { meta, now } = group
  const { name, digest } = once
  const before = await answerOf(group, name)
  if (before) await removeRecord(meta, answerOrderEntry(before.seq))
  await setRecord(meta, answerPath(name), encodeAnswer({ ...answer, digest, time: now }))
  await setRecord(meta, answerOrderEntry(answer.seq), [name, now])
}

/** Forgets the oldest answers above the bounds, and some that have had their time. Once in a group that
 *  keeps answers, after its transactions. */
export async function forgetAnswers(
  group: Present,
  { countMax, sizeMax } = { countMax: answersMax, sizeMax: answersSizeMax },
): Promise<void> {
  const { meta, now } = group
  let count = await countOfRecords(meta, answerOrderPath)
  let expired = 0
  for await (const name of standingNames(meta, answerOrderPath)) {
    const [answer, time] = (await getRecord(meta, [...answerOrderPath, name])) ?? []
    if (typeof answer !== 'string' || typeof time !== 'number') throw corrupt()
    const above = count > countMax || (await sizeOfRecords(meta, answersPath)) > sizeMax
    if (!above && (now - time < answerMarkMs || ++expired > marksForgottenMax)) return
    await removeRecord(meta, answerPath(answer))
    await removeRecord(meta, [...answerOrderPath, name])
    count--
  }
}

async function answerOf(group: Present, name: string): Promise<Answer | undefined> {
  const record = await getRecord(group.meta, answerPath(name))
  return record && decodeAnswer(record)
}

function corrupt(): TailraceError {
  return new TailraceError('ECORRUPT', 'the order of answers cannot be read: restore a copy')
}
