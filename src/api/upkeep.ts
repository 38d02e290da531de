/** What keeps a store in shape: settings of namespaces, collection, forgetting, export and import. See
 *  rfc/10, rfc/14, rfc/15. Types only. */

import type { Blobref } from '../blob/blobref.js'
import type { Code } from '../error.js'
import type { Scope } from './transaction.js'

export type Collected = {
  readonly dryRun: boolean
  /** Blobs and nodes that are in use, and their bytes. */
  readonly live: { readonly count: number; readonly size: number }
  /** Those that were not, and went (dry run: would go). */
  readonly freed: { readonly count: number; readonly size: number }
  /** The longest time that one step kept others waiting. */
  readonly longestStepMs: number
  readonly steps: number
  /** Bytes of freed pages that were written over, where something was forgotten before. */
  readonly overwritten?: number
}

export type CollectProgress = {
  readonly phase: 'mark' | 'sweep' | 'overwrite'
  /** Refs marked; bytes looked at of `total`; bytes written over. */
  readonly done: number
  readonly total?: number
}

export type CollectOptions = {
  readonly dryRun?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: CollectProgress) => void
}

export type Forgotten = {
  /** Roots and pins that were rewritten. */
  readonly roots: number
  readonly pins: number
  /** The seq of the transaction that removed the key, where it was still there. */
  readonly seq?: number
}

/** `since`: only what is not in that root of the namespace; importing it wants that root's tree. */
export type ExportOptions = Scope & {
  readonly at?: number | string
  readonly since?: number | string
  /** Values that cannot be read are left out, and listed in the stream: `verifyExport` and an import tell which. All
   *  is read twice. */
  readonly skipDamaged?: boolean
}

/** A value, or names of a directory, that an export left out, and why. */
export type Skipped = { readonly key: string; readonly code: Code; readonly message: string }

/** Into a namespace, which is made if it is missing. One that has keys: ENOTEMPTY unless `replace`, or
 *  the stream is a difference to just what it has. */
export type ImportOptions = Scope & { readonly replace?: boolean }

export type Imported = {
  readonly namespace: string
  readonly seq: number
  /** The root's ref. */
  readonly ref: Blobref
  readonly keys: number
  readonly size: number
  /** Blobs and nodes that were new, and their bytes. */
  readonly stored: { readonly count: number; readonly size: number }
  /** All that the stream held. */
  readonly read: { readonly count: number; readonly size: number }
  /** Entries that the export had left out of its namespace. */
  readonly skipped?: readonly Skipped[]
}

/** In bytes. */
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

export interface Upkeep {
  /** How much the store holds, of what. */
  usage(options?: { readonly signal?: AbortSignal }): Promise<Usage>
  /** Frees what no root, pin or reader needs, while the store is used. Throws EBUSY (one is under way),
   *  ECORRUPT (then nothing was freed: see fsck), ECANCELED. */
  collect(options?: CollectOptions): Promise<Collected>
  /** Takes a key, and all below it, out of the current tree, every retained root and every pin of its
   *  namespace. Its bytes go with the next collection. Throws ENOENT where none has it. */
  forget(key: string, options?: Scope): Promise<Forgotten>
  /** A stream that proves itself. Throws ECOMPACTED, ENONS. */
  export(options?: ExportOptions): AsyncIterable<Uint8Array>
  /** Throws EINVAL (no export, damaged, cut, or of a newer format: nothing was imported), ENOTEMPTY, ECONFLICT (a difference to
   *  another tree), EMISCONFIGURED (a newer format). */
  import(chunks: AsyncIterable<Uint8Array>, options?: ImportOptions): Promise<Imported>
}
