/** The bytes of an export, written: magic and version, a header, one record for each blob and node, an
 *  end with counts and a digest of all before it. See rfc/15. `export-parse.ts` reads them.
 *  Invariant: one tree, from one base, at one time has one stream. */

import type { Skipped } from '../api/upkeep.js'
import { decode, encode } from '../blob/codec.js'
import { parseCode, TailraceError } from '../error.js'
import { isNamespaceName } from '../tree/namespace-name.js'
import type { Dir } from '../tree/treeobj.js'
import { decodeTreeobj, encodeTreeobj } from '../tree/treeobj-codec.js'

/** As in PNG: a byte above 127, a line end that text modes change, and an end of file for old shells. */
export const magic = Buffer.from([0x89, 0x54, 0x4c, 0x52, 0x0d, 0x0a, 0x1a, 0x0a])
/** A stream that lists what was left out is of the second; others are of the first, which older versions read. */
export const formatVersion = 2
/** Bytes of the header. */
export const headerSizeMax = 1_024
export const digestBytes = 32

export const endKind = 0
export const blobKind = 1
export const nodeKind = 2
/** Before all others, and not counted with them. */
export const skippedKind = 3
/** Bytes of what one record says; places that a stream lists. */
export const skippedSizeMax = 8_192
export const skippedMax = 10_000
const skippedMessageMax = 500

/** A tree with the seq of the root that it was read from. */
export type ExportedTree = { readonly seq: number; readonly data: Dir }

export type Header = ExportedTree & {
  readonly namespace: string
  /** Of the root. Wall clock, ms since 1970. */
  readonly time: number
  /** A difference: what the importer must have. */
  readonly base: ExportedTree | undefined
  /** Entries left out, since they could not be read. */
  readonly skipped?: readonly Skipped[]
}

export type Totals = { readonly count: number; readonly size: number }

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

/** Throws ECORRUPT. */
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

/** Throws ECORRUPT. */
export function decodeSkipped(bytes: Uint8Array): Skipped {
  const fields = decode(bytes)
  const [key, code, message]: unknown[] = Array.isArray(fields) ? fields : []
  const known = parseCode(code)
  if (typeof key === 'string' && known && typeof message === 'string')
    return { key, code: known, message }
  throw new TailraceError('ECORRUPT', 'what the export left out cannot be read')
}

/** The places that were left out of a stream, from its first bytes; undefined where more of them are needed. REQUIRES: bytes of
 *  an export. Throws ECORRUPT. */
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

/** What goes before the bytes of a blob or node. */
export function encodeRecordHead(kind: 'blob' | 'node', length: number): Buffer {
  const head = Buffer.allocUnsafe(5)
  head.writeUInt8(kind === 'blob' ? blobKind : nodeKind, 0)
  head.writeUInt32BE(length, 1)
  return head
}

/** The end, without the digest. */
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
