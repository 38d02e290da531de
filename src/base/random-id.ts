/** Random ids, in Node and in browsers. */

/** Returns a new id: 16 random bytes as 32 lower-case hex digits. */
export function randomId(): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
