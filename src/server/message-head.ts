/** The heads of the messages that a websocket of the server sends (RFC 6455, 5.2). They are written
 *  here, so that all that one turn of the event loop sends is one write (outbox.ts). Pure. */

/** The largest head of a message, in bytes. */
export const messageHeadMax = 10

/** Writes the head of a whole message of `length` bytes (RFC 6455, 5.2; a server's is not masked) so
 *  that it ends at `messageHeadMax`, and returns where it begins. */
export function messageHead(into: Uint8Array, length: number, kind: 'text' | 'binary'): number {
  const isShort = length < 126
  const isMiddle = !isShort && length < 0x1_0000
  const begin = messageHeadMax - (isShort ? 2 : isMiddle ? 4 : 10)
  into[begin] = kind === 'text' ? 0x81 : 0x82
  into[begin + 1] = isShort ? length : isMiddle ? 126 : 127
  if (isShort) return begin
  if (!isMiddle) into.fill(0, begin + 2, messageHeadMax - 4)
  let left = length
  for (let at = messageHeadMax - 1; at >= messageHeadMax - (isMiddle ? 2 : 4); at--) {
    into[at] = left & 0xff
    left >>>= 8
  }
  return begin
}
