/** Ids that nobody else has: 16 random bytes as 32 lower-case hex digits, the same in Node and in browsers. */

export function randomId(): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
