/** Actions: descriptions of work, whose result the cache keeps under the hash of the description.
 *  See rfc/22, rules 1 to 4. Pure. */

import { hashBlob } from '../blob/hash.js'
import { packedActionOf } from './packing.js'

/** A packed action. */
export type PackedAction = {
  /** The digest of `bytes`, 64 hex digits. */
  readonly id: string
  readonly bytes: Uint8Array
}

/** Returns the action of packed bytes. */
export function actionOf(bytes: Uint8Array): PackedAction {
  return { id: hashBlob(bytes).slice('blake3-'.length), bytes }
}

/** Packs an action. Throws EINVAL (a value in it has no canonical form; the message names its
 *  path), E2BIG. */
export function packAction(action: unknown): PackedAction {
  return actionOf(packedActionOf(action))
}
