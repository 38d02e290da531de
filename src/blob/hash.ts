/** Refs of blobs and nodes: BLAKE3. The only import of blake3-wasm. See rfc/3, rules 3 to 5.
 *
 *  * A blob's digest is the first 32 bytes of the BLAKE3 output of its bytes; a tree node's digest
 *  is the second 32 bytes of the (extendable) output. The two halves are independent functions, so
 *  that no value, however it is chosen, can pass for a node or take the place of one. */

import { createHash, hash } from 'blake3-wasm'
import { type Blobref, blobrefOfHex } from './blobref.js'
import { nativeHash, nativeHasher, nativeSizeMin, type PieceHash } from './native-hash.js'

const native = nativeHash((bytes) => digest(bytes, 32))

/** True if blobs are hashed in native code. */
export const hashesNatively = native !== undefined

/** Returns the ref of a blob. REQUIRES: `bytes` is at most 1 MiB (rfc/3, rule 5). */
export function hashBlob(bytes: Uint8Array): Blobref {
  const output = native && bytes.length >= nativeSizeMin ? native(bytes) : digest(bytes, 32)
  return blobrefOfHex(output.toString('hex'))
}

/** Returns the 32 bytes of the digest of a blob. REQUIRES: `bytes` is at most 1 MiB. */
export function digestOf(bytes: Uint8Array): Buffer {
  return digest(bytes, 32)
}

/** Returns the ref of a tree node. REQUIRES: `bytes` is at most 1 MiB (rfc/3, rule 5). */
export function hashNode(bytes: Uint8Array): Blobref {
  return blobrefOfHex(digest(bytes, 64).toString('hex', 32, 64))
}

/** The BLAKE3 digest of bytes that come in pieces. Mutable; owned by the loop that feeds it. */
export class StreamHash implements Disposable {
  readonly #hash: PieceHash = nativeHasher(native) ?? wasmHasher()

  /** Adds a piece. REQUIRES: it has at most 1 MiB. */
  update(piece: Uint8Array): void {
    if (piece.length > 0) this.#hash.update(piece)
  }

  /** Returns the 32 bytes of the digest. REQUIRES: it is the last call but for the disposal. */
  digest(): Buffer {
    return this.#hash.digest()
  }

  /** Frees the memory of a hash whose digest was not read. */
  [Symbol.dispose](): void {
    this.#hash.dispose()
  }
}

function wasmHasher(): PieceHash {
  const hasher = createHash()
  return {
    update: (piece) => hasher.update(piece),
    digest: () => Buffer.from(hasher.digest()),
    dispose: () => hasher.dispose(),
  }
}

function digest(bytes: Uint8Array, length: number): Buffer {
  const output = hash(bytes, { length })
  return Buffer.isBuffer(output) ? output : Buffer.from(output)
}
