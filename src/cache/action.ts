/** Actions: descriptions of work, whose result the cache keeps under the hash of the description.
 *  See rfc/22, rules 1 to 4. Pure. */

import { hashBlob } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import { pack } from './packing.js'

/** The largest size of a packed action, in bytes. */
export const actionSizeMax = 1024 * 1024

/** A packed action. */
export type PackedAction = {
  /** The digest of `bytes`, 64 hex digits. */
  readonly id: string
  readonly bytes: Uint8Array
}

/** Packs an action. Throws EINVAL (a value in it has no canonical form; the message names its
 *  path), E2BIG. */
export function packAction(action: unknown): PackedAction {
  const bytes = pack(action, 'action')
  if (bytes.length > actionSizeMax) {
    const message = `the action has ${bytes.length} bytes, more than ${actionSizeMax}: name large inputs by their hash`
    throw new TailraceError('E2BIG', message)
  }
  return { id: hashBlob(bytes).slice('blake3-'.length), bytes }
}
