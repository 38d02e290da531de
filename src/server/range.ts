/** Parses `Range: bytes=…` (RFC 9110, 14) of a value or of a job's output. See rfc/12, rules 19 and
 *  30.
 *  Invariant: one range is honoured. Several ranges, another unit, or a range that cannot be parsed
 *  are ignored, as HTTP requires. */

import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { errorBodyOf } from '../wire/status.js'
import type { Reply } from './app.js'

const rangeNotSatisfiable = 416
/** The smallest last byte that counts as no end of a range of a stream: some clients must name
 *  one. */
const followedEndMin = 2 ** 40

/** The bytes from `from` up to `to`, without `to`. */
export type ByteRange = { readonly from: number; readonly to: number }

/** Returns the range that a header asks for of a value of `size` bytes. Undefined: the whole value.
 *  `unsatisfiable`: the range begins behind the end (416). */
export function rangeOf(
  header: string | undefined,
  size: number,
): ByteRange | 'unsatisfiable' | undefined {
  const [unit = '', spec = '', ...more] = (header ?? '').split('=')
  const [first, last, ...others] = spec.split('-').map((text) => text.trim())
  if (unit !== 'bytes' || first === undefined || last === undefined) return undefined
  if (more.length + others.length > 0 || !isOffset(first) || !isOffset(last)) return undefined
  if (first === '' && last === '') return undefined
  if (first === '') {
    const length = Math.min(Number(last), size)
    return length === 0 ? 'unsatisfiable' : { from: size - length, to: size }
  }
  const from = Number(first)
  if (last !== '' && Number(last) < from) return undefined
  if (from >= size) return 'unsatisfiable'
  return { from, to: last === '' ? size : Math.min(Number(last) + 1, size) }
}

/** Returns the first byte of a range of a stream that goes on and has `size` bytes now. Accepts
 *  `bytes=A-`, `bytes=-N`, and a range with a last byte of at least `followedEndMin` (RFC 8673).
 *  Throws EINVAL. */
export function followedFrom(header: string, size: number): number {
  const [first, last] = header.startsWith('bytes=') ? header.slice('bytes='.length).split('-') : []
  const open = last?.trim() === '' || Number(last) >= followedEndMin
  const range = open && first?.trim() !== '' ? { from: Number(first) } : rangeOf(header, size)
  const isSuffix = first?.trim() === '' && typeof range === 'object'
  if (!(open || isSuffix) || typeof range !== 'object' || !(range.from <= size)) {
    throw invalid(
      `what is followed has ranges bytes=A- and bytes=-N, that begin in its ${size} bytes: say ?from for others`,
    )
  }
  return range.from
}

/** True if the range of a request counts: without `If-Range`, or if the key is still at the ref
 *  that it names. Otherwise the whole value is sent. */
export function rangeHolds(ifRange: string | undefined, ref: string): boolean {
  return ifRange === undefined || ifRange.trim() === `"${ref}"`
}

/** True for a number, and for an empty text. */
function isOffset(text: string): boolean {
  return /^[0-9]{0,16}$/.test(text)
}

/** Answers 416, with the size of the value in bytes. */
export function refuseRange(reply: Reply, size: number): Reply {
  const message = `there are ${size} bytes: ask for a range that begins in them`
  const error = errorBodyOf(new TailraceError('EINVAL', message))
  return reply
    .code(rangeNotSatisfiable)
    .headers({ 'content-range': `bytes */${size}`, 'tailrace-error': error.code })
    .type('application/json; charset=utf-8')
    .send(JSON.stringify({ error }))
}
