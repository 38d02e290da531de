/** Names for bytes: BLAKE3. The only import of blake3-wasm. See rfc/3.
 *
 *  A blob is named by the first 32 bytes of its BLAKE3 output, a tree node by the second 32 bytes
 *  of the (extendable) output. The two halves are independent functions, so that no value, however
 *  chosen, can pass for a node or take the place of one. */

import { createHash, hash } from 'blake3-wasm'
import { type Blobref, blobrefOfHex } from './blobref.js'
import { nativeHash, nativeHasher, nativeSizeMin, type PieceHash } from './native-hash.js'

const native = nativeHash((bytes) => digest(bytes, 32))

/** The ref of a blob. REQUIRES: at most 1 MiB (rfc/3: above that other builds of the library fail). */
export function hashBlob(bytes: Uint8Array): Blobref {
  const output = native && bytes.length >= nativeSizeMin ? native(bytes) : digest(bytes, 32)
  return blobrefOfHex(output.toString('hex'))
}

/** The ref of a tree node. REQUIRES: as `hashBlob`. */
export function hashNode(bytes: Uint8Array): Blobref {
  return blobrefOfHex(digest(bytes, 64).toString('hex', 32, 64))
}

/** The BLAKE3 digest (32 bytes) of what comes in pieces. */
export class StreamHash implements Disposable {
  readonly #hash: PieceHash = nativeHasher(native) ?? wasmHasher()

  /** REQUIRES: at most 1 MiB. */
  update(piece: Uint8Array): void {
    if (piece.length > 0) this.#hash.update(piece)
  }

  /** Nothing comes after it. */
  digest(): Buffer {
    return this.#hash.digest()
  }

  /** Frees what a hash that gave no digest holds. */
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
