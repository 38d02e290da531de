/** What keeps a store in shape: usage, collection, forgetting, export and import. See rfc/10, rfc/14, rfc/15. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'
import type { Scope } from './transaction.js'

/** A number of blobs and nodes, and their bytes. */
export type Amount = { readonly count: number; readonly size: number }

/** What a collection did. */
export type Collected = {
  readonly dryRun: boolean
  /** In use. */
  readonly live: Amount
  /** Not in use, and removed (with `dryRun`: would be). */
  readonly freed: Amount
  /** The longest time that one step kept others waiting, ms. */
  readonly longestStepMs: number
  readonly steps: number
  /** Bytes of freed pages that were written over, where something was forgotten before. */
  readonly overwritten?: number
}

/** How far a collection has come. */
export type CollectProgress = {
  readonly phase: 'mark' | 'sweep' | 'overwrite'
  /** mark: refs that are in use; sweep: bytes looked at; overwrite: bytes written. */
  readonly done: number
  /** sweep: bytes to look at. */
  readonly total?: number
}

/** How a collection is run. */
export type CollectOptions = {
  /** Only counts. */
  readonly dryRun?: boolean
  readonly signal?: AbortSignal
  /** Called now and then. */
  readonly onProgress?: (progress: CollectProgress) => void
}

/** What forgetting a key did. */
export type Forgotten = {
  /** Retained roots that were rewritten. */
  readonly roots: number
  /** Pins that were rewritten. */
  readonly pins: number
  /** The seq of the transaction that removed the key, where it was still there. */
  readonly seq?: number
}

/** What is exported. */
export type ExportOptions = Scope & {
  /** Seq or ref of a retained root. Default: the newest. */
  readonly at?: number | string
  /** Only what is not in this root of the namespace (its seq or ref). Importing it wants that root's tree. */
  readonly since?: number | string
  /** Leaves out values that cannot be read, and lists them in the stream: `verifyExport` and an import tell which. All is
   *  read twice. */
  readonly skipDamaged?: boolean
}

/** A value, or names of a directory, that an export left out. */
export type Skipped = {
  readonly key: string
  /** Why. */
  readonly code: Code
  readonly message: string
}

/** How an import is done. */
export type ImportOptions = Scope & {
  /** Takes the place of the keys that the namespace has. Otherwise a namespace with keys is ENOTEMPTY, unless the stream is
   *  a difference to just what it has. */
  readonly replace?: boolean
}

/** What an import did. */
export type Imported = {
  readonly namespace: string
  readonly seq: number
  /** The root's ref. */
  readonly ref: Blobref
  readonly keys: number
  /** Bytes of the values. */
  readonly size: number
  /** Blobs and nodes that were new. */
  readonly stored: Amount
  /** All that the stream held. */
  readonly read: Amount
  /** What the export had left out. */
  readonly skipped?: readonly Skipped[]
}

/** How much a store holds, bytes. */
export type Usage = {
  /** Disk space of the store's files, free space within them included; absent for a store in memory. */
  readonly disk?: number
  /** All blobs and nodes, those that a collection would free included. */
  readonly stored: number
  /** The values of all namespaces, as quotas count them: what several keys share counts for each. */
  readonly live: number
  /** Data that only the retained histories hold, estimated. */
  readonly history: number
}

/** What keeps a store in shape. */
export interface Upkeep {
  /** How much the store holds, and of what. */
  usage(options?: { readonly signal?: AbortSignal }): Promise<Usage>
  /** Frees what no root, pin or reader needs, while the store is used. Throws EBUSY (one is under way), ECORRUPT (then
   *  nothing was freed: see fsck), ECANCELED. */
  collect(options?: CollectOptions): Promise<Collected>
  /** Takes a key, and all below it, out of the current tree, of every retained root and of every pin of its namespace. Its
   *  bytes go with the next collection. Throws ENOENT (none of them has it), EPERM. */
  forget(key: string, options?: Scope): Promise<Forgotten>
  /** The tree of a namespace as a stream that proves itself: a byte that is lost or changed is noticed. Throws ECOMPACTED,
   *  ENONS.
   *
   *      await pipeline(store.upkeep.export({ namespace: 'ci' }), createWriteStream('ci.tailrace'))
   */
  export(options?: ExportOptions): AsyncIterable<Uint8Array>
  /** Puts an exported tree into a namespace, which is made if it is missing: all of it or nothing. Throws EINVAL (no export,
   *  damaged, cut, or of a newer format), ENOTEMPTY, ECONFLICT (a difference to another tree), EDQUOT, ENOSPC. */
  import(chunks: AsyncIterable<Uint8Array>, options?: ImportOptions): Promise<Imported>
}
