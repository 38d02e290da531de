/** Stores a stream of any length as blobs, with only a few of them in memory. See rfc/3, rule 8.
 *  Invariant: a blob that was yielded is durable. At most one batch is being stored while the next
 *  one fills, and none is once the generator has ended. */

import { abortable } from '../base/abort.js'
import { type Blob, cutStream } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'

/** One blob of an upload. `size` in bytes; `more` on all but the last. */
export type Uploaded = {
  readonly ref: Blobref
  readonly size: number
  readonly more: boolean
}

/** The number of blobs of one put (2 MiB). Two batches are in memory, so that an upload of any
 *  length takes at most 4 MiB and the blob that fills. */
export const uploadBatchCount = 8
/** The number of uploads above which each put has `smallBatchCount` blobs only, so that many
 *  stalled uploads hold little memory. */
export const uploadsMany = 16
/** The number of blobs of one put beside many uploads. */
export const smallBatchCount = 2

/** Cuts and hashes `chunks`, stores the blobs with `put` in batches of `batchCount()`, and yields
 *  them in order once they are durable. Throws what `chunks` and `put` throw, ECANCELED. REQUIRES:
 *  `put` resolves when its blobs are durable. */
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
      // A full batch waits for the next blob, since only the last blob has no `more`.
      if (filling.length >= batchCount()) {
        const stored = storing
        if (stored) yield* await stored
        storing = store(filling, false)
        // It is awaited above or below. Without this, a failure until then would be unhandled.
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
