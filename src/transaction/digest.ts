/** What a transaction is, in 32 bytes: two that a caller wrote alike have one digest. See rfc/20.
 *  Invariant: it depends on what was asked for alone: a value counts by its bytes, streamed or whole, text or
 *  not, and a flag that is false is one that is not there. Pure. */

import type { Guard, Op } from '../api/transaction.js'
import { encode, type Plain } from '../blob/codec.js'
import { StreamHash } from '../blob/hash.js'
import { answerName } from '../present/answers.js'
import { type AppendArray, type ArrayBlob, arrayRef, emptyArray, pushBlob } from '../tree/array.js'
import { hashOnly } from '../tree/nodes.js'
import type { Prepared, PreparedOp } from './apply.js'
import type { PutContent } from './ops.js'

/** Bytes that are hashed at once (rfc/3). */
const pieceSizeMax = 1024 * 1024

/** An op but for its value, which the prepared one has. */
export type AskedOp = Op | Omit<Extract<Op, { op: 'put' }>, 'value'>

export type Asked = { readonly guards?: readonly Guard[]; readonly ops: readonly AskedOp[] }

/** A transaction that is done once under an idempotency key. REQUIRES: `prepared` was made of what was
 *  asked, op by op. Throws EINVAL. */
export function onceUnder(key: string | undefined, asked: Asked, prepared: Prepared): Prepared {
  if (key === undefined) return prepared
  return { ...prepared, once: { name: answerName(key), digest: digestOf(asked, prepared) } }
}

function digestOf(asked: Asked, prepared: Prepared): Uint8Array {
  using hash = new StreamHash()
  const take = (plain: Plain) => {
    const bytes = encode(plain)
    for (let at = 0; at < bytes.length; at += pieceSizeMax) {
      hash.update(bytes.subarray(at, at + pieceSizeMax))
    }
  }
  take([prepared.noMerge, asked.ops.length])
  for (const [index, op] of asked.ops.entries()) {
    const content = prepared.ops[index]
    take(plainOf({ ...op, value: content && saidValue(content) }))
  }
  for (const guard of asked.guards ?? []) take(plainOf(guard))
  return hash.digest()
}

/** A small value itself, a larger one by the ref of its array. */
function saidValue(op: PreparedOp): Uint8Array | string | undefined {
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

/** Objects as their fields in order of their names. */
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
