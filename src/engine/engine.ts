/** The port that every kind of storage implements: immutable blobs and moving roots, and nothing
 *  else. See rfc/4. One contract suite (test/engine/contract.ts) tests every engine.
 *  Invariant: a root is visible only when it and every blob committed with it are durable. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { TailraceError } from '../error.js'

/** The one thing that moves. `seq` counts the namespace's transactions; one root is one commit
 *  group, which holds the transactions after the root before it, up to `seq`. */
export type Root = {
  readonly seq: number
  /** The root node, which names the trees `data` and `meta`. */
  readonly ref: Blobref
  /** Random id of the commit. The same commit sent again carries the same `tx`. */
  readonly tx: string
  /** Wall clock, ms since 1970. */
  readonly time: number
  /** Epoch of the committer's lease; 0 where the engine is not shared. */
  readonly epoch: number
  /** The resolved keys that the group changed; absent where there were too many to name. */
  readonly keys?: readonly string[]
  /** Bytes of the blobs that all commits of the namespace brought, this one included, and of the values of
   *  its tree: what the history holds is judged by them. Absent in roots made before they were kept. */
  readonly written?: number
  readonly size?: number
}

/** Opaque to all but the engine; grows with each root of a namespace. */
export type Revision = number

export type Namespace = {
  readonly name: string
  /** Random id of this life of the name: a namespace made anew has another. `LIFE`, or in a copy of the
   *  store `LIFE.COPY`. */
  readonly incarnation: string
  readonly owner: string
  /** Wall clock, ms since 1970. */
  readonly created: number
}

/** A namespace with its newest root. */
export type Head = {
  readonly namespace: Namespace
  readonly root: Root
  readonly revision: Revision
}

/** One namespace's part of a commit. */
export type Part = {
  readonly namespace: string
  readonly incarnation: string
  /** The revision that the new root follows. */
  readonly expected: Revision
  readonly root: Root
  readonly blobs: readonly Blob[]
  /** The oldest seq that the namespace retains: older roots may go, but for those that every engine
   *  keeps (`historyAgeMs`, `historyCount`). Absent: it retains none but those. */
  readonly retained?: number
  /** It removes more than it adds: an engine may let it go on where its disk is full for others. */
  readonly frees?: boolean
}

/** The other ref that a retained root gets. */
export type Rewritten = { readonly seq: number; readonly ref: Blobref }

export type Outcome =
  /** Durable. Also the answer to a `tx` that was applied before. */
  | { readonly status: 'applied'; readonly revision: Revision }
  /** Nothing was stored; `head` is what is there (undefined: no such namespace or incarnation). */
  | { readonly status: 'conflict'; readonly head: Head | undefined }
  /** Not stored, or not known to be. After 'unknown' send the same part with the same `tx` again. */
  | {
      readonly status: 'unavailable'
      readonly applied: 'no' | 'unknown'
      readonly error: TailraceError
    }

/** What an engine can, so that the contract suite knows what to check. */
export type Supports = {
  /** Survives the end of the process. */
  readonly durable: boolean
  /** Other processes may commit to the same namespaces. */
  readonly shared: boolean
}

/** One look at a part of what is stored. */
export type SweepStep = {
  /** Where to go on; 0 at first. Opaque, but it survives a reopen: what it has passed need not be looked
   *  at again. */
  readonly after: number
  /** Is the blob (of `size` bytes) in use? Asked once for each blob of the step, in one turn of the event
   *  loop. */
  readonly live: (ref: Blobref, size: number) => boolean
  /** Puts since then (monotonic clock, ms) are spared. */
  readonly sparedSince: number
  /** Looks, and frees nothing. */
  readonly dryRun: boolean
  /** Frees every blob that is not live, whatever has to move for it. Otherwise a small one may stay while
   *  most of what it is stored with is live. */
  readonly thorough?: boolean
}

export type Swept = {
  /** Undefined: all that was there when the collection began has been looked at. */
  readonly next: number | undefined
  /** Bytes that were looked at. */
  readonly scanned: number
  readonly freed: { readonly count: number; readonly size: number }
}

/** A collection that is under way. From its beginning on, every ref that is put or committed, stored
 *  already or not, is spared by it: a commit never loses what it relies on. Ends when disposed of. */
export interface Collection extends Disposable {
  /** Deletes blobs that are not live, were not put since `sparedSince`, and not put or committed since the
   *  collection began; a bounded part of the store at a time (`sweepStepSize`), in one durable write.
   *  May spare more. Throws EBUSY (a step is under way), ECORRUPT, ENOSPC, EIO, ECLOSED (the engine, or the
   *  collection); then nothing of the step was freed. */
  step(step: SweepStep): Promise<Swept>
}

export type OverwriteOptions = {
  readonly signal: AbortSignal
  /** Bytes written so far. */
  readonly onProgress?: (done: number) => void
}

/** Bytes of records that one step looks at, at most, but for one record. */
export const sweepStepSize = 4 * 1024 * 1024
/** Refs that one step looks at, at most, but for those of one record: each that goes costs a page of an
 *  index. */
export const sweepRefsMax = 1_024

export interface Engine extends AsyncDisposable {
  readonly supports: Supports
  /** Random id of this store, made with it. */
  readonly storeId: string

  /** Stores blobs, durable when it resolves, not yet rooted: for values larger than a commit.
   *  Throws ENOSPC, EIO, ECLOSED. */
  put(blobs: readonly Blob[]): Promise<void>

  /** The bytes of each ref, undefined where it is not there. Not verified: content does that.
   *  Each is a buffer that nobody writes again. Throws EIO, ECLOSED. */
  load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]>

  /** Stores each part's blobs and moves its root, in one durable write, or says why not. Outcomes
   *  stand in the order of the parts. At most one part for each namespace (EINVAL). REQUIRES: one
   *  commit at a time per namespace, seqs that grow. Throws EINVAL, ECLOSED. */
  commit(parts: readonly Part[]): Promise<Outcome[]>

  /** Which refs are there. Those that are count as put now: a collection spares them. */
  has(refs: readonly Blobref[]): Promise<boolean[]>

  /** Bytes of the blobs that are stored, garbage included. */
  readonly stored: number

  /** Bytes that the store's files take on their disk, free space within them included; undefined where there
   *  are none, or they cannot be found any more. Throws ECLOSED. */
  diskSize(): Promise<number | undefined>

  /** Throws EBUSY while one is under way, ECLOSED. */
  beginCollection(): Collection

  /** Writes over what deleted blobs leave where they were stored, if they leave anything; gives how many bytes
   *  it wrote. Throws ECANCELED, EBUSY, EIO, ECLOSED. */
  overwriteFreed(options: OverwriteOptions): Promise<number>

  root(namespace: string): Promise<Head | undefined>
  roots(): Promise<Head[]>

  /** Makes a namespace with its first root (and that root's blobs). Throws EEXIST, ENOSPC, EIO. */
  create(namespace: Namespace, root: Root, blobs: readonly Blob[]): Promise<Head>
  /** Removes a namespace with its roots; its blobs stay. Throws ENONS, EIO. */
  remove(namespace: string, incarnation: string): Promise<void>

  /** The retained roots with a seq above `after`, oldest first, without a gap between them: at
   *  least those of the last `historyAgeMs` and the last `historyCount`. Ends at the head that was
   *  there at first. Throws ENONS, ECOMPACTED where trimming overtook a slow caller, ECLOSED. */
  history(namespace: string, after: number): AsyncIterable<Root>

  /** Gives retained roots (the head too) other refs, in one durable write with their blobs: what was
   *  forgotten is then in none of them. REQUIRES: no commit of the namespace is under way. Throws ENONS,
   *  EINVAL (no such root), ENOSPC, EIO. */
  rewrite(
    namespace: string,
    incarnation: string,
    roots: readonly Rewritten[],
    blobs: readonly Blob[],
  ): Promise<void>

  /** Yields whenever some root moved since the last yield; the caller looks which. Ends with the
   *  signal, with ECLOSED at a close. One that falls behind misses wakes, never the last one. */
  watch(signal: AbortSignal): AsyncIterable<void>

  /** Takes or renews the right to commit to a namespace: an epoch that grows with each new owner.
   *  Throws EBUSY while another owner holds it, ENONS, ENOSPC, EIO, ECLOSED. */
  lease(namespace: string, owner: string, ttlMs: number): Promise<number>
}

/** The life that an incarnation belongs to: the same in a store and in the copies of it. What a store keeps
 *  of its own past is compared by this, what others bring by the whole incarnation. */
export function lifeOf(incarnation: string): string {
  return incarnation.split('.', 1)[0] ?? incarnation
}

/** Roots are kept at least this long, and at least this many of them, whatever else is deleted. */
export const historyAgeMs = 3_600_000
export const historyCount = 4_096
