/** Idempotency keys: a transaction that is sent again gets the answer of the first time, and is not
 *  applied again. See rfc/20, rules 5 to 7. `meta` keeps the answer at `answers/HASH`, where HASH
 *  is the hash of the idempotency key, the HASH at `answer-order/SEQ`, and the newest seq whose answer
 *  was forgotten at `answer-floor`.
 *  Invariant: the commit of a transaction writes its answer, so that neither is there
 *  without the other. A commit that forgets an answer raises the floor to its seq, so that each
 *  transaction above the floor that came with a key has its answer here. */

import {
  answerKeptMs,
  answerMarkMs,
  answersMax,
  answersSizeMax,
  type Committed,
  idempotencyKeyRule,
  idempotencyKeySizeMax,
  type OpResult,
  type TakeRefusal,
} from '../api/transaction.js'
import { corrupt, isCount } from '../base/stored.js'
import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import type { Draft } from '../draft/draft.js'
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

const answersPath = ['answers'] as const
/** The directory of the order of answers in `meta`. */
export const answerOrderPath = ['answer-order'] as const
/** The path of the floor of answers in `meta`. */
export const answerFloorPath = ['answer-floor'] as const
const seqDigits = 14

/** The answer of a transaction, as `meta` keeps it. */
export type AnswerRecord = {
  readonly digest: Uint8Array
  readonly seq: number
  /** The time of the commit, wall clock, ms since 1970. */
  readonly time: number
  readonly results: readonly OpResult[]
}

/** Returns the name under which an idempotency key is kept: its hash, since a key may hold what a
 *  name may not. Throws EINVAL. */
export function answerName(key: string): string {
  const size = typeof key === 'string' && key.isWellFormed() ? Buffer.byteLength(key) : 0
  const fits = size > 0 && size <= idempotencyKeySizeMax && !/\p{Cc}|^ | $/u.test(key)
  if (!fits) throw new TailraceError('EINVAL', idempotencyKeyRule)
  return hashName(key)
}

function answerPath(name: string): MetaPath {
  return [...answersPath, name]
}

/** Returns the path of a seq in the order of answers. The order of these names is the
 *  order of the seqs. */
export function answerOrderEntry(seq: number): MetaPath {
  return [...answerOrderPath, seq.toString(16).padStart(seqDigits, '0')]
}

/** Encodes an answer as `[digest, seq, time, result, …]`. */
export function encodeAnswer({ digest, seq, time, results }: AnswerRecord): readonly Plain[] {
  return [digest, seq, time, ...results.map(encodeResult)]
}

/** Decodes an answer. Throws ECORRUPT. */
export function decodeAnswer(record: MetaRecord): AnswerRecord {
  const [digest, seq, time, ...results] = record
  if (!(digest instanceof Uint8Array) || !isCount(seq) || typeof time !== 'number')
    throw corrupt('the record of an answer')
  return { digest, seq, time, results: results.map(decodeResult) }
}

/** Encodes a result as `[ref, index, count, repeated, token, base, refused]`: null for a field that is
 *  not there, and no nulls at the end. */
function encodeResult(result: OpResult): Plain {
  const { ref, index, count, repeated, token, base, refused, ...others } = result
  others satisfies Record<string, never>
  const fields: Plain[] = [
    ref === undefined ? null : digestOf(ref),
    index ?? null,
    count ?? null,
    repeated ?? null,
    token ? [token.incarnation, token.seq] : null,
    base ? [base.count, base.size] : null,
    refused ? encodeRefusal(refused) : null,
  ]
  return fields.slice(0, fields.findLastIndex((field) => field !== null) + 1)
}

function decodeResult(input: unknown): OpResult {
  if (!Array.isArray(input)) throw corrupt('the record of an answer')
  const [ref, index, count, repeated, token, base, refused]: unknown[] = input
  return {
    ...(isThere(ref) ? { ref: refOf(ref) } : {}),
    ...(isThere(index) ? { index: parseCount(index) } : {}),
    ...(isThere(count) ? { count: parseCount(count) } : {}),
    ...(repeated === true ? { repeated } : {}),
    ...(isThere(token) ? { token: tokenOf(token) } : {}),
    ...(isThere(base) ? { base: baseOf(base) } : {}),
    ...(isThere(refused) ? { refused: refusalOf(refused) } : {}),
  }
}

/** Encodes a refusal as `[key, token, ttl, owner]` of the lease that is held, or as true: the key is
 *  there. */
function encodeRefusal({ lease }: TakeRefusal): Plain {
  if (!lease) return true
  const { key, token, ttl, owner } = lease
  return [key, [token.incarnation, token.seq], ttl, owner ?? null]
}

function refusalOf(input: unknown): TakeRefusal {
  if (input === true) return { present: true }
  if (!Array.isArray(input)) throw corrupt('the record of an answer')
  const [key, token, ttl, owner]: unknown[] = input
  if (typeof key !== 'string' || (owner !== null && typeof owner !== 'string')) {
    throw corrupt('the record of an answer')
  }
  const named = owner === null ? {} : { owner }
  return { lease: { key, token: tokenOf(token), ttl: parseCount(ttl), ...named } }
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

/** The largest number of answers older than `answerMarkMs` that one group forgets. */
const marksForgottenMax = 64

/** Thrown for a transaction that an earlier group committed under the same idempotency key. It
 *  holds the answer. */
export class AnsweredBefore extends Error {
  readonly committed: Committed

  constructor(committed: Committed) {
    super('answered before')
    this.committed = committed
  }
}

/** The idempotency key of a transaction, by its name, and the digest of the transaction. */
export type Once = {
  readonly name: string
  readonly digest: Uint8Array
  /** A seq of the namespace from before the transaction was first sent. Absent: this may be the
   *  first time. */
  readonly since?: number
}

type AnsweredGroup = Pick<DraftGroup, 'meta' | 'now'>

/** Returns the answer that a transaction had before; undefined if it was not committed, or if nobody
 *  says since when it may have been. `seq`: that of the namespace before the transaction.
 *  Throws EINVAL (another transaction was committed under that key), EUNKNOWN (its answer is
 *  no longer kept, or may have been forgotten since the transaction was first sent). */
export async function answered(
  group: AnsweredGroup,
  once: Once,
  seq: number,
): Promise<AnswerRecord | undefined> {
  const answer = await answerOf(group, once.name)
  const age = answer ? group.now - answer.time : answerMarkMs
  if (!answer || age >= answerMarkMs) {
    await checkSince(group, once, { seq, forgotten: answer?.seq ?? 0 })
    return undefined
  }
  const { digest, seq: committed } = answer
  if (Buffer.compare(digest, once.digest) !== 0) {
    const message = `another transaction was committed under this idempotency key, as seq ${committed}: take a new key`
    throw new TailraceError('EINVAL', message, { failed: { state: { seq: committed } } })
  }
  if (age < answerKeptMs) return answer
  const message = `the transaction was committed as seq ${committed}, and its answer is no more kept: look at what is there`
  throw new TailraceError('EUNKNOWN', message, { failed: { state: { seq: committed } } })
}

/** Throws EUNKNOWN for a transaction without an answer that may have been committed since it was first
 *  sent: an answer that was forgotten may have been its own. `forgotten`: the seq of the answer under
 *  its key that counts as forgotten. A `since` above `seq` comes from another life of the namespace,
 *  or from before a backup was restored, and says nothing of this one. */
async function checkSince(
  { meta }: AnsweredGroup,
  { since }: Once,
  { seq, forgotten }: { readonly seq: number; readonly forgotten: number },
): Promise<void> {
  if (since === undefined) return
  const floor = Math.max(await answerFloorOf(meta), forgotten)
  if (since >= floor && since <= seq) return
  const why =
    since > seq
      ? `the namespace is at seq ${seq}, so that it was made anew or restored since then`
      : `answers up to seq ${floor} were forgotten since then`
  const message = `it is not known whether the transaction was committed after seq ${since}: ${why}; look at what is there`
  throw new TailraceError('EUNKNOWN', message, { failed: { state: { floor } } })
}

/** Returns the newest seq whose answer was forgotten; 0 if none was. Throws ECORRUPT. */
async function answerFloorOf(meta: Draft): Promise<number> {
  const record = await getRecord(meta, answerFloorPath)
  return record ? parseCount(record[0]) : 0
}

/** Notes that the answer of a seq was forgotten. */
async function raiseAnswerFloor(meta: Draft, seq: number): Promise<void> {
  if (seq > (await answerFloorOf(meta))) await setRecord(meta, answerFloorPath, [seq])
}

/** Keeps the answer of a transaction, in the draft of its own group. */
export async function keepAnswer(
  group: AnsweredGroup,
  once: Once,
  answer: Pick<AnswerRecord, 'seq' | 'results'>,
) {
  const { meta, now } = group
  const { name, digest } = once
  const before = await answerOf(group, name)
  if (before) {
    await removeRecord(meta, answerOrderEntry(before.seq))
    await raiseAnswerFloor(meta, before.seq)
  }
  await setRecord(meta, answerPath(name), encodeAnswer({ ...answer, digest, time: now }))
  await setRecord(meta, answerOrderEntry(answer.seq), [name, now])
}

/** Forgets the oldest answers above the bounds, and up to `marksForgottenMax` that are older than
 *  `answerMarkMs`, and raises the floor of answers to the newest of them. REQUIRES: called once in
 *  a group that keeps answers, after its transactions. */
export async function forgetAnswers(
  group: AnsweredGroup,
  { countMax, sizeMax } = { countMax: answersMax, sizeMax: answersSizeMax },
): Promise<void> {
  const { meta, now } = group
  let count = await countOfRecords(meta, answerOrderPath)
  let expired = 0
  let floor = 0
  for await (const name of standingNames(meta, answerOrderPath)) {
    const [answer, time] = (await getRecord(meta, [...answerOrderPath, name])) ?? []
    if (typeof answer !== 'string' || typeof time !== 'number')
      throw corrupt('the record of an answer')
    const above = count > countMax || (await sizeOfRecords(meta, answersPath)) > sizeMax
    if (!above && (now - time < answerMarkMs || ++expired > marksForgottenMax)) break
    await removeRecord(meta, answerPath(answer))
    await removeRecord(meta, [...answerOrderPath, name])
    floor = Number.parseInt(name, 16)
    count--
  }
  if (floor > 0) await raiseAnswerFloor(meta, floor)
}

async function answerOf(group: AnsweredGroup, name: string): Promise<AnswerRecord | undefined> {
  const record = await getRecord(group.meta, answerPath(name))
  return record && decodeAnswer(record)
}
