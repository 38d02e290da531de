/** Data events of an output log, each in bytes of its own, as a job writes them into its blobs. */

import {
  type DataPlace,
  dataHeadSize,
  writeDataHead,
  writeDataSize,
} from '../../src/eventlog/stdio.js'

/** Returns the bytes of one data event. */
export function encodeData(place: DataPlace, data: Uint8Array): Uint8Array {
  const head = dataHeadSize(place.stream)
  const bytes = Buffer.alloc(head + data.length)
  writeDataHead(place, bytes, 0)
  writeDataSize(place.stream, data.length, bytes, 0)
  bytes.set(data, head)
  return bytes
}
