/** The bytes of a journal's records: what one transaction stored, blobs and changes of tables. See
 *  rfc/21, rules 3 to 5. Pure. Integers are big-endian.
 *
 *  Layout: mark (8 bytes, random, of the segment), seal (16 bytes), head size u32, body size u32,
 *  number u64, count u32; then the head: count × (digest 32 bytes, length u32), and the changes, each
 *  table u8, key size u16, value size u32 (`removed`: the key is removed), key, value; then the body:
 *  the bytes of the blobs, in the order of the head.
 *  Invariant: a head whose seal is right is whole. The body is checked by the digests of its blobs. */

import { corrupt } from '../base/stored.js'
import type { Blob } from '../blob/blob.js'
import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import { digestOf } from '../blob/hash.js'

/** The size of a segment's mark, in bytes. */
export const markSize = 8
/** The size of the fixed part of a record, in bytes. */
export const fixedSize = 44
/** The largest size of a head and of a body, in bytes. */
export const recordSizeMax = 1024 * 1024 * 1024

const sealSize = 16
const sealAt = markSize
const headSizeAt = sealAt + sealSize
const bodySizeAt = headSizeAt + 4
const numberAt = bodySizeAt + 4
const countAt = numberAt + 8
const refSize = digestSize + 4
const changeHeadSize = 7
/** The value size of a change that removes its key. */
const removed = 0xffff_ffff
/** The largest piece that one call of the hash takes, in bytes (rfc/3, rule 5). */
const hashedMax = 1024 * 1024

/** A change of a table: the key's new value, or its removal where `value` is undefined. */
export type Change = {
  /** The number of the table, 0 to 255. Its owner gives the numbers. */
  readonly table: number
  /** At most 65,535 bytes. */
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** A blob in a record. `offset` is from the beginning of the body, in bytes. */
export type RecordBlob = { readonly ref: Blobref; readonly offset: number; readonly length: number }

/** The fixed part of a record. Sizes in bytes. */
export type Fixed = {
  readonly headSize: number
  readonly bodySize: number
  /** The number of the record: one above that of the record before it. */
  readonly number: number
  readonly count: number
}

/** The content of the head of a record. */
export type RecordHead = {
  readonly number: number
  readonly blobs: readonly RecordBlob[]
  readonly changes: readonly Change[]
  /** The size of the whole record, in bytes. */
  readonly size: number
}

/** The parts of a record. */
export type RecordParts = {
  readonly mark: Uint8Array
  readonly number: number
  readonly blobs: readonly Blob[]
  readonly changes: readonly Change[]
}

/** Returns the fixed part and the head of a record; the bytes of its blobs follow them as they are.
 *  REQUIRES: the sizes are within the bounds of their fields. */
export function encodeHead({ mark, number, blobs, changes }: RecordParts): Buffer {
  const changesSize = changes.reduce((sum, change) => sum + sizeOf(change), 0)
  const headSize = blobs.length * refSize + changesSize
  const bytes = Buffer.allocUnsafeSlow(fixedSize + headSize)
  let bodySize = 0
  let at = fixedSize
  for (const { ref, bytes: content } of blobs) {
    writeDigest(ref, bytes, at)
    bytes.writeUInt32BE(content.length, at + digestSize)
    bodySize += content.length
    at += refSize
  }
  for (const { table, key, value } of changes) {
    bytes.writeUInt8(table, at)
    bytes.writeUInt16BE(key.length, at + 1)
    bytes.writeUInt32BE(value ? value.length : removed, at + 3)
    bytes.set(key, at + changeHeadSize)
    if (value) bytes.set(value, at + changeHeadSize + key.length)
    at += changeHeadSize + key.length + (value?.length ?? 0)
  }
  bytes.set(mark, 0)
  bytes.writeUInt32BE(headSize, headSizeAt)
  bytes.writeUInt32BE(bodySize, bodySizeAt)
  bytes.writeBigUInt64BE(BigInt(number), numberAt)
  bytes.writeUInt32BE(blobs.length, countAt)
  sealOf(bytes).copy(bytes, sealAt)
  return bytes
}

/** Reads the fixed part of a record. Undefined where the bytes do not begin with the mark, or name
 *  sizes or a number that no record has. REQUIRES: `fixedSize` bytes. */
export function parseFixed(bytes: Buffer, mark: Buffer): Fixed | undefined {
  if (mark.compare(bytes, 0, markSize) !== 0) return undefined
  const headSize = bytes.readUInt32BE(headSizeAt)
  const bodySize = bytes.readUInt32BE(bodySizeAt)
  const number = Number(bytes.readBigUInt64BE(numberAt))
  const count = bytes.readUInt32BE(countAt)
  if (headSize > recordSizeMax || bodySize > recordSizeMax || count * refSize > headSize)
    return undefined
  if (!Number.isSafeInteger(number)) return undefined
  return { headSize, bodySize, number, count }
}

/** Reads a head with its fixed part. Undefined where the seal is not right: the head is torn or
 *  damaged. Throws ECORRUPT (a right seal over a head that no version writes). */
export function parseHead(bytes: Buffer, fixed: Fixed): RecordHead | undefined {
  const { headSize, bodySize, number, count } = fixed
  if (bytes.length !== fixedSize + headSize) return undefined
  if (!sealOf(bytes).equals(bytes.subarray(sealAt, sealAt + sealSize))) return undefined
  const blobs: RecordBlob[] = []
  let offset = 0
  let at = fixedSize
  for (let index = 0; index < count; index++) {
    const length = bytes.readUInt32BE(at + digestSize)
    blobs.push({ ref: blobrefAt(bytes, at), offset, length })
    offset += length
    at += refSize
  }
  if (offset !== bodySize) throw corrupt('a record of the journal')
  const changes: Change[] = []
  while (at < bytes.length) {
    const change = changeAt(bytes, at)
    changes.push(change)
    at += sizeOf(change)
  }
  return { number, blobs, changes, size: bytes.length + bodySize }
}

function changeAt(bytes: Buffer, at: number): Change {
  if (at + changeHeadSize > bytes.length) throw corrupt('a record of the journal')
  const keySize = bytes.readUInt16BE(at + 1)
  const valueSize = bytes.readUInt32BE(at + 3)
  const valueAt = at + changeHeadSize + keySize
  const end = valueSize === removed ? valueAt : valueAt + valueSize
  if (end > bytes.length) throw corrupt('a record of the journal')
  return {
    table: bytes.readUInt8(at),
    key: bytes.subarray(at + changeHeadSize, valueAt),
    value: valueSize === removed ? undefined : bytes.subarray(valueAt, end),
  }
}

function sizeOf({ key, value }: Change): number {
  return changeHeadSize + key.length + (value?.length ?? 0)
}

/** Returns the seal of a head: the first half of the digest of all but the seal itself. A head
 *  above `hashedMax` is hashed in pieces, and the digests of these once more. */
function sealOf(head: Buffer): Buffer {
  const [mark, rest] = [head.subarray(0, sealAt), head.subarray(headSizeAt)]
  const digests: Buffer[] = [mark]
  if (rest.length <= hashedMax - markSize) {
    digests.push(rest)
  } else {
    for (let at = 0; at < rest.length; at += hashedMax) {
      digests.push(digestOf(rest.subarray(at, at + hashedMax)))
    }
  }
  return digestOf(Buffer.concat(digests)).subarray(0, sealSize)
}
