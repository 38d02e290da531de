/** The format of an export: magic and version, a header, one record for each blob and node, and an
 *  end with counts and a digest of all bytes before it. See rfc/15, rule 3. This file encodes and
 *  decodes the parts; `parse.ts` reads a stream.
 *  Invariant: one tree, from one base, at one time has one stream. */

import type { Skipped } from '../api/upkeep.js'
import { decode, encode } from '../blob/codec.js'
import { parseCode, TailraceError } from '../error.js'
import { decodeTreeobj, encodeTreeobj } from '../treeobj/codec.js'
import { isNamespaceName } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'

/** The first bytes of an export. Like those of PNG they have a byte above 127, line ends that text
 *  modes change, and an end of file for old shells. */
export const magic = Buffer.from([0x89, 0x54, 0x4c, 0x52, 0x0d, 0x0a, 0x1a, 0x0a])
/** The newest version of the format. Only a stream that lists entries left out is of version 2. All
 *  others are of version 1, which older programs read. */
export const formatVersion = 2
/** The largest header, in bytes. */
export const headerSizeMax = 1_024
/** The size of the digest, in bytes. */
export const digestBytes = 32

/** The kind of the end. */
export const endKind = 0
/** The kind of a record of a blob. */
export const blobKind = 1
/** The kind of a record of a node. */
export const nodeKind = 2
/** The kind of an entry that was left out. These stand before all records, and are not counted with
 *  them. */
export const skippedKind = 3
/** The largest entry that was left out, encoded, in bytes. */
export const skippedSizeMax = 8_192
/** The largest number of entries left out that a stream lists. */
export const skippedMax = 10_000
/** The largest message of an entry that was left out, in UTF-16 units. A longer one is cut. */
const skippedMessageMax = 500

/** A tree, with the seq of its root. */
type ExportedTree = { readonly seq: number; readonly data: Dir }

/** The header of an export. */
export type Header = ExportedTree & {
  readonly namespace: string
  /** The time of the root by the wall clock, in ms since 1970. */
  readonly time: number
  /** The tree that the importer must have, if the export is a difference. */
  readonly base: ExportedTree | undefined
  /** The entries that were left out, because they could not be read. */
  readonly skipped?: readonly Skipped[]
}

/** The number of records, and the sum of their sizes in bytes. */
export type Totals = { readonly count: number; readonly size: number }

/** Encodes all that stands before the first record. */
export function encodeHead(header: Header): Buffer {
  const { namespace, seq, time, data, base, skipped = [] } = header
  const from = base ? [base.seq, encodeTreeobj(base.data)] : null
  const bytes = encode([namespace, seq, time, encodeTreeobj(data), from])
  const head = Buffer.allocUnsafe(magic.length + 5)
  head.set(magic, 0)
  head.writeUInt8(skipped.length > 0 ? 2 : 1, magic.length)
  head.writeUInt32BE(bytes.length, magic.length + 1)
  return Buffer.concat([head, bytes, ...skipped.map(encodeSkipped)])
}

/** Decodes a header, without the entries left out. Throws ECORRUPT. */
export function decodeHeader(bytes: Uint8Array): Header {
  const fields = decode(bytes)
  if (!Array.isArray(fields) || fields.length !== 5) throw unreadable()
  const [namespace, seq, time, data, base] = fields as readonly unknown[]
  if (typeof namespace !== 'string' || !isNamespaceName(namespace)) throw unreadable()
  if (!Number.isFinite(time)) throw unreadable()
  const side = { namespace, time: Number(time), ...decodeSide(seq, data) }
  if (base === null) return { ...side, base: undefined }
  if (!Array.isArray(base) || base.length !== 2) throw unreadable()
  return { ...side, base: decodeSide(base[0], base[1]) }
}

function encodeSkipped({ key, code, message }: Skipped): Buffer {
  const bytes = encode([key, code, message.slice(0, skippedMessageMax).toWellFormed()])
  const head = Buffer.allocUnsafe(5)
  head.writeUInt8(skippedKind, 0)
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

/** Decodes an entry that was left out. Throws ECORRUPT. */
export function decodeSkipped(bytes: Uint8Array): Skipped {
  const fields = decode(bytes)
  const [key, code, message]: unknown[] = Array.isArray(fields) ? fields : []
  const known = parseCode(code)
  if (typeof key === 'string' && known && typeof message === 'string')
    return { key, code: known, message }
  throw new TailraceError('ECORRUPT', 'what the export left out cannot be read')
}

/** Reads the entries left out from the first bytes of a stream. Returns undefined if more bytes are
 *  needed.
 *  REQUIRES: the bytes are those of an export. Throws ECORRUPT. */
export function skippedAtHead(bytes: Buffer): readonly Skipped[] | undefined {
  const start = magic.length + 5
  if (bytes.length < start) return undefined
  if (bytes[magic.length] === 1) return []
  const skipped: Skipped[] = []
  for (let at = start + bytes.readUInt32BE(start - 4); ; ) {
    if (bytes.length <= at) return undefined
    if (bytes[at] !== skippedKind) return skipped
    if (bytes.length < at + 5) return undefined
    const end = at + 5 + bytes.readUInt32BE(at + 1)
    if (bytes.length < end) return undefined
    skipped.push(decodeSkipped(bytes.subarray(at + 5, end)))
    at = end
  }
}

/** Encodes the head of a record, which stands before the bytes of a blob or node. */
export function encodeRecordHead(kind: 'blob' | 'node', length: number): Buffer {
  const head = Buffer.allocUnsafe(5)
  head.writeUInt8(kind === 'blob' ? blobKind : nodeKind, 0)
  head.writeUInt32BE(length, 1)
  return head
}

/** Encodes the end, without the digest. */
export function encodeEnd({ count, size }: Totals): Buffer {
  const end = Buffer.allocUnsafe(17)
  end.writeUInt8(endKind, 0)
  end.writeBigUInt64BE(BigInt(count), 1)
  end.writeBigUInt64BE(BigInt(size), 9)
  return end
}

function decodeSide(seq: unknown, data: unknown): ExportedTree {
  if (!Number.isSafeInteger(seq) || Number(seq) < 0) throw unreadable()
  const dir = decodeTreeobj(data)
  if (dir.type !== 'dir') throw unreadable()
  return { seq: Number(seq), data: dir }
}

function unreadable(): TailraceError {
  return new TailraceError('ECORRUPT', 'the header of the export cannot be read')
}
