/** Blobs: a ref with the bytes that it names, the limit of their size, and the one rule that cuts
 *  values and appends into them. See rfc/3, rules 1, 6 and 7. */

import type { Blobref } from './blobref.js'

/** The largest size of a blob, in bytes. Values are cut there, so it decides which refs a value has
 *  (rfc/3, rule 1). */
export const blobSizeMax = 64 * 4096 - 24

/** A blob or, where `kind` says so, a tree node. Engines store both in the same way,
 *  and read neither. REQUIRES: `ref` is the hash of `bytes` as that kind, and nobody
 *  writes to `bytes` again. */
export type Blob = {
  readonly ref: Blobref
  readonly bytes: Uint8Array
  readonly kind?: 'node'
  /** True to write it even where it is stored, so that the time of a write does not tell that it is
   *  (rfc/28, rule 13). */
  readonly anew?: true
}

/** Returns a blob that is written even where it is stored. */
export function writtenAnew(blob: Blob): Blob {
  return { ...blob, anew: true }
}

/** Cuts bytes from the front into pieces of `blobSizeMax`; the last one has the rest. Empty bytes
 *  give one empty piece. The pieces are views of `bytes` and keep all of it in memory: copy a piece
 *  to keep it for longer than the call. */
export function cut(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length <= blobSizeMax) return [bytes]
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += blobSizeMax) {
    pieces.push(bytes.subarray(at, Math.min(at + blobSizeMax, bytes.length)))
  }
  return pieces
}

/** Returns the bytes of all pieces, one after the other; a single piece itself. Runs in browsers. */
export function join(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces
  if (only && pieces.length === 1) return only
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

/** Cuts a stream into the pieces that `cut` makes of its bytes, and yields each one when it is
 *  full. Each piece has a buffer of its own. Memory: one blob. */
export async function* cutStream(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let open: Buffer | undefined
  let filled = 0
  let any = false
  for await (const chunk of chunks) {
    let at = 0
    while (at < chunk.length) {
      open ??= Buffer.allocUnsafeSlow(blobSizeMax)
      const step = Math.min(blobSizeMax - filled, chunk.length - at)
      open.set(chunk.subarray(at, at + step), filled)
      filled += step
      at += step
      if (filled < blobSizeMax) continue
      yield open
      any = true
      open = undefined
      filled = 0
    }
  }
  // The last piece is copied to its size, so that a small value does not keep the buffer of a full
  // blob.
  if (open) yield new Uint8Array(open.subarray(0, filled))
  else if (!any) yield new Uint8Array(0)
}
