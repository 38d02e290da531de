/** The head of packed bytes: which codec made them, and in which version. See rfc/23, rule 1.
 *  Invariant: what follows a head begins at a multiple of 8 of the packed bytes. Pure. */

import { invalid } from '../base/shape.js'

/** The first byte: no msgpack and no UTF-8 text begins with it. */
const magic = 0xc1
const format = 1
/** The multiple at which the bytes of the codec begin, for the items of typed arrays. */
const alignment = 8
const [formatAt, versionAt, lengthAt, nameAt] = [1, 2, 3, 4]
/** The bytes of the longest head. */
export const headSizeMax = 40
const nameRule = /^[a-z0-9-]{1,32}$/

/** The head of packed bytes. */
export type PackedHead = { readonly name: string; readonly version: number; readonly size: number }

/** Throws EINVAL for a name or a version that no head can have. */
export function checkHead({ name, version }: Pick<PackedHead, 'name' | 'version'>): void {
  if (!nameRule.test(name)) throw invalid('the name of a codec is 1 to 32 of a-z, 0-9 and "-"')
  if (Number.isInteger(version) && version >= 1 && version <= 255) return
  throw invalid(`the version of the codec ${name} is a whole number, 1 to 255`)
}

/** Returns the bytes of a head. */
export function encodeHead({ name, version }: Pick<PackedHead, 'name' | 'version'>): Uint8Array {
  const size = Math.ceil((nameAt + name.length) / alignment) * alignment
  const head = new Uint8Array(size)
  head[0] = magic
  head[formatAt] = format
  head[versionAt] = version
  head[lengthAt] = name.length
  head.set(Buffer.from(name, 'latin1'), nameAt)
  return head
}

/** Returns the head of packed bytes; undefined if they have none. */
export function decodeHead(bytes: Uint8Array): PackedHead | undefined {
  const length = bytes[lengthAt] ?? 0
  const version = bytes[versionAt] ?? 0
  if (bytes[0] !== magic || bytes[formatAt] !== format || version === 0) return undefined
  const size = Math.ceil((nameAt + length) / alignment) * alignment
  if (bytes.length < size) return undefined
  const name = Buffer.from(bytes.subarray(nameAt, nameAt + length)).toString('latin1')
  return nameRule.test(name) ? { name, version, size } : undefined
}
