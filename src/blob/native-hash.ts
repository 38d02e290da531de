/** BLAKE3 in native code, where a build for the system is installed: seven times as fast as wasm on
 *  a full blob. The only import of @napi-rs/blake-hash, an optional dependency. See rfc/3, rule 3.
 *  Invariant: it gives the digests that wasm gives, so that no ref depends on it. It is checked
 *  against wasm before its first use. */

type Native = {
  readonly blake3: (input: Buffer) => Buffer
  readonly Blake3Hasher: new () => {
    update(input: Buffer): unknown
    digestBuffer(): Buffer
  }
}

/** A hash of bytes that come in pieces. */
export type PieceHash = {
  readonly update: (piece: Uint8Array) => void
  readonly digest: () => Buffer
  readonly dispose: () => void
}

/** The smallest size, in bytes, from which on a native call is faster than a wasm call. */
export const nativeSizeMin = 4 * 1024
/** Bytes of several BLAKE3 chunks, with a tree above them and a rest: all that
 *  a build could get wrong. */
const probe = Buffer.from(Uint8Array.from({ length: 10_241 }, (_, index) => index % 251))

const native = await loadNative()

async function loadNative(): Promise<Native | undefined> {
  try {
    return await import('@napi-rs/blake-hash')
  } catch {
    // There is no build for this system: wasm does all hashes.
    return undefined
  }
}

/** Returns the native hash if it agrees with `reference`, else undefined. Both return 32 bytes. */
export function nativeHash(
  reference: (bytes: Uint8Array) => Uint8Array,
): ((bytes: Uint8Array) => Buffer) | undefined {
  if (!native?.blake3(probe).equals(reference(probe))) return undefined
  const { blake3 } = native
  return (bytes) => blake3(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
}

/** Returns a native hash of bytes that come in pieces. `agreed` is what `nativeHash` returned:
 *  without it the result is undefined. */
export function nativeHasher(agreed: unknown): PieceHash | undefined {
  if (!agreed || !native) return undefined
  const hasher = new native.Blake3Hasher()
  return {
    update: (piece) => hasher.update(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)),
    digest: () => hasher.digestBuffer(),
    dispose: () => {},
  }
}
