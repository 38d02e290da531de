/** Packs: many small blobs in one record, with their refs in front. See rfc/4, rule 16.
 *  Pure. Layout: version u8, count u32, count × (digest 32 bytes, length u32), then the
 *  bytes in that order. */

import type { Blob } from '../blob/blob.js'
import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import { TailraceError } from '../error.js'

/** The largest size of a pack, in bytes: 16 pages of 4,096 bytes less LMDB's 24-byte header. */
export const packSizeMax = 16 * 4_096 - 24
/** The size, in bytes, from which on a blob is a record of its own. */
export const bareSizeMin = 16 * 1_024

const version = 1
const headSize = 5
const entrySize = digestSize + 4

/** The place of a blob in a pack, in bytes. */
type Packed = { readonly ref: Blobref; readonly offset: number; readonly length: number }

/** Returns the bytes that a blob takes in a pack, its entry in the head included. */
export function packedSize(blob: Blob): number {
  return entrySize + blob.bytes.length
}

/** The bytes for blobs in a pack: a list of blobs fits if the sum of their `packedSize`
 *  is at most this. */
export const packRoom = packSizeMax - headSize

/** Makes a pack. REQUIRES: the blobs fit (`packRoom`). */
export function encodePack(blobs: readonly Blob[]): { bytes: Buffer; packed: Packed[] } {
  const size = blobs.reduce((sum, blob) => sum + packedSize(blob), headSize)
  const bytes = Buffer.allocUnsafe(size)
  bytes.writeUInt8(version, 0)
  bytes.writeUInt32BE(blobs.length, 1)
  let entry = headSize
  let offset = headSize + blobs.length * entrySize
  const packed = blobs.map(({ ref, bytes: content }) => {
    writeDigest(ref, bytes, entry)
    bytes.writeUInt32BE(content.length, entry + digestSize)
    bytes.set(content, offset)
    const place = { ref, offset, length: content.length }
    entry += entrySize
    offset += content.length
    return place
  })
  return { bytes, packed }
}

/** Lists the blobs of a pack from its head. Throws ECORRUPT. */
export function packedIn(bytes: Uint8Array): Packed[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const count = bytes.length < headSize ? 0 : view.readUInt32BE(1)
  let offset = headSize + count * entrySize
  if (bytes.length < offset || bytes[0] !== version) {
    throw new TailraceError('ECORRUPT', 'a record of the store is not a pack: restore a copy')
  }
  return Array.from({ length: count }, (_, index) => {
    const entry = headSize + index * entrySize
    const length = view.readUInt32BE(entry + digestSize)
    const place = { ref: blobrefAt(bytes, entry), offset, length }
    offset += length
    return place
  })
}
