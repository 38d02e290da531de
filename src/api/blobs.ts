/** Calls on single blobs, by their blobrefs. See rfc/3 and rfc/18, rule 11. */

import type { Blobref } from '../blob/blobref.js'

type Signal = { readonly signal?: AbortSignal }

/** The blobs of a store. */
export interface Blobs {
  /** Loads a blob, no matter which key or namespace refers to it; so only the owner may. Undefined
   *  where it is not stored. Throws EINVAL (`ref` is no blobref). */
  load(ref: string, options?: Signal): Promise<Uint8Array | undefined>
  /** Stores a blob of at most `blobSizeMax` bytes, and returns its ref for a later `treeobj` op. No
   *  key names it yet, so it is kept for an hour. Throws E2BIG, ENOSPC, EIO. */
  store(bytes: Uint8Array, options?: Signal): Promise<Blobref>
}
