/** The digest of a transaction, 32 bytes, which tells if two transactions under one idempotency key
 *  are the same. See rfc/20, rule 6.
 *  Invariant: it depends only on what the caller wrote. A value counts by its bytes, whether
 *  it came as text or bytes, whole or as a stream. A flag that is false counts as one that is
 *  left out. Pure. */

import type { CommitOptions } from '../api/kvs.js'
import type { Guard, Op } from '../api/transaction.js'
import { encode, type Plain } from '../blob/codec.js'
import { digestOf as hashOf, StreamHash } from '../blob/hash.js'
import { answerName } from '../present/answers.js'
import { type AppendArray, type ArrayBlob, arrayRef, emptyArray, pushBlob } from '../tree/array.js'
import { hashOnly } from '../tree/nodes.js'
import type { Prepared, PreparedOp } from './apply.js'
import type { PutContent } from './ops.js'

/** The largest number of bytes that are hashed at once. */
const pieceSizeMax = 1024 * 1024
/** The size up to which a transaction is hashed whole, in bytes: a call of the hash for each op takes
 *  longer than the hash. */
const wholeSizeMax = 64 * 1024

/** An op as its caller wrote it. A put from a stream has its value in the prepared op only. */
type AskedOp = Op | Omit<Extract<Op, { op: 'put' }>, 'value'>

/** A transaction as its caller wrote it. */
export type Asked = { readonly guards?: readonly Guard[]; readonly ops: readonly AskedOp[] }

/** Adds an idempotency key to a prepared transaction; without a key it stays as it is. REQUIRES:
 *  `prepared` was made of `asked`, op by op. Throws EINVAL. */
export function onceUnder(
  options: Pick<CommitOptions, 'idempotencyKey' | 'idempotencySince'>,
  asked: Asked,
  prepared: Prepared,
): Prepared {
  const { idempotencyKey, idempotencySince: since } = options
  if (idempotencyKey === undefined) return prepared
  const once = { name: answerName(idempotencyKey), digest: digestOf(asked, prepared) }
  return { ...prepared, once: since === undefined ? once : { ...once, since } }
}

function digestOf(asked: Asked, prepared: Prepared): Uint8Array {
  const pieces: Uint8Array[] = []
  let size = 0
  const take = (plain: Plain) => {
    const bytes = encode(plain)
    pieces.push(bytes)
    size += bytes.length
  }
  take([prepared.noMerge, asked.ops.length])
  for (const [index, op] of asked.ops.entries()) {
    const content = prepared.ops[index]
    take(plainOf({ ...op, value: content && digestValue(content) }))
  }
  for (const guard of asked.guards ?? []) take(plainOf(guard))
  return size <= wholeSizeMax ? hashOf(Buffer.concat(pieces, size)) : hashOfPieces(pieces)
}

function hashOfPieces(pieces: readonly Uint8Array[]): Uint8Array {
  using hash = new StreamHash()
  for (const bytes of pieces) {
    for (let at = 0; at < bytes.length; at += pieceSizeMax) {
      hash.update(bytes.subarray(at, at + pieceSizeMax))
    }
  }
  return hash.digest()
}

/** Returns a small value itself, or the ref of the array of a larger one. Undefined for an op
 *  without value. */
function digestValue(op: PreparedOp): Uint8Array | string | undefined {
  if (op.op === 'put') return contentOf(op.content)
  return op.op === 'append' ? arrayRef(arrayOf(op.blobs)) : undefined
}

function contentOf(content: PutContent): Uint8Array | string {
  switch (content.kind) {
    case 'inline':
      return content.data
    case 'blobs':
      return arrayRef(arrayOf(content.blobs))
    case 'array':
      return arrayRef(content.array)
    default:
      return content satisfies never
  }
}

function arrayOf(blobs: readonly ArrayBlob[]): AppendArray {
  let array = emptyArray
  for (const blob of blobs) array = pushBlob(hashOnly, array, blob)
  return array
}

/** Turns a value into canonical arrays: an object becomes its fields in the order of their names,
 *  without those that are undefined or false. */
function plainOf(value: unknown): Plain {
  if (value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(plainOf)
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(
      ([, field]) => field !== undefined && field !== false,
    )
    const sorted = fields.sort(([a], [b]) => (a < b ? -1 : 1))
    return sorted.map(([name, field]) => [name, plainOf(field)])
  }
  if (typeof value === 'bigint') return String(value)
  return typeof value === 'string' || typeof value === 'number' || value === true ? value : null
}
