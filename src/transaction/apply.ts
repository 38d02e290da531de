/** Applies a prepared transaction to the draft of its group: all guards, then the ops in order. See
 *  rfc/6, rules 1 to 3.
 *  Invariant: after a throw and the caller's rollback nothing has changed. A guard changes nothing,
 *  and sees what earlier transactions of the group did. */

import type { LeaseAction, Token } from '../api/transaction.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { newWork, type Work } from '../draft/group.js'
import { draftTreeobj } from '../draft/locate.js'
import { type Failed, TailraceError } from '../error.js'
import type { Once } from '../present/answers.js'
import { applyCollection, type UpdateCollection } from '../present/collection.js'
import { expireKeys } from '../present/expiry.js'
import { dateLeases, expireLeases, lease, refusesToken } from '../present/leases.js'
import type { PresentGroup } from '../present/present.js'
import { type ProducerGuard, refusesProducer } from '../present/producers.js'
import { type Retain, retain } from '../present/settings.js'
import type { KeyRight, Rights } from '../tree/rights.js'
import { statOf } from '../treeobj/codec.js'
import type { Key } from '../treeobj/key.js'
import type { Treeobj } from '../treeobj/treeobj.js'
import { type Adopt, adopt } from './adopt.js'
import { type CopyOp, copy, fork, move, restore } from './copy.js'
import { append, type KeyOp, mkdir, put, seal, symlink, unlink } from './ops.js'
import { putTreeobj, type TreeobjOp } from './treeobj.js'
import { capLogs, type PreparedTrim, trim } from './trim.js'

/** An op whose fields are checked. */
export type PreparedOp =
  | KeyOp
  | Adopt
  | UpdateCollection
  | CopyOp
  | TreeobjOp
  | PreparedTrim
  | Retain
  | ({ readonly op: 'lease'; readonly key: Key } & LeaseAction)
  /** Ops that only the store itself submits: see `present/present.ts`. */
  | { readonly op: 'expireLeases' }
  | { readonly op: 'dateLeases' }
  | { readonly op: 'expireKeys' }

/** A guard whose fields are checked. */
export type PreparedGuard =
  | { readonly kind: 'absent'; readonly key: Key }
  | { readonly kind: 'ref'; readonly key: Key; readonly ref: Blobref }
  | { readonly kind: 'count'; readonly key: Key; readonly count: number }
  | { readonly kind: 'seq'; readonly seq: number }
  | { readonly kind: 'lease'; readonly key: Key; readonly token: Token }
  | ({ readonly kind: 'producer' } & ProducerGuard)

/** A transaction whose guards and ops are checked, with its new blobs. */
export type Prepared = {
  readonly guards: readonly PreparedGuard[]
  readonly ops: readonly PreparedOp[]
  readonly noMerge: boolean
  /** The blobs that the ops name and that are not stored yet. */
  readonly blobs: readonly Blob[]
  /** The bytes of all values, plus `nameCost` for each name in a key. Bounds of the queue and of a
   *  group count it. */
  readonly size: number
  /** The idempotency key and the digest of the transaction, if it came with a key. */
  readonly once?: Once
  /** The rights of the caller on keys that links lead to. Absent: all. */
  readonly rights?: Rights
  /** The place of the transaction in a trace. */
  readonly trace?: string
}

/** Applies a transaction to the draft of a group; `seq` is the seq before it. Throws the codes of
 *  rfc/6, rules 2 to 4, of rfc/18, rule 1, and of its other ops, each with `failed`. Throws
 *  OpensNextGroup where the group must be committed first. */
export async function apply(
  group: PresentGroup,
  prepared: Prepared,
  seq: number,
): Promise<Readonly<Work>> {
  const { slice } = group
  for (const [index, guard] of prepared.guards.entries()) {
    group.draft.right = rightOfGuard(guard)
    const failed = await refuses(group, guard, seq)
    if (failed) {
      throw new TailraceError('ECONFLICT', failed.message, {
        failed: { guard: index, state: failed.state },
      })
    }
    if (slice.over) await slice.turn()
  }
  const work = newWork(seq)
  for (const [index, op] of prepared.ops.entries()) {
    try {
      group.draft.right = rightOf(op)
      await applyOp(group, op, work)
      if (slice.over) await slice.turn()
    } catch (error) {
      if (!(error instanceof TailraceError)) throw error
      const failed: Failed = { op: index, ...error.failed }
      throw new TailraceError(error.code, error.message, { cause: error, failed })
    }
  }
  if (work.capped) await capLogs(group, work)
  return work
}

/** Returns the right that a guard needs on its key. A producer learns only of its own appends. */
function rightOfGuard({ kind }: PreparedGuard): KeyRight {
  if (kind === 'lease') return 'lease'
  return kind === 'producer' ? 'append' : 'read'
}

/** Returns the right that an op needs on the key that it writes. */
function rightOf({ op }: PreparedOp): KeyRight {
  if (op === 'append' || op === 'lease') return op
  return 'write'
}

function applyOp(group: PresentGroup, op: PreparedOp, work: Work): Promise<void> | void {
  switch (op.op) {
    case 'put':
      return put(group, op, work)
    case 'append':
      return append(group, op, work)
    case 'seal':
      return seal(group, op.key, work)
    case 'unlink':
      return unlink(group, op, work)
    case 'mkdir':
      return mkdir(group, op.key, work)
    case 'symlink':
      return symlink(group, op, work)
    case 'lease':
      return lease(group, op, work)
    case 'expireLeases':
      return expireLeases(group, work)
    case 'dateLeases':
      return dateLeases(group, work)
    case 'expireKeys':
      return expireKeys(group, (key) =>
        unlink(group, { op: 'unlink', key, recursive: false }, work),
      )
    case 'retain':
      return retain(group, op, work)
    case 'collection':
      return applyCollection(group, op, work)
    case 'trim':
      return trim(group, op, work)
    case 'adopt':
      return adopt(group, op, work)
    case 'copy':
      return copy(group, op, work)
    case 'fork':
      return fork(group, op, work)
    case 'move':
      return move(group, op, work)
    case 'restore':
      return restore(group, op, work)
    case 'treeobj':
      return putTreeobj(group, op, work)
    default:
      return op satisfies never
  }
}

/** Judges a guard at `seq`. Undefined if it holds; otherwise the reason, and the
 *  state that was met. */
async function refuses(
  group: PresentGroup,
  guard: PreparedGuard,
  seq: number,
): Promise<{ readonly message: string; readonly state: unknown } | undefined> {
  if (guard.kind === 'seq') {
    if (guard.seq === seq) return undefined
    return { message: `the namespace is at seq ${seq}, not ${guard.seq}`, state: { seq } }
  }
  if (guard.kind === 'lease') return refusesToken(group, guard)
  if (guard.kind === 'producer') return refusesProducer(group, guard)
  // A log that is open in the draft has its count, so that most appends with a guard
  // write no nodes here.
  if (guard.kind === 'count' && (await isOpenLog(group, guard))) return undefined
  const treeobj = await draftTreeobj(group, guard.key)
  const state = stateOf(treeobj)
  switch (guard.kind) {
    case 'absent':
      return treeobj && { message: `${guard.key} is there`, state }
    case 'ref':
      if (state.ref === guard.ref) return undefined
      return { message: `${guard.key} is not at ${guard.ref}`, state }
    case 'count':
      if (state.type !== 'dir' && state.count === guard.count) return undefined
      return { message: `${guard.key} does not have ${guard.count} blobs`, state }
    default:
      return guard satisfies never
  }
}

async function isOpenLog(
  { draft }: PresentGroup,
  { key, count }: { readonly key: Key; readonly count: number },
): Promise<boolean> {
  const { entry } = await draft.locate(key, { follow: true })
  return entry?.type === 'log' && entry.array.count === count
}

function stateOf(treeobj: Treeobj | undefined) {
  if (!treeobj) return { absent: true, count: 0 } as const
  const { type, ref, count, size, sealed } = statOf(treeobj, 0)
  return { type, ref, count, size, sealed } as const
}
