/** Reads the packs of format 1: many small blobs in one record of LMDB, with their refs in front. See
 *  rfc/4, rule 20. Pure. Layout: version u8, count u32, count × (digest 32 bytes, length u32), then
 *  the bytes in that order. */

import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { TailraceError } from '../error.js'

const version = 1
const headSize = 5
const entrySize = digestSize + 4

/** The place of a blob in a pack, in bytes. */
type Packed = { readonly ref: Blobref; readonly offset: number; readonly length: number }

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
