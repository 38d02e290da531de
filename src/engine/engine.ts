/** The engine port, which every kind of storage implements: immutable blobs and moving roots, and
 *  nothing else. See rfc/4. One contract suite (test/engine/contract.ts) tests every engine.
 *  Invariant: a root is visible only when it and every blob that was committed with it are
 *  durable. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { TailraceError } from '../error.js'

/** A root of a namespace, made by one commit group. The group has the transactions with the seqs
 *  after the root before it, up to `seq`. */
export type Root = {
  readonly seq: number
  /** The ref of the root node, which names the trees `data` and `meta`. */
  readonly ref: Blobref
  /** The random id of the commit. The same commit has the same `tx` when it is sent again. */
  readonly tx: string
  /** The time of the commit, wall clock, ms since 1970. */
  readonly time: number
  /** The epoch of the leader that made it; 0 where the engine is not shared. */
  readonly epoch: number
  /** The resolved keys that the group changed; absent where there were too many to name. */
  readonly keys?: readonly string[]
  /** The bytes of the blobs that all commits of the namespace brought, this one included. Absent in
   *  roots that are older than this field. */
  readonly written?: number
  /** The bytes of the values of the tree `data`. Absent in roots that are older than this field. */
  readonly size?: number
}

/** A revision of a namespace. It grows with each root, and is opaque to all but the engine. */
export type Revision = number

/** The record of a namespace. */
export type Namespace = {
  readonly name: string
  /** The random id of this life of the name: `LIFE`, or `LIFE.COPY` in a copy of the store. A
   *  namespace that is made anew has another one. */
  readonly incarnation: string
  readonly owner: string
  /** The time of its creation, wall clock, ms since 1970. */
  readonly created: number
}

/** A namespace with its newest root. */
export type Head = {
  readonly namespace: Namespace
  readonly root: Root
  readonly revision: Revision
}

/** The part of one namespace in a commit. */
export type Part = {
  readonly namespace: string
  readonly incarnation: string
  /** The revision that the new root follows. */
  readonly expected: Revision
  readonly root: Root
  readonly blobs: readonly Blob[]
  /** The oldest seq that the namespace retains. The engine may drop older roots, except those that
   *  every engine keeps (`historyAgeMs`, `historyCount`). Absent: it may drop all except those. */
  readonly retained?: number
  /** True if the part removes more than it adds: an engine may let it go on where its disk is
   *  full for others. */
  readonly frees?: boolean
}

/** A new ref for a retained root. */
export type Rewritten = { readonly seq: number; readonly ref: Blobref }

/** The outcome of a part. */
export type Outcome =
  /** The part is durable, by this call or by an earlier one with the same `tx`. */
  | { readonly status: 'applied'; readonly revision: Revision }
  /** The part was refused. `head` is the head that is there; undefined where there is no such
   *  namespace or incarnation. */
  | { readonly status: 'conflict'; readonly head: Head | undefined }
  /** The part was not stored, or it is unknown if it was. After 'unknown' send the same part with
   *  the same `tx` again. */
  | {
      readonly status: 'unavailable'
      readonly applied: 'no' | 'unknown'
      readonly error: TailraceError
    }

/** The abilities of an engine, by which the contract suite knows what to check. */
export type Supports = {
  /** True if the store survives the end of the process. */
  readonly durable: boolean
  /** True if other processes may commit to the same namespaces. */
  readonly shared: boolean
}

/** One step of a sweep over all that is stored. */
export type SweepStep = {
  /** The position up to which earlier steps have looked; 0 at first. Opaque, but it
   *  survives a reopening. */
  readonly after: number
  /** Returns true if the blob, of `size` bytes, is in use. Called once for each blob of the step.
   *  REQUIRES: a blob that it once called dead becomes live only by a put, a commit or a question of
   *  the engine. */
  readonly live: (ref: Blobref, size: number) => boolean
  /** The time (monotonic, ms) since which puts are spared. */
  readonly sparedSince: number
  /** True if the step only looks, and frees nothing. */
  readonly dryRun: boolean
  /** True if the step leaves no byte of a blob that is not live in the files, nor of one that an
   *  earlier step freed. Otherwise some may stay, though nobody can read them. */
  readonly thorough?: boolean
}

/** The result of a step. */
export type Swept = {
  /** The `after` of the next step. Undefined once all that was there when the collection
   *  began was looked at. */
  readonly next: number | undefined
  /** The number of bytes that were looked at. */
  readonly scanned: number
  /** The blobs that were freed, and their bytes. */
  readonly freed: { readonly count: number; readonly size: number }
  /** The bytes of files that a thorough step wrote over. Absent: none. */
  readonly overwritten?: number
}

/** A collection that is under way until it is disposed of. It spares every ref that is put,
 *  asked for or committed since its beginning, stored before or not, so that no commit loses a
 *  blob that it names. */
export interface Collection extends Disposable {
  /** Looks at a bounded part of the store (`sweepStepSize`, `sweepRefsMax`), and deletes the blobs
   *  that are neither live nor spared: durably when it resolves, and beside commits in parts that
   *  share their writes. It may spare more. Throws EBUSY (a step is under way), ECORRUPT, ENOSPC,
   *  EIO, ECLOSED (the engine or the collection); then a part of them may be deleted. */
  step(step: SweepStep): Promise<Swept>
  /** Gives what steps have freed back to the disk, and makes durable what they wrote over. Without
   *  it, a crash may bring dead bytes back to the files, never to readers. REQUIRES: no step is under
   *  way. Throws EIO, ECLOSED. */
  settle(): Promise<void>
  /** Resolves once work beside the steps, such as a mark, may take time of the event loop: in a later
   *  turn of it, and while commits come, once the next one is on its way to the disk. Resolves to the
   *  time in ms that the work may take before it calls again. */
  turn(): Promise<number>
}

/** Damage of one of the engine's own files. */
export type FileDamage = {
  readonly message: string
  /** The blobs and nodes that it concerns, though they may be whole. */
  readonly refs: readonly Blobref[]
}

/** The bytes of records after which a step ends. */
export const sweepStepSize = 4 * 1024 * 1024
/** The number of refs after which a step ends: each ref that is dropped costs a page of an
 *  index. */
export const sweepRefsMax = 1_024

/** A store of blobs and roots. */
export interface Engine extends AsyncDisposable {
  readonly supports: Supports
  /** The random id of this store, made with it. */
  readonly storeId: string

  /** Stores blobs that no root names yet, such as those of values that are larger than a commit.
   *  They are durable when it resolves. Throws ENOSPC, EIO, ECLOSED. */
  put(blobs: readonly Blob[]): Promise<void>

  /** Returns the bytes of each ref, undefined where it is not stored. They are not verified: the
   *  content store does that. Nobody writes to these buffers again. Throws EIO, ECLOSED. */
  load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]>

  /** Takes a buffer back that `load` returned: a later `load` may use it again. REQUIRES: nobody has
   *  it any more. Undefined where `load` returns buffers that others have, too. */
  recycle?(bytes: Uint8Array): void

  /** Stores the blobs of each part and moves its root, in one durable write. Returns the outcomes
   *  in the order of the parts. REQUIRES: a namespace has one commit under way at a time, and its
   *  seqs grow. Throws EINVAL (two parts of one namespace), ECLOSED. */
  commit(parts: readonly Part[]): Promise<Outcome[]>

  /** Tells for each ref if it is stored. A ref that was asked for counts as put now, so that a
   *  collection spares it. Throws EIO, ECLOSED. */
  has(refs: readonly Blobref[]): Promise<boolean[]>

  /** The bytes of all blobs that are stored, garbage included. */
  readonly stored: number

  /** The error for which nothing can be written until the store is opened again. Undefined while writes
   *  work. */
  readonly broken?: TailraceError | undefined

  /** Returns the bytes that the store's files take on the disk, free space in them included.
   *  Undefined where there are no files, or they cannot be found any more. Throws ECLOSED. */
  diskSize(): Promise<number | undefined>

  /** Looks for damage of the engine's own files that a load of every blob does not find. With `repair`
   *  what can be done is done: what is whole is stored anew, and refs whose bytes are gone are
   *  forgotten. REQUIRES: nobody else uses the engine. Throws ENOSPC, EIO, ECLOSED. */
  checkFiles(options: { readonly repair: boolean }): Promise<readonly FileDamage[]>

  /** Begins a collection. Throws EBUSY while another one is under way, ECLOSED. */
  beginCollection(): Collection

  /** Returns the head of a namespace. Undefined where there is no such namespace. Throws
   *  ECLOSED. */
  root(namespace: string): Promise<Head | undefined>
  /** Returns the heads of all namespaces. Throws ECLOSED. */
  roots(): Promise<Head[]>

  /** Makes a namespace with its first root, and the blobs of that root. Throws EEXIST,
   *  ENOSPC, EIO, ECLOSED. */
  create(namespace: Namespace, root: Root, blobs: readonly Blob[]): Promise<Head>
  /** Removes a namespace with its roots; its blobs stay. Throws ENONS, EIO, ECLOSED. */
  remove(namespace: string, incarnation: string): Promise<void>

  /** Lists the roots with a seq above `after` that the engine still has, oldest first and without a
   *  gap, up to the head of when it began: at least those of the last `historyAgeMs`, and the last
   *  `historyCount`. Throws ENONS, ECOMPACTED (trimming overtook a slow caller), ECLOSED. */
  history(namespace: string, after: number): AsyncIterable<Root>

  /** Gives retained roots other refs, the head included, in one durable write with the blobs of
   *  these. REQUIRES: no commit of the namespace is under way. Throws ENONS, EINVAL (no such root),
   *  ENOSPC, EIO, ECLOSED. */
  rewrite(
    namespace: string,
    incarnation: string,
    roots: readonly Rewritten[],
    blobs: readonly Blob[],
  ): Promise<void>

  /** Yields once a root has moved, or a namespace was made or removed, since the last yield. The
   *  caller looks which it was. Several moves may be one yield. Ends with the signal; throws
   *  ECLOSED at a close. */
  watch(signal: AbortSignal): AsyncIterable<void>

  /** Takes or renews the leadership of a namespace, the right to commit to it, for `ttlMs`. Returns its epoch,
   *  which grows with each new owner. Throws EBUSY while another owner holds it, ENONS,
   *  ENOSPC, EIO, ECLOSED. */
  lead(namespace: string, owner: string, ttlMs: number): Promise<number>
}

/** Returns the life that an incarnation belongs to, which a store and its copies have in common.
 *  Use it to compare what a store keeps of its own past, and the whole incarnation for what others
 *  bring (rfc/4, rule 30). */
export function lifeOf(incarnation: string): string {
  return incarnation.split('.', 1)[0] ?? incarnation
}

/** The time, in ms, for which every engine keeps a root at least. */
export const historyAgeMs = 3_600_000
/** The number of last roots that every engine keeps at least. */
export const historyCount = 4_096
