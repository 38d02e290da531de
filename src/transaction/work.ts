/** What one transaction does to its group, gathered while its ops are applied. See rfc/6. */

import type { OpResult } from '../api/transaction.js'
import type { Blob } from '../blob/blob.js'
import type { Key } from '../tree/key.js'

/** Only the transaction that is being applied writes it; dropped where it fails. */
export type Work = {
  /** The seq before the transaction. */
  readonly seq: number
  /** One for each op. */
  readonly results: OpResult[]
  /** Resolved keys that changed. */
  readonly changed: Key[]
  /** Resolved keys whose logs grew or were sealed. */
  readonly appended: Key[]
  /** Resolved keys that were written and may have a cap. */
  readonly capped: Set<Key>
  /** Leases taken, less those that went. */
  leases: number
  /** Blobs that the ops made. */
  readonly blobs: Blob[]
  /** Called once the group is durable, before its answers. They do not throw. */
  readonly effects: (() => void)[]
}

export function newWork(seq: number): Work {
  return {
    seq,
    results: [],
    changed: [],
    appended: [],
    capped: new Set(),
    leases: 0,
    blobs: [],
    effects: [],
  }
}
