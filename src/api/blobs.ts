/** Blobs by their own names. See rfc/3 and rfc/18, rule 11. */

import type { Blobref } from '../blob/blobref.js'

type Signal = { readonly signal?: AbortSignal }

/** Blobs of a store, whoever refers to them. */
export interface Blobs {
  /** The bytes of a blob, whoever refers to it. For the owner only. Undefined where it is not there. Throws EINVAL
   *  (`ref` is no blobref). */
  load(ref: string, options?: Signal): Promise<Uint8Array | undefined>
  /** Stores a blob of at most `blobSizeMax` bytes that nothing names yet, for a `treeobj` op to come. It is kept for
   *  an hour. Throws E2BIG, ENOSPC, EIO. */
  store(bytes: Uint8Array, options?: Signal): Promise<Blobref>
}
