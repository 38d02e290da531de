/** The records that benchmarks write to every system: an index, the moment of the call, and bytes
 *  that depend on the index. A reader compares all of them.
 *  Invariant: two records of different indices differ, so no system stores one for both. */

import { createHash } from 'node:crypto'

const headSize = 16
/** Records are cut out of these bytes, which do not compress. */
const bytes = createHash('shake256', { outputLength: 1024 * 1024 })
  .update('record')
  .digest()

/** REQUIRES: `size` is 16 to 64 KiB. `stamp` is the time of the call in ms, see `now`. */
export function makeRecord(index: number, size: number, stamp = 0): Buffer {
  const start = startOf(index)
  const record = Buffer.from(bytes.subarray(start, start + size))
  record.writeUInt32BE(index, 0)
  record.writeUInt32BE(size, 4)
  record.writeDoubleBE(stamp, 8)
  return record
}

/** Gives back the index and the stamp. Throws where a byte is not that of the record. */
export function checkRecord(
  data: Uint8Array,
  size: number,
): { readonly index: number; readonly stamp: number } {
  const record = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (record.length !== size) throw new Error(`a record of ${record.length} bytes, not ${size}`)
  const index = record.readUInt32BE(0)
  const start = startOf(index)
  const differs = bytes.compare(record, headSize, size, start + headSize, start + size) !== 0
  if (differs || record.readUInt32BE(4) !== size) throw new Error(`record ${index} has other bytes`)
  return { index, stamp: record.readDoubleBE(8) }
}

function startOf(index: number): number {
  return (index * 97) % (bytes.length - 64 * 1024)
}

/** Cuts what a follower gets into records of one size: a file gives pieces of any size. */
export class RecordReader {
  readonly #size: number
  readonly #onRecord: (index: number, stamp: number) => boolean
  #rest: Uint8Array = new Uint8Array(0)

  /** `onRecord` says whether to go on. */
  constructor(size: number, onRecord: (index: number, stamp: number) => boolean) {
    this.#size = size
    this.#onRecord = onRecord
  }

  /** Takes a piece, and says whether to go on. */
  push(data: Uint8Array): boolean {
    const all = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data])
    let at = 0
    for (; at + this.#size <= all.length; at += this.#size) {
      const { index, stamp } = checkRecord(all.subarray(at, at + this.#size), this.#size)
      if (!this.#onRecord(index, stamp)) return false
    }
    this.#rest = all.subarray(at)
    return true
  }
}
