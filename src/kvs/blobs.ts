/** Blobs by their own names, for those who build treeobjs themselves. See rfc/6, rule 34. */

import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, parseBlobref } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'
import type { Content } from '../content/content.js'
import { canceled, TailraceError } from '../error.js'
import type { Uploads } from './uploads.js'

type Signal = { readonly signal?: AbortSignal }

/** A copy. Throws EINVAL, ECORRUPT, EIO. */
export async function loadBlob(
  content: Content,
  ref: string,
  { signal }: Signal = {},
): Promise<Uint8Array | undefined> {
  if (signal?.aborted) throw canceled(signal)
  const bytes = await content.find(parseBlobref(ref))
  return bytes && Buffer.from(bytes)
}

/** Durable when it resolves, and kept for a while without a name (`lentMs`). Throws E2BIG, ENOSPC, EIO. */
export async function storeBlob(
  { content, uploads }: { readonly content: Content; readonly uploads: Uploads },
  bytes: Uint8Array,
  { signal }: Signal = {},
): Promise<Blobref> {
  if (!(bytes instanceof Uint8Array)) throw new TailraceError('EINVAL', 'a blob is bytes')
  if (bytes.length > blobSizeMax) {
    throw new TailraceError('E2BIG', `a blob has at most ${blobSizeMax} bytes: put it as a value`)
  }
  if (signal?.aborted) throw canceled(signal)
  const own = Buffer.from(bytes)
  const ref = hashBlob(own)
  uploads.lend(ref) // before it is there, or a collection between takes it
  await content.put([{ ref, bytes: own }])
  return ref
}
