/** Blobs: a ref with the bytes it names, the limit of their size, and the one rule that cuts
 *  values and appends into them. See rfc/3. */

import type { Blobref } from './blobref.js'

/** 64 pages of 4,096 bytes less LMDB's 24-byte header: a full blob fills its pages. */
export const blobSizeMax = 64 * 4096 - 24

/** REQUIRES: `ref` is the hash of `bytes`, as a blob or, where `kind` says so, as a tree node; bytes
 *  are never written again. Engines store both alike and look at neither. */
export type Blob = {
  readonly ref: Blobref
  readonly bytes: Uint8Array
  readonly kind?: 'node'
}

/** Cuts bytes from the front at the blob limit. Empty bytes are one empty piece. The pieces are views
 *  of `bytes` and keep the whole of it in memory: who holds one for longer than the call copies. */
export function cut(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length <= blobSizeMax) return [bytes]
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += blobSizeMax) {
    pieces.push(bytes.subarray(at, Math.min(at + blobSizeMax, bytes.length)))
  }
  return pieces
}

/** The same cut over a stream: full blobs as they fill up, then the rest. An empty stream gives one
 *  empty piece. Each piece is a buffer of its own. Memory: one blob. */
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
  // The last piece is copied to its size, so that a small value does not pin a whole blob's buffer.
  if (open) yield new Uint8Array(open.subarray(0, filled))
  else if (!any) yield new Uint8Array(0)
}
