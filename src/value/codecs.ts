/** The codecs of packed values. See rfc/23, rules 2 and 3.
 *  Invariant: what a codec has (rule 2), it unpacks to an equal value. Those of bytes and typed arrays
 *  copy nothing. */

import { deserialize, serialize } from 'node:v8'
import { Packr } from 'msgpackr'
import type { Codec, CodecName } from '../api/value.js'
import { invalid } from '../base/shape.js'

/** The size of the field before the memory of a typed array, which keeps that aligned, in bytes. */
const kindSize = 8

/** The kinds of typed arrays, by their numbers in packed bytes: they never change. */
const kinds = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as const
type TypedArray = InstanceType<(typeof kinds)[number]>

/** The size of the opened value where it is a view of the packed bytes. */
const same = (packedSize: number) => packedSize

// Without records, so that other readers of msgpack understand the bytes.
const packr = new Packr({
  ...{ useRecords: false, encodeUndefinedAsNil: true },
  // It would be null otherwise.
  writeFunction: () => {
    throw invalid('msgpack has no functions: give a value without one')
  },
})

/** The memory that the library packs small values into, in bytes. */
const poolSize = 8 * 1024

const msgpack: Codec = {
  name: 'msgpack',
  version: 1,
  pack: (value) => {
    const packed = packr.pack(value)
    // A copy of its own size, since the library gives a part of memory that may be four times as large.
    const bytes = new Uint8Array(packed)
    // The library would keep that memory, and take as much again once it is full.
    if (packed.buffer.byteLength > poolSize) packr.useBuffer(Buffer.allocUnsafeSlow(poolSize))
    return [bytes]
  },
  unpack: (bytes) => packr.unpack(bytes),
}

const json: Codec = {
  name: 'json',
  version: 1,
  pack: (value) => {
    const text = JSON.stringify(value) as string | undefined
    if (text === undefined) throw invalid(`JSON has no ${typeof value}: give a value that it has`)
    return [Buffer.from(text)]
  },
  unpack: (bytes) => JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)),
}

const bytes: Codec<Uint8Array> = {
  name: 'bytes',
  version: 1,
  pack: (value) => {
    if (value instanceof Uint8Array) return [value]
    throw invalid('the codec bytes takes a Uint8Array or a Buffer')
  },
  unpack: (packed) => packed,
  openedSize: same,
}

const array: Codec<TypedArray> = {
  name: 'array',
  version: 1,
  pack: (value) => {
    const kind = kinds.indexOf(value?.constructor as (typeof kinds)[number])
    if (kind < 0) throw invalid('the codec array takes a typed array')
    const field = new Uint8Array(kindSize)
    field[0] = kind
    return [field, new Uint8Array(value.buffer, value.byteOffset, value.byteLength)]
  },
  unpack: (packed) => {
    const kind = kinds[packed[0] ?? kinds.length]
    const { buffer, byteOffset, length } = aligned(packed)
    const size = length - kindSize
    if (!kind || size < 0 || size % kind.BYTES_PER_ELEMENT !== 0) throw new Error('no typed array')
    return new kind(buffer as ArrayBuffer, byteOffset + kindSize, size / kind.BYTES_PER_ELEMENT)
  },
  openedSize: same,
}

const clone: Codec = {
  name: 'clone',
  version: 1,
  pack: (value) => {
    try {
      return [serialize(value)]
    } catch (cause) {
      throw invalid(`V8 cannot clone the value: ${cause instanceof Error ? cause.message : cause}`)
    }
  },
  unpack: (packed) => deserialize(packed),
}

/** Returns the bytes, or a copy if they do not begin at a multiple of 8 of their memory. Those that this
 *  room reads or packs do. */
function aligned(packed: Uint8Array): Uint8Array {
  return packed.byteOffset % kindSize === 0 ? packed : new Uint8Array(packed)
}

/** The memory of an opened value for each packed byte, if its codec says nothing. An estimate: objects
 *  take more than their msgpack. */
const openedFactor = 4

/** Returns the memory of an opened value, in bytes. Throws EINVAL for a codec that says nonsense. */
export function openedSizeOf({ name, openedSize }: Codec, packedSize: number): number {
  if (!openedSize) return openedFactor * packedSize
  const size = Math.ceil(openedSize(packedSize))
  if (Number.isSafeInteger(size) && size >= 0) return size
  throw invalid(`openedSize of the codec ${name} is a number of bytes, not ${size}`)
}

/** The codecs that all know, by name. */
export const codecs: Readonly<Record<CodecName, Codec>> = {
  ...{ msgpack, json, bytes, array, clone },
}
