/** The files of a journal: their names, and the header with which each begins. See rfc/21, rule 2.
 *  Pure. Integers are big-endian.
 *
 *  Header: magic (8 bytes), segment id u64, number of the first record u64, mark (8 bytes), zeros,
 *  seal (16 bytes): 64 bytes.
 *  Invariant: ids grow by one. Every record of a segment begins with the segment's mark, which is
 *  drawn at random, so that no stored value can look like a record. */

import { digestOf } from '../blob/hash.js'
import { markSize } from './record.js'

/** The size of a segment's header, in bytes. */
export const headerSize = 64

const magic = Buffer.from('TLRJRNL1')
const idAt = 8
const firstAt = 16
const markAt = 24
const sealAt = 48
const sealSize = 16
/** The digits of an id in the name of its file: names sort as ids do. */
const digits = 12
const pattern = /^segment-([0-9]{12})$/

/** The content of the header of a segment. */
export type SegmentHeader = {
  readonly id: number
  /** The number of the first record. */
  readonly first: number
  /** The bytes with which each record begins. */
  readonly mark: Buffer
}

/** Returns the name of a segment's file. */
export function segmentName(id: number): string {
  return `segment-${String(id).padStart(digits, '0')}`
}

/** Returns the id in the name of a segment's file. Undefined where it is not such a name. */
export function parseSegmentName(name: string): number | undefined {
  const [, id] = pattern.exec(name) ?? []
  return id === undefined ? undefined : Number(id)
}

/** Encodes a header. REQUIRES: the mark has `markSize` bytes. */
export function encodeHeader({ id, first, mark }: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(headerSize)
  bytes.set(magic, 0)
  bytes.writeBigUInt64BE(BigInt(id), idAt)
  bytes.writeBigUInt64BE(BigInt(first), firstAt)
  bytes.set(mark, markAt)
  bytes.set(digestOf(bytes.subarray(0, sealAt)).subarray(0, sealSize), sealAt)
  return bytes
}

/** Reads a header. Undefined where it is torn, damaged or none. */
export function parseHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < headerSize || !bytes.subarray(0, idAt).equals(magic)) return undefined
  const seal = digestOf(bytes.subarray(0, sealAt)).subarray(0, sealSize)
  if (!seal.equals(bytes.subarray(sealAt, headerSize))) return undefined
  return {
    id: Number(bytes.readBigUInt64BE(idAt)),
    first: Number(bytes.readBigUInt64BE(firstAt)),
    mark: Buffer.from(bytes.subarray(markAt, markAt + markSize)),
  }
}
