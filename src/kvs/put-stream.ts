/** Puts from a stream: a short one is a value like any other, a long one is stored before its
 *  transaction. See rfc/6.
 *  Invariant: nothing names what a stream stored until its transaction is committed. */

import type { Blobref } from '../blob/blobref.js'
import type { Content } from '../content/content.js'
import { type AppendArray, closeArray, emptyArray, pushBlob } from '../tree/array.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'
import type { Upload } from './uploads.js'

/** A streamed put up to this size (bytes) is one transaction, as if it had come whole. */
export const putHeldMax = 1024 * 1024

/** The whole of a stream if it is at most `putHeldMax` bytes, else a stream that gives the same bytes. */
export async function holdBack(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ whole: Uint8Array } | { rest: AsyncIterable<Uint8Array> }> {
  const source = chunks[Symbol.asyncIterator]()
  const held: Uint8Array[] = []
  let size = 0
  while (size <= putHeldMax) {
    const next = await source.next()
    if (next.done) return { whole: Buffer.concat(held) }
    held.push(next.value)
    size += next.value.length
  }
  const all = async function* () {
    try {
      yield* held
      for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
    } finally {
      await source.return?.()
    }
  }
  return { rest: all() }
}

/** Stores the blobs and the pages of a value as those of an upload; durable when it resolves. Throws what the stream throws,
 *  ECANCELED, ENOSPC, EIO. */
export async function storeArray(
  content: Content,
  nodes: Nodes,
  chunks: AsyncIterable<Uint8Array>,
  { upload, signal }: { readonly upload: Upload; readonly signal: AbortSignal | undefined },
): Promise<AppendArray> {
  using writer = new NodeWriter(nodes)
  let array = emptyArray
  const note = (refs: readonly Blobref[]) => upload.note(refs)
  for await (const blob of content.upload(chunks, signal, note)) {
    array = pushBlob(writer, array, blob)
  }
  closeArray(writer, array)
  note(writer.blobs.map(({ ref }) => ref))
  await content.put(writer.blobs)
  return array
}
