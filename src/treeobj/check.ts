/** Checks of the decoded fields of a node: each returns the field with its type, or throws
 *  ECORRUPT, which says what is wrong. See rfc/5. */

import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { TailraceError } from '../error.js'

/** Returns the ECORRUPT of a node. `what` says what the node holds. */
export function corrupt(what: string): TailraceError {
  return new TailraceError('ECORRUPT', `a tree node holds ${what}`)
}

/** Returns an array of `min` to `max` elements. */
export function asArray(input: unknown, min: number, max: number): readonly unknown[] {
  if (!Array.isArray(input) || input.length < min || input.length > max) {
    throw corrupt(`something else than an array of ${min} to ${max} elements`)
  }
  return input
}

/** Returns a safe integer from 0 to `max`. */
export function asCount(input: unknown, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof input !== 'number' || !Number.isSafeInteger(input) || input < 0 || input > max) {
    throw corrupt(`something else than an integer from 0 to ${max}`)
  }
  return input
}

/** Returns an array of `length` counts. */
export function asCounts(input: unknown, length: number): readonly number[] {
  return asArray(input, length, length).map((count) => asCount(count))
}

/** Returns the sum of counts, which must be a count too. */
export function sumOf(counts: readonly number[]): number {
  let sum = 0
  for (const count of counts) sum += count
  return asCount(sum)
}

/** Returns a string of at most `max` UTF-8 bytes. */
export function asString(input: unknown, max: number): string {
  if (typeof input !== 'string' || Buffer.byteLength(input) > max) {
    throw corrupt(`something else than a string of at most ${max} bytes`)
  }
  return input
}

/** Returns a byte string of at most `max` bytes. */
export function asBytes(input: unknown, max: number): Uint8Array {
  if (!(input instanceof Uint8Array) || input.length > max) {
    throw corrupt(`something else than at most ${max} bytes`)
  }
  return input
}

/** Returns the digests of `count` refs, one after the other. */
export function asDigests(input: unknown, count: number): Uint8Array {
  const bytes = asBytes(input, count * digestSize)
  if (bytes.length !== count * digestSize) throw corrupt(`fewer than ${count} refs`)
  return bytes
}

/** Returns the ref that a digest names. */
export function asRef(input: unknown): Blobref {
  return blobrefAt(asDigests(input, 1), 0)
}
