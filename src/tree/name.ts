/** Names of directory entries: their order, and the hash that decides where nodes end. See rfc/5.
 *  Invariant: the order is that of the UTF-8 bytes. The order of UTF-16 units is another one where
 *  a surrogate pair meets a unit from U+E000 on. */

/** Returns a number below 0 if `a` is before `b`, 0 if they are equal, above 0 if `a` is behind
 *  `b`. REQUIRES: both are well formed. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at++) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return rankOf(left) - rankOf(right)
  }
  return a.length - b.length
}

/** Returns a hash of 32 bits: FNV-1a over the UTF-8 bytes, then the finaliser of MurmurHash3 over
 *  that and the level, so that the hashes of a name on two levels are independent. */
export function hashName(name: string, level: number): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at)
    if (unit >= 0x80) return finish(hashBytes(Buffer.from(name)), level)
    hash = Math.imul(hash ^ unit, 0x01000193)
  }
  return finish(hash, level)
}

function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}

function finish(hash: number, level: number): number {
  let mixed = hash ^ Math.imul(level, 0x9e3779b1)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** Returns the rank of a UTF-16 unit in the order of code points: surrogates are
 *  behind U+E000 to U+FFFF. */
function rankOf(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}
