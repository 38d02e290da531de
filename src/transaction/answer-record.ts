/** What `meta` keeps of a transaction that was committed under an idempotency key:
 *  `answers/HASH`, where HASH is of the key, and `answer-order/SEQ`, which names it. See rfc/6. */

import { idempotencyKeyRule, idempotencyKeySizeMax, type OpResult } from '../api/transaction.js'
import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import { hashBlob } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import type { MetaPath, MetaRecord } from './meta.js'

export const answersPath = ['answers'] as const
export const answerOrderPath = ['answer-order'] as const
const seqDigits = 14

export type Answer = {
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
  const ref = hashBlob(Buffer.from(key, 'utf8'))
  return ref.slice(ref.indexOf('-') + 1)
}

export function answerPath(name: string): MetaPath {
  return [...answersPath, name]
}

/** Names are in the order of the seqs; one transaction has one answer. */
export function answerOrderEntry(seq: number): MetaPath {
  return [...answerOrderPath, seq.toString(16).padStart(seqDigits, '0')]
}

/** `[digest, seq, time, result, …]`. */
export function encodeAnswer({ digest, seq, time, results }: Answer): readonly Plain[] {
  return [digest, seq, time, ...results.map(encodeResult)]
}

/** Throws ECORRUPT. */
export function decodeAnswer(record: MetaRecord): Answer {
  const [digest, seq, time, ...results] = record
  if (!(digest instanceof Uint8Array) || !isCount(seq) || typeof time !== 'number') throw corrupt()
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
  if (!Array.isArray(input)) throw corrupt()
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
  if (!(field instanceof Uint8Array) || field.length !== digestSize) throw corrupt()
  return blobrefAt(field, 0)
}

function tokenOf(field: unknown): { incarnation: string; seq: number } {
  const [incarnation, seq]: unknown[] = Array.isArray(field) ? field : []
  if (typeof incarnation !== 'string') throw corrupt()
  return { incarnation, seq: parseCount(seq) }
}

function baseOf(field: unknown): { count: number; size: number } {
  const [count, size]: unknown[] = Array.isArray(field) ? field : []
  return { count: parseCount(count), size: parseCount(size) }
}

function parseCount(value: unknown): number {
  if (!isCount(value)) throw corrupt()
  return value
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function corrupt(): TailraceError {
  return new TailraceError('ECORRUPT', 'the record of an answer cannot be read: restore a copy')
}
