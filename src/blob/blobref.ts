/** A Blobref names a blob by its hash: `blake3-` and 64 lower-case hex digits. See rfc/3.
 *  Invariant: a value of type Blobref is well formed; only this file makes one. */

import { TailraceError } from '../error.js'

declare const brand: unique symbol
/** The name of a blob. */
export type Blobref = string & { readonly [brand]: 'Blobref' }

/** The size of a digest in bytes: a ref takes this much in nodes, in packs
 *  and in the engine's index. */
export const digestSize = 32

const prefix = 'blake3-'
const pattern = /^blake3-[0-9a-f]{64}$/

/** True if a text is a well-formed blobref. */
export function isBlobref(text: string): text is Blobref {
  return pattern.test(text)
}

/** Returns `input` as a Blobref. Throws EINVAL if it is not a well-formed one. */
export function parseBlobref(input: unknown): Blobref {
  if (typeof input !== 'string' || !pattern.test(input)) {
    throw new TailraceError('EINVAL', 'a blobref is "blake3-" and 64 lower-case hex digits')
  }
  return input as Blobref
}

/** Returns the ref with a digest in hex. REQUIRES: `hex` is 64 lower-case hex digits. */
export function blobrefOfHex(hex: string): Blobref {
  return (prefix + hex) as Blobref
}

/** Returns the ref whose digest stands at `offset` of `bytes`. REQUIRES: 32 bytes are there. */
export function blobrefAt(bytes: Uint8Array, offset: number): Blobref {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return (prefix + buffer.toString('hex', offset, offset + digestSize)) as Blobref
}

/** Returns the first byte of a ref's digest: it chooses one of 256 shards. */
export function firstByteOf(ref: Blobref): number {
  const [high, low] = [ref.charCodeAt(prefix.length), ref.charCodeAt(prefix.length + 1)]
  return ((high & 15) + 9 * (high >> 6)) * 16 + (low & 15) + 9 * (low >> 6) // digits, or a to f
}

/** Writes the 32 bytes of a ref's digest into `target` at `offset`. */
export function writeDigest(ref: Blobref, target: Buffer, offset: number): void {
  target.write(ref.slice(prefix.length), offset, digestSize, 'hex')
}
