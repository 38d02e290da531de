/** The upkeep of a store: usage, collection, forgetting, export and import. See rfc/10,
 *  rfc/14 and rfc/15. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'
import type { Scope } from './transaction.js'

/** A number of blobs and nodes, and their bytes. */
export type Amount = { readonly count: number; readonly size: number }

/** The result of a collection. */
export type Collected = {
  readonly dryRun: boolean
  /** The blobs and nodes that are in use. */
  readonly live: Amount
  /** The blobs and nodes that were not in use, and were removed (with `dryRun`: would be
   *  removed). */
  readonly freed: Amount
  /** The longest time that one step took, its wait included, in ms. */
  readonly longestStepMs: number
  /** The number of steps. */
  readonly steps: number
  /** The bytes of what was freed that were written over; absent unless something was forgotten
   *  before. */
  readonly overwritten?: number
}

/** The progress of a collection. */
export type CollectProgress = {
  readonly phase: 'mark' | 'sweep' | 'overwrite'
  /** mark: the number of refs in use; sweep: the bytes that were looked at; overwrite: the bytes
   *  that were written, told only by servers from before the journal (rfc/21). */
  readonly done: number
  /** sweep: the bytes to look at. */
  readonly total?: number
}

/** The options of `collect`. */
export type CollectOptions = {
  /** True to free nothing, and only count. */
  readonly dryRun?: boolean
  readonly signal?: AbortSignal
  /** Called from time to time. */
  readonly onProgress?: (progress: CollectProgress) => void
}

/** The result of `forget`. */
export type Forgotten = {
  /** The number of retained roots that were rewritten. */
  readonly roots: number
  /** The number of pins that were rewritten. */
  readonly pins: number
  /** The seq of the transaction that removed the key; absent where it was not in the current
   *  tree. */
  readonly seq?: number
}

/** The options of `export`. */
export type ExportOptions = Scope & {
  /** The seq or ref of a retained root. Default: the newest root. */
  readonly at?: number | string
  /** The seq or ref of an older root of the namespace: the stream then has only what is not in that
   *  root. An import of it needs a namespace with the tree of that root. */
  readonly since?: number | string
  /** True to leave out values that cannot be read, and list them in the stream: `verifyExport` and
   *  an import tell which. Everything is then read twice. */
  readonly skipDamaged?: boolean
}

/** A value, or names of a directory, that an export left out. */
export type Skipped = {
  readonly key: string
  /** The error code of the read that failed. */
  readonly code: Code
  readonly message: string
}

/** The options of `import`. */
export type ImportOptions = Scope & {
  /** True to replace the keys that the namespace has. Otherwise a namespace with keys is ENOTEMPTY,
   *  unless the stream is a difference to the tree that it has. */
  readonly replace?: boolean
}

/** The result of `import`. */
export type Imported = {
  readonly namespace: string
  readonly seq: number
  /** The ref of the root. */
  readonly ref: Blobref
  /** The number of keys. */
  readonly keys: number
  /** The bytes of the values. */
  readonly size: number
  /** The blobs and nodes that were not stored before. */
  readonly stored: Amount
  /** The blobs and nodes that the stream held. */
  readonly read: Amount
  /** The values and names that the export had left out; absent if there are none. */
  readonly skipped?: readonly Skipped[]
}

/** The size of a store, in bytes. */
export type Usage = {
  /** The disk space of the store's files, free space in them included; absent for a
   *  store in memory. */
  readonly disk?: number
  /** The size of all blobs and nodes, those that a collection would free included. */
  readonly stored: number
  /** The size of the values of all namespaces, as quotas count them: a blob that several keys share
   *  counts for each. */
  readonly live: number
  /** The size of the data that only the retained histories hold, estimated. */
  readonly history: number
}

/** The calls for the upkeep of a store. */
export interface Upkeep {
  /** Returns how much the store holds. */
  usage(options?: { readonly signal?: AbortSignal }): Promise<Usage>
  /** Frees the blobs and nodes that no root, pin or reader needs, while the store is in use. Throws
   *  EBUSY (another one is under way), ECORRUPT (nothing was freed: run fsck), ECANCELED. */
  collect(options?: CollectOptions): Promise<Collected>
  /** Removes a key, and all below it, from the current tree, from every retained root and from
   *  every pin of its namespace. The next collection frees its bytes. Throws ENOENT (none of them
   *  has it), EPERM. */
  forget(key: string, options?: Scope): Promise<Forgotten>
  /** Exports the tree of a namespace as a stream with checksums: a lost or changed byte is noticed.
   *  Throws ECOMPACTED, ENONS.
   *
   *      const stream = store.upkeep.export({ namespace: 'ci' })
   *      await pipeline(stream, createWriteStream('ci.tailrace'))
   */
  export(options?: ExportOptions): AsyncIterable<Uint8Array>
  /** Imports an exported tree into a namespace, all of it or nothing. A missing namespace is
   *  created. Throws EINVAL (the stream is no export, damaged, cut, or of a newer format),
   *  ENOTEMPTY, ECONFLICT (it is a difference to another tree), EDQUOT, ENOSPC. */
  import(chunks: AsyncIterable<Uint8Array>, options?: ImportOptions): Promise<Imported>
}
