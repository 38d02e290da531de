/** Prepares a transaction for the commit loop: parses its keys, cuts its values into blobs, hashes
 *  them, and checks its bounds. See rfc/6.
 *  Invariant: a Prepared is valid in itself; what can still fail depends on the tree. Its bytes are
 *  copies, or were given away by the caller, so that nobody writes to bytes that are being
 *  stored. */

import { reservedNamespaces } from '../api/namespace.js'
import {
  type Capping,
  type Expiry,
  type Guard,
  guardsMax,
  keyNamesMax,
  type Op,
  opsMax,
  type Transaction,
  type TrimTo,
  transactionSizeMax,
} from '../api/transaction.js'
import { type Blob, cut } from '../blob/blob.js'
import { parseBlobref } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import { parseCap } from '../present/cap.js'
import { parseExpiry } from '../present/expiry.js'
import { parseLeaseAction, parseToken } from '../present/leases.js'
import { parseProducer, parseProducerGuard } from '../present/producers.js'
import type { AppendArray, ArrayBlob } from '../tree/array.js'
import { parseKey, parseNamespaceName } from '../treeobj/key.js'
import { inlineSizeMax } from '../treeobj/treeobj.js'
import type { Prepared, PreparedGuard, PreparedOp } from './apply.js'
import { countOf, prepareCopy } from './copy.js'
import type { PutContent } from './ops.js'
import { prepareTreeobj } from './treeobj.js'

/** The smallest value, in bytes, that is not copied if it was given away. A smaller one may be a
 *  part of a larger buffer, which a cache would then keep. */
const transferSizeMin = 16 * 1024

/** The size that a name in a key counts as, in bytes, since each may be a directory to make
 *  (rfc/17, rule 3). */
const nameCost = 64

/** Prepares what a caller wrote. `transfer`: the caller gave its bytes away. Throws EINVAL and
 *  E2BIG; `failed` names the op or guard. */
export function prepare(
  transaction: Transaction,
  options: { readonly transfer: boolean } = { transfer: false },
): Prepared {
  const guards = transaction.guards ?? []
  if (transaction.ops.length > opsMax) {
    throw new TailraceError('E2BIG', `a transaction has at most ${opsMax} ops`)
  }
  if (guards.length > guardsMax) {
    throw new TailraceError('E2BIG', `a transaction has at most ${guardsMax} guards`)
  }
  const blobs: Blob[] = []
  let size = 0
  const take = (value: string | Uint8Array): Uint8Array => {
    const bytes = bytesOf(value, options)
    size += bytes.length
    if (size > transactionSizeMax) {
      throw new TailraceError(
        'E2BIG',
        `the values of a transaction have at most ${transactionSizeMax} bytes: split it, or put the value as a stream`,
      )
    }
    return bytes
  }
  let names = 0
  const prepared = transaction.ops.map((op, index) => {
    const one = named({ op: index }, () => prepareOp(op, take, blobs))
    names += namesIn(op.key)
    return one
  })
  if (names > keyNamesMax) {
    const message = `the keys of a transaction have at most ${keyNamesMax} names together: split it`
    throw new TailraceError('E2BIG', message)
  }
  return {
    guards: guards.map((guard, index) => named({ guard: index }, () => prepareGuard(guard))),
    ops: prepared,
    noMerge: transaction.noMerge ?? false,
    blobs,
    size: size + names * nameCost,
  }
}

/** Prepares a put of an array whose blobs and nodes are stored already. Throws EINVAL. */
export function prepareStoredPut(
  key: string,
  array: AppendArray,
  options: Expiry &
    Capping & {
      readonly contentType: string | undefined
      readonly guards: readonly Guard[]
    },
): Prepared {
  const { contentType, guards } = options
  const put = { op: 'put', key: parseKey(key), contentType, ...lifeOf(options) } as const
  return {
    guards: guards.map((guard, index) => named({ guard: index }, () => prepareGuard(guard))),
    ops: [{ ...put, content: { kind: 'array', array } }],
    noMerge: false,
    blobs: [],
    size: 0,
  }
}

/** Makes a transaction of one op of the store's own. `alone`: its group has no other, so that it
 *  meets the state of the newest root. */
export function ownTransaction(
  op: PreparedOp,
  { alone }: { readonly alone: boolean } = { alone: false },
): Prepared {
  return { ...emptyTransaction, ops: [op], noMerge: alone }
}

/** A transaction that changes nothing. It takes a seq, and makes a root. */
export const emptyTransaction: Prepared = {
  guards: [],
  ops: [],
  noMerge: false,
  blobs: [],
  size: 0,
}

/** Lists the other namespaces that a transaction on `namespace` moves keys from. Throws
 *  EPERM (reserved). */
export function namespacesTakenFrom(prepared: Prepared, namespace: string): readonly string[] {
  const others = new Set<string>()
  for (const [index, op] of prepared.ops.entries()) {
    if (op.op !== 'move' || op.namespace === undefined || op.namespace === namespace) continue
    if (reservedNamespaces.has(op.namespace)) {
      const message = `the namespace ${op.namespace} is reserved: its keys are not moved away`
      throw new TailraceError('EPERM', message, { failed: { op: index } })
    }
    others.add(op.namespace)
  }
  return [...others]
}

function prepareOp(
  op: Op,
  take: (value: string | Uint8Array) => Uint8Array,
  blobs: Blob[],
): PreparedOp {
  const key = parseKey(op.key)
  switch (op.op) {
    case 'put': {
      const bytes = take(op.value)
      const contentType = op.contentType === undefined ? undefined : contentTypeOf(op.contentType)
      const content: PutContent =
        bytes.length <= inlineSizeMax
          ? { kind: 'inline', data: bytes }
          : { kind: 'blobs', blobs: blobsOf(bytes, blobs) }
      return { op: 'put', key, content, contentType, ...lifeOf(op) }
    }
    case 'append': {
      const appended = blobsOf(take(op.value), blobs)
      const producer = op.producer && parseProducer(op.producer)
      const { seal = false } = op
      return { op: 'append', key, blobs: appended, seal, producer, ...lifeOf(op) }
    }
    case 'seal':
    case 'mkdir':
      return { op: op.op, key }
    case 'lease':
      return { op: 'lease', key, ...parseLeaseAction(op) }
    case 'trim':
      return { op: 'trim', key, to: trimToOf(op) }
    case 'unlink':
      return { op: 'unlink', key, recursive: op.recursive ?? false }
    case 'symlink': {
      const namespace = op.namespace === undefined ? undefined : parseNamespaceName(op.namespace)
      return { op: 'symlink', key, target: parseKey(op.target), namespace }
    }
    case 'copy':
    case 'fork':
    case 'move':
    case 'restore':
      return prepareCopy(op)
    case 'treeobj':
      return prepareTreeobj(op)
    default:
      throw new TailraceError('EINVAL', `there is no op ${JSON.stringify((op as Op).op)}`)
  }
}

/** Parses the expiry and the cap of a value. Throws EINVAL. */
function lifeOf(op: Expiry & Capping) {
  return { expiry: parseExpiry(op), cap: parseCap(op.cap) }
}

function trimToOf(op: TrimTo): TrimTo {
  if ('before' in op) return { before: countOf(op.before, 'before') }
  if ('keep' in op) return { keep: countOf(op.keep, 'keep') }
  if ('keepBytes' in op) return { keepBytes: countOf(op.keepBytes, 'keepBytes') }
  if ('olderThan' in op) return { olderThan: countOf(op.olderThan, 'olderThan') }
  throw new TailraceError('EINVAL', 'a trim says before, keep, keepBytes or olderThan')
}

function prepareGuard(guard: Guard): PreparedGuard {
  if ('seq' in guard) return { kind: 'seq', seq: countOf(guard.seq, 'seq') }
  if ('lease' in guard) {
    return { kind: 'lease', key: parseKey(guard.lease), token: parseToken(guard.token) }
  }
  const key = parseKey(guard.key)
  if ('producer' in guard) return { kind: 'producer', ...parseProducerGuard(guard, key) }
  if ('absent' in guard) return { kind: 'absent', key }
  if ('ref' in guard) return { kind: 'ref', key, ref: parseBlobref(guard.ref) }
  if ('count' in guard) return { kind: 'count', key, count: countOf(guard.count, 'count') }
  throw new TailraceError('EINVAL', 'a guard is one of absent, ref, count, seq, lease and producer')
}

/** Cuts the value of one append into blobs, all but the last marked `more`, and adds
 *  them to `blobs`. */
function blobsOf(bytes: Uint8Array, blobs: Blob[]): ArrayBlob[] {
  const pieces = cut(bytes)
  return pieces.map((piece, index) => {
    const ref = hashBlob(piece)
    blobs.push({ ref, bytes: piece })
    return { ref, size: piece.length, more: index < pieces.length - 1 }
  })
}

/** Returns the bytes of a value: a copy, unless the caller gave its buffer away. Throws EINVAL. */
function bytesOf(
  value: string | Uint8Array,
  { transfer }: { readonly transfer: boolean },
): Uint8Array {
  if (value instanceof Uint8Array) {
    const whole = value.buffer.byteLength < 2 * value.length
    return transfer && whole && value.length >= transferSizeMin ? value : Buffer.from(value)
  }
  if (typeof value !== 'string') throw new TailraceError('EINVAL', 'a value is text or bytes')
  if (!value.isWellFormed()) {
    throw new TailraceError('EINVAL', 'the text is not well formed (a lone surrogate): send bytes')
  }
  return Buffer.from(value, 'utf8')
}

/** Checks a content type: 1 to 255 visible ASCII characters, as a header of HTTP needs
 *  them. Throws EINVAL. */
function contentTypeOf(text: string): string {
  if (text.length > 255 || !/^[\x20-\x7e]+$/.test(text)) {
    throw new TailraceError('EINVAL', 'a content type is 1 to 255 visible ASCII characters')
  }
  return text
}

/** Counts the names in a key. */
function namesIn(key: string): number {
  let count = 1
  for (let at = key.indexOf('/'); at >= 0; at = key.indexOf('/', at + 1)) count++
  return count
}

/** Adds `failed` to an error that `act` throws. */
function named<T>(failed: { op?: number; guard?: number }, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof TailraceError)) throw error
    throw new TailraceError(error.code, error.message, { cause: error, failed })
  }
}

const freeing: ReadonlySet<PreparedOp['op']> = new Set<PreparedOp['op']>([
  'collection',
  'dateLeases',
  'expireKeys',
  'expireLeases',
  'retain',
  'trim',
  'unlink',
])

/** Returns true if a transaction counts as a delete (rfc/17, rule 7), which a full disk does not
 *  refuse. */
export function frees({ ops, blobs }: Prepared): boolean {
  return blobs.length === 0 && ops.length > 0 && ops.every(({ op }) => freeing.has(op))
}
