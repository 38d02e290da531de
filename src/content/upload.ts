/** Stores a stream of any length as blobs, with a few of them in memory. See rfc/3.
 *  Invariant: what was yielded is durable; one batch is on its way to the engine while the next
 *  fills, and nothing is when the generator has ended. */

import { abortable } from '../base/abortable.js'
import { type Blob, cutStream } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'

/** One blob of an upload. `size` in bytes; `more` on all but the last. */
export type Uploaded = {
  readonly ref: Blobref
  readonly size: number
  readonly more: boolean
}

/** Blobs of one put: 2 MiB. Two batches are in memory, so an upload takes at most 4 MiB and the
 *  blob that fills, whatever its length. */
export const uploadBatchCount = 8
/** Beside more uploads than this each put has `smallBatchCount` blobs, so that many which stand still hold little. */
export const uploadsMany = 16
export const smallBatchCount = 2

/** Cuts, hashes and stores `chunks` by `put`, so many blobs at once as `batchCount` says. REQUIRES: `put` resolves when the
 *  blobs are durable. */
export async function* upload(
  chunks: AsyncIterable<Uint8Array>,
  put: (blobs: readonly Blob[]) => Promise<void>,
  signal?: AbortSignal,
  batchCount: () => number = () => uploadBatchCount,
): AsyncGenerator<Uploaded, void, undefined> {
  let storing: Promise<Uploaded[]> | undefined
  let filling: Blob[] = []
  const store = async (blobs: readonly Blob[], last: boolean): Promise<Uploaded[]> => {
    await put(blobs)
    return blobs.map(({ ref, bytes }, index) => ({
      ref,
      size: bytes.length,
      more: !last || index < blobs.length - 1,
    }))
  }
  try {
    for await (const bytes of cutStream(abortable(chunks, signal))) {
      // A full batch waits for the next blob, so that the last one is known to be the last.
      if (filling.length >= batchCount()) {
        const stored = storing
        if (stored) yield* await stored
        storing = store(filling, false)
        // It is awaited above or below; until then its failure is not unhandled.
        storing.catch(() => {})
        filling = []
      }
      filling.push({ ref: hashBlob(bytes), bytes })
    }
    if (storing) yield* await storing
    storing = store(filling, true)
    yield* await storing
  } finally {
    await Promise.allSettled([storing])
  }
}
