/** Encodes and decodes the keys and values of the durable engine's tables. See rfc/4, rules 16 to
 *  19. Pure. Integers are big-endian, so that keys sort as their numbers do.
 *  The parsers throw ECORRUPT. */

import { corrupt, isCount } from '../base/stored.js'
import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import { decode, encode, type Plain } from '../blob/codec.js'
import type { Place, Point } from '../journal/place.js'
import type { Namespace, Root } from './engine.js'

/** A root as it is stored: `ordinal` counts the namespace's roots, densely. */
export type StoredRoot = { readonly ordinal: number; readonly root: Root }

/** A namespace as it is stored: `id` is its number in the keys of its roots. */
export type StoredNamespace = {
  readonly id: number
  readonly epoch: number
  readonly namespace: Namespace
}

/** Returns the key of a ref in the index: its digest. */
export function indexKey(ref: Blobref): Buffer {
  const key = Buffer.allocUnsafe(digestSize)
  writeDigest(ref, key, 0)
  return key
}

/** Encodes a place, the value of the index. */
export function encodePlace(place: Place): Buffer {
  const value = Buffer.allocUnsafe(16)
  writeUint64(value, place.segment, 0)
  value.writeUInt32BE(place.offset, 8)
  value.writeUInt32BE(place.length, 12)
  return value
}

/** Parses a place. */
export function parsePlace(value: Buffer): Place {
  if (value.length !== 16) throw corrupt('a stored index entry')
  return {
    segment: parseUint64(value, 0),
    offset: value.readUInt32BE(8),
    length: value.readUInt32BE(12),
  }
}

/** Encodes a point of the journal, the watermark of the tables. */
export function encodePosition({ segment, offset, number }: Point): Buffer {
  return encode([segment, offset, number])
}

/** Parses a point of the journal. */
export function parsePosition(value: Uint8Array): Point {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('a stored watermark')
  const [segment, offset, number] = fields as readonly unknown[]
  if (!isCount(segment) || !isCount(offset) || !isCount(number)) throw corrupt('a stored watermark')
  return { segment, offset, number }
}

/** Returns a number as a key, so that keys sort as their numbers do. */
export function uint64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  writeUint64(bytes, value, 0)
  return bytes
}

/** Returns the key of a root. */
export function rootKey(namespaceId: number, seq: number): Buffer {
  const key = Buffer.allocUnsafe(12)
  key.writeUInt32BE(namespaceId, 0)
  writeUint64(key, seq, 4)
  return key
}

/** Encodes a root. */
export function encodeRoot({ ordinal, root }: StoredRoot): Buffer {
  const digest = indexKey(root.ref)
  const keys: Plain = root.keys ?? null
  const { written = null, size = null } = root
  return encode([ordinal, root.seq, digest, root.tx, root.time, root.epoch, keys, written, size])
}

/** Parses a root. Older records end before `written` and `size`. */
export function parseRoot(value: Uint8Array): StoredRoot {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('a stored root')
  const [ordinal, seq, digest, tx, time, epoch, keys, written = null, size = null] =
    fields as readonly unknown[]
  if (!isCount(ordinal) || !isCount(seq) || typeof tx !== 'string') throw corrupt('a stored root')
  if (typeof time !== 'number' || !isCount(epoch)) throw corrupt('a stored root')
  if (!(digest instanceof Uint8Array) || digest.length !== digestSize)
    throw corrupt('a stored root')
  const root = {
    ...{ seq, ref: blobrefAt(digest, 0), tx, time, epoch },
    ...(written === null ? {} : { written: countOf(written) }),
    ...(size === null ? {} : { size: countOf(size) }),
  }
  if (keys === null) return { ordinal, root }
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string'))
    throw corrupt('a stored root')
  return { ordinal, root: { ...root, keys } }
}

function countOf(value: unknown): number {
  if (!isCount(value)) throw corrupt('a stored root')
  return value
}

/** Returns the key of a namespace. */
export function namespaceKey(name: string): Buffer {
  return Buffer.from(name)
}

/** Returns the key that marks a removed namespace whose roots are still to be dropped. It begins
 *  with a NUL, as no name does. */
export function deadKey(id: number): Buffer {
  const key = Buffer.alloc(5)
  key.writeUInt32BE(id, 1)
  return key
}

/** Parses the id of a removed namespace. Undefined where the key is a name. */
export function parseDeadKey(key: Buffer): number | undefined {
  return key[0] === 0 && key.length === 5 ? key.readUInt32BE(1) : undefined
}

/** Encodes the record of a namespace. */
export function encodeNamespace({ id, epoch, namespace }: StoredNamespace): Buffer {
  return encode([id, epoch, namespace.incarnation, namespace.owner, namespace.created])
}

/** Parses the record of a namespace. */
export function parseNamespace(name: string, value: Uint8Array): StoredNamespace {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('a stored namespace')
  const [id, epoch, incarnation, owner, created] = fields as readonly unknown[]
  if (!isCount(id) || !isCount(epoch) || typeof created !== 'number')
    throw corrupt('a stored namespace')
  if (typeof incarnation !== 'string' || typeof owner !== 'string')
    throw corrupt('a stored namespace')
  return { id, epoch, namespace: { name, incarnation, owner, created } }
}

function writeUint64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32BE(Math.floor(value / 0x1_0000_0000), offset)
  target.writeUInt32BE(value >>> 0, offset + 4)
}

/** Parses a number of 64 bits. */
export function parseUint64(bytes: Uint8Array, offset: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const value = view.getUint32(offset) * 0x1_0000_0000 + view.getUint32(offset + 4)
  if (!Number.isSafeInteger(value)) throw corrupt('a stored number')
  return value
}
