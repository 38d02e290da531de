/** The failure of an export: the last bytes of a stream that met damage. They tell its reader the
 *  error over any transport. See rfc/15, rule 18. Runs in browsers too.
 *  Invariant: a stream with a failure has no end, so no reader takes it for whole. */

import { parseCode, TailraceError } from '../error.js'

/** The byte that stands in the place of a record's kind. */
export const failureKind = 0xff
/** The largest size of the code and the message, in bytes. */
export const failureTextMax = 4_096
/** The last bytes of a failure. */
const mark = new Uint8Array([0x89, 0x54, 0x4c, 0x52, 0x66, 0x61, 0x69, 0x6c])
/** The size of the frame around the text, in bytes: the kind and the length before it, the length
 *  again and the mark behind it. */
const frameSize = 5 + 4 + mark.length
/** The largest size of a failure, in bytes. */
export const failureSizeMax = frameSize + failureTextMax
/** The largest length of the message, in UTF-16 units. Its JSON then fits into `failureTextMax`,
 *  unless it is full of control characters. */
const charactersMax = 1_000

/** Encodes an error as a failure. */
export function encodeFailure({ code, message }: TailraceError): Uint8Array {
  const text = new TextEncoder().encode(
    JSON.stringify([code, message.slice(0, charactersMax).toWellFormed()]),
  )
  const bytes = new Uint8Array(frameSize + text.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, failureKind)
  view.setUint32(1, text.length)
  bytes.set(text, 5)
  view.setUint32(5 + text.length, text.length)
  bytes.set(mark, 9 + text.length)
  return bytes
}

/** Returns the failure at the end of `tail`, the last bytes of a stream that was cut. Returns
 *  undefined if there is none. */
export function failureIn(tail: Uint8Array): TailraceError | undefined {
  if (tail.length < frameSize) return undefined
  if (!mark.every((byte, index) => tail[tail.length - mark.length + index] === byte))
    return undefined
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength)
  const length = view.getUint32(tail.length - mark.length - 4)
  const start = tail.length - mark.length - 4 - length
  return start < 0 ? undefined : parseFailure(tail.subarray(start, start + length))
}

/** Parses the text of a failure, which stands between the lengths. Returns undefined if it cannot
 *  be read. */
export function parseFailure(text: Uint8Array): TailraceError | undefined {
  try {
    const fields: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text))
    if (!Array.isArray(fields)) return undefined
    const [code, message] = fields as readonly unknown[]
    const known = parseCode(code)
    return known && typeof message === 'string' ? new TailraceError(known, message) : undefined
  } catch {
    return undefined
  }
}

/** The last `failureSizeMax` bytes of a stream. */
export class Tail {
  #bytes = new Uint8Array(0)

  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Takes the next chunk of the stream. */
  push(chunk: Uint8Array): void {
    const last = chunk.subarray(-failureSizeMax)
    const kept = this.#bytes.subarray(
      Math.max(0, this.#bytes.length + last.length - failureSizeMax),
    )
    const bytes = new Uint8Array(kept.length + last.length)
    bytes.set(kept, 0)
    bytes.set(last, kept.length)
    this.#bytes = bytes
  }
}
