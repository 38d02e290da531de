/** One transaction on a draft: guards, then ops in order. What each op meets is rfc/6.
 *  Invariant: a transaction that throws has changed nothing once the caller has rolled back. */

import { type Failed, TailraceError } from '../error.js'
import { adopt } from './adopt.js'
import { capLogs } from './cap.js'
import { applyCollection } from './collection-record.js'
import { copy, fork, move, restore } from './copy.js'
import { expireKeys } from './expire.js'
import type { Group } from './group.js'
import { refuses } from './guard.js'
import { dateLeases, expireLeases, lease } from './leases.js'
import { append, mkdir, put, seal, symlink, unlink } from './ops.js'
import { retain } from './retain.js'
import type { Prepared, PreparedOp } from './transaction.js'
import { putTreeobj } from './treeobj-put.js'
import { trim } from './trim.js'
import { newWork, type Work } from './work.js'

/** `seq` is the seq before this transaction. Throws ECONFLICT, EISDIR, ENOTDIR, EEXIST, ENOTEMPTY,
 *  ESEALED, ELOOP, EPERM, ENOENT, each with `failed`; OpensNextGroup. */
export async function apply(
  group: Group,
  prepared: Prepared,
  seq: number,
): Promise<Readonly<Work>> {
  const { slice } = group
  for (const [index, guard] of prepared.guards.entries()) {
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
      await applyOp(group, op, work)
      if (slice.over) await slice.turn()
    } catch (error) {
      if (!(error instanceof TailraceError)) throw error
      const failed: Failed = { op: index, ...error.failed }
      throw new TailraceError(error.code, error.message, { cause: error, failed })
    }
  }
  if (work.capped.size > 0) await capLogs(group, work)
  return work
}

function applyOp(group: Group, op: PreparedOp, work: Work): Promise<void> | void {
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
      return expireKeys(group, work)
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
