/** `Range: bytes=…` (RFC 9110, 14) of a value or of a job's output. See rfc/12.
 *  Invariant: one range is honoured; several, another unit, or one that cannot be read is as if none had been
 *  asked for, as HTTP wants it. */

import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { errorBodyOf } from '../wire/status.js'
import type { Reply } from './app.js'

const rangeNotSatisfiable = 416
/** The last byte of a range of a stream, for clients that must name one. */
const followedEndMin = 2 ** 40

/** Bytes `from` up to, not including, `to`. */
export type ByteRange = { readonly from: number; readonly to: number }

/** Undefined: the whole value. `unsatisfiable`: the range begins behind its end (416). */
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

/** First byte of a range of a stream that goes on and has `size` bytes now. Takes `bytes=A-`, `bytes=-N`, or an end
 *  that is as good as none (RFC 8673). Throws EINVAL. */
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

/** `If-Range`: the range counts only while the key is at that ref; otherwise the whole comes. */
export function rangeHolds(ifRange: string | undefined, ref: string): boolean {
  return ifRange === undefined || ifRange.trim() === `"${ref}"`
}

/** A number, or nothing. */
function isOffset(text: string): boolean {
  return /^[0-9]{0,16}$/.test(text)
}

export function refuseRange(reply: Reply, size: number): Reply {
  const message = `there are ${size} bytes: ask for a range that begins in them`
  const error = errorBodyOf(new TailraceError('EINVAL', message))
  return reply
    .code(rangeNotSatisfiable)
    .headers({ 'content-range': `bytes */${size}`, 'tailrace-error': error.code })
    .type('application/json; charset=utf-8')
    .send(JSON.stringify({ error }))
}
