/** Idempotency keys: a transaction that is sent again is answered as it was, not done again. See rfc/20.
 *  `meta` keeps `answers/HASH`, where HASH is of the idempotency key, and `answer-order/SEQ`, which names it.
 *  Invariant: an answer is written by the commit that it answers, so that there is never one without the
 *  other. */

import {
  answerKeptMs,
  answerMarkMs,
  answersMax,
  answersSizeMax,
  type Committed,
  idempotencyKeyRule,
  idempotencyKeySizeMax,
  type OpResult,
} from '../api/transaction.js'
import { corrupt, isCount } from '../base/stored.js'
import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup } from '../draft/group.js'
import {
  countOfRecords,
  getRecord,
  hashName,
  type MetaPath,
  type MetaRecord,
  removeRecord,
  setRecord,
  sizeOfRecords,
  standingNames,
} from '../draft/meta.js'
import { TailraceError } from '../error.js'

export const answersPath = ['answers'] as const
export const answerOrderPath = ['answer-order'] as const
const seqDigits = 14

export type AnswerRecord = {
  readonly digest: Uint8Array
  readonly seq: number
  /** Wall clock, ms since 1970. */
  readonly time: number
  readonly results: readonly OpResult[]
}

/** The name of an idempotency key, which may hold what names may not. Throws EINVAL. */
export function answerName(key: string): string {
  const size = typeof key === 'string' && key.isWellFormed() ? Buffer.byteLength(key) : 0
  const fits = size > 0 && size <= idempotencyKeySizeMax && !/\p{Cc}|^ | $/u.test(key)
  if (!fits) throw new TailraceError('EINVAL', idempotencyKeyRule)
  return hashName(key)
}

export function answerPath(name: string): MetaPath {
  return [...answersPath, name]
}

/** Names are in the order of the seqs; one transaction has one answer. */
export function answerOrderEntry(seq: number): MetaPath {
  return [...answerOrderPath, seq.toString(16).padStart(seqDigits, '0')]
}

/** `[digest, seq, time, result, …]`. */
export function encodeAnswer({ digest, seq, time, results }: AnswerRecord): readonly Plain[] {
  return [digest, seq, time, ...results.map(encodeResult)]
}

/** Throws ECORRUPT. */
export function decodeAnswer(record: MetaRecord): AnswerRecord {
  const [digest, seq, time, ...results] = record
  if (!(digest instanceof Uint8Array) || !isCount(seq) || typeof time !== 'number')
    throw corrupt('the record of an answer')
  return { digest, seq, time, results: results.map(decodeResult) }
}

/** `[ref, index, count, repeated, token, base]`, null for what is not there, none at the end. */
function encodeResult(result: OpResult): Plain {
  const { ref, index, count, repeated, token, base, ...others } = result
  others satisfies Record<string, never>
  const fields: Plain[] = [
    ref === undefined ? null : digestOf(ref),
    index ?? null,
    count ?? null,
    repeated ?? null,
    token ? [token.incarnation, token.seq] : null,
    base ? [base.count, base.size] : null,
  ]
  return fields.slice(0, fields.findLastIndex((field) => field !== null) + 1)
}

function decodeResult(input: unknown): OpResult {
  if (!Array.isArray(input)) throw corrupt('the record of an answer')
  const [ref, index, count, repeated, token, base]: unknown[] = input
  return {
    ...(isThere(ref) ? { ref: refOf(ref) } : {}),
    ...(isThere(index) ? { index: parseCount(index) } : {}),
    ...(isThere(count) ? { count: parseCount(count) } : {}),
    ...(repeated === true ? { repeated } : {}),
    ...(isThere(token) ? { token: tokenOf(token) } : {}),
    ...(isThere(base) ? { base: baseOf(base) } : {}),
  }
}

function isThere(field: unknown): boolean {
  return field !== undefined && field !== null
}

function digestOf(ref: Blobref): Uint8Array {
  const bytes = Buffer.alloc(digestSize)
  writeDigest(ref, bytes, 0)
  return bytes
}

function refOf(field: unknown): Blobref {
  if (!(field instanceof Uint8Array) || field.length !== digestSize)
    throw corrupt('the record of an answer')
  return blobrefAt(field, 0)
}

function tokenOf(field: unknown): { incarnation: string; seq: number } {
  const [incarnation, seq]: unknown[] = Array.isArray(field) ? field : []
  if (typeof incarnation !== 'string') throw corrupt('the record of an answer')
  return { incarnation, seq: parseCount(seq) }
}

function baseOf(field: unknown): { count: number; size: number } {
  const [count, size]: unknown[] = Array.isArray(field) ? field : []
  return { count: parseCount(count), size: parseCount(size) }
}

function parseCount(value: unknown): number {
  if (!isCount(value)) throw corrupt('the record of an answer')
  return value
}

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

/** A transaction that is sent again is answered as it was: the name of its idempotency key, and what it asks for. */
export type Once = { readonly name: string; readonly digest: Uint8Array }

type AnsweredGroup = Pick<DraftGroup, 'meta' | 'now'>

/** How a transaction was answered before; undefined if it was not committed. Throws EINVAL (that was
 *  another transaction), EUNKNOWN (it was committed, its answer is no more kept). */
export async function answered(
  group: AnsweredGroup,
  once: Once,
): Promise<AnswerRecord | undefined> {
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
  group: AnsweredGroup,
  once: Once,
  answer: Pick<AnswerRecord, 'seq' | 'results'>,
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
  group: AnsweredGroup,
  { countMax, sizeMax } = { countMax: answersMax, sizeMax: answersSizeMax },
): Promise<void> {
  const { meta, now } = group
  let count = await countOfRecords(meta, answerOrderPath)
  let expired = 0
  for await (const name of standingNames(meta, answerOrderPath)) {
    const [answer, time] = (await getRecord(meta, [...answerOrderPath, name])) ?? []
    if (typeof answer !== 'string' || typeof time !== 'number')
      throw corrupt('the record of an answer')
    const above = count > countMax || (await sizeOfRecords(meta, answersPath)) > sizeMax
    if (!above && (now - time < answerMarkMs || ++expired > marksForgottenMax)) return
    await removeRecord(meta, answerPath(answer))
    await removeRecord(meta, [...answerOrderPath, name])
    count--
  }
}

async function answerOf(group: AnsweredGroup, name: string): Promise<AnswerRecord | undefined> {
  const record = await getRecord(group.meta, answerPath(name))
  return record && decodeAnswer(record)
}
