/** Checks of what came out of a node's bytes: each gives the value with its type, or throws ECORRUPT
 *  with what is wrong. See rfc/5. */

import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { TailraceError } from '../error.js'

export function corrupt(what: string): TailraceError {
  return new TailraceError('ECORRUPT', `a tree node holds ${what}`)
}

/** An array of `min` to `max` elements. */
export function asArray(input: unknown, min: number, max: number): readonly unknown[] {
  if (!Array.isArray(input) || input.length < min || input.length > max) {
    throw corrupt(`something else than an array of ${min} to ${max} elements`)
  }
  return input
}

/** A safe integer from 0 to `max`. */
export function asCount(input: unknown, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof input !== 'number' || !Number.isSafeInteger(input) || input < 0 || input > max) {
    throw corrupt(`something else than an integer from 0 to ${max}`)
  }
  return input
}

export function asCounts(input: unknown, length: number): readonly number[] {
  return asArray(input, length, length).map((count) => asCount(count))
}

/** The sum of counts, itself a count. */
export function sumOf(counts: readonly number[]): number {
  let sum = 0
  for (const count of counts) sum += count
  return asCount(sum)
}

/** At most `max` UTF-8 bytes. */
export function asString(input: unknown, max: number): string {
  if (typeof input !== 'string' || Buffer.byteLength(input) > max) {
    throw corrupt(`something else than a string of at most ${max} bytes`)
  }
  return input
}

/** From 0 to `max` bytes. */
export function asBytes(input: unknown, max: number): Uint8Array {
  if (!(input instanceof Uint8Array) || input.length > max) {
    throw corrupt(`something else than at most ${max} bytes`)
  }
  return input
}

/** The digests of `count` refs, one after the other. */
export function asDigests(input: unknown, count: number): Uint8Array {
  const bytes = asBytes(input, count * digestSize)
  if (bytes.length !== count * digestSize) throw corrupt(`fewer than ${count} refs`)
  return bytes
}

export function asRef(input: unknown): Blobref {
  return blobrefAt(asDigests(input, 1), 0)
}
