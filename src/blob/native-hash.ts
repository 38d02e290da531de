/** BLAKE3 in native code, where the system has it: seven times as fast as wasm on a whole blob. The
 *  only import of @napi-rs/blake-hash, an optional dependency. See rfc/3, rule 3.
 *  Invariant: whether it is there changes no name: before it is used at all, it has given the digest
 *  that wasm gives. */

type Native = {
  readonly blake3: (input: Buffer) => Buffer
  readonly Blake3Hasher: new () => {
    update(input: Buffer): unknown
    digestBuffer(): Buffer
  }
}

/** A hash of what comes in pieces. */
export type PieceHash = {
  readonly update: (piece: Uint8Array) => void
  readonly digest: () => Buffer
  readonly dispose: () => void
}

/** From this size (bytes) on the native call is cheaper than the wasm one. */
export const nativeSizeMin = 4 * 1024
/** Chunks, a tree of them and a rest: what a build could get wrong. */
const probe = Buffer.from(Uint8Array.from({ length: 10_241 }, (_, index) => index % 251))

const native = await loadNative()

async function loadNative(): Promise<Native | undefined> {
  try {
    return await import('@napi-rs/blake-hash')
  } catch {
    // Not made for this system: wasm names everything.
    return undefined
  }
}

/** The native hash if it agrees with `reference`; both give 32 bytes. */
export function nativeHash(
  reference: (bytes: Uint8Array) => Uint8Array,
): ((bytes: Uint8Array) => Buffer) | undefined {
  if (!native?.blake3(probe).equals(reference(probe))) return undefined
  const { blake3 } = native
  return (bytes) => blake3(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
}

/** The same in pieces. `agreed`: the native hash, if it was found to agree. */
export function nativeHasher(agreed: unknown): PieceHash | undefined {
  if (!agreed || !native) return undefined
  const hasher = new native.Blake3Hasher()
  return {
    update: (piece) => hasher.update(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)),
    digest: () => hasher.digestBuffer(),
    dispose: () => {},
  }
}
