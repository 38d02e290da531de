/** The outgoing messages of a websocket of Node: those of one turn of the event loop are one write.
 *  `ws` would make a write, an object of options and two buffers of each. See RFC 6455, 5.2, and
 *  rfc/12, rule 37.
 *  Invariant: each message is one whole frame, so that the frames which `ws` itself writes stand
 *  between frames. Bytes that were handed to the socket are never written again. */

import { randomFillSync } from 'node:crypto'

/** The size of a buffer that many batches share, one behind the other, in bytes. */
const bufferSize = 64 * 1024
const keySize = 4
/** The number of masking keys that are made at once. */
const keysMade = 256
/** The first byte of a frame: a whole binary message. */
const wholeBinary = 0x82
/** The bit of the second byte that says that there is a masking key. */
const masked = 0x80

export class FrameBatch {
  readonly #write: (bytes: Uint8Array) => void
  readonly #keys: Buffer | undefined
  #nextKey = 0
  #buffer = Buffer.alloc(0)
  /** The place of the first byte that was not handed to the socket, and the end of the batch. */
  #from = 0
  #at = 0
  readonly #flush = () => this.flush()

  /** Takes `write`, which sends bytes on the socket. `mask`: true where something that stands
   *  between might read the bytes. Masking keeps what a page made its browser send from looking like
   *  a request of HTTP there. Otherwise all keys are 0, and neither end has to mask a byte. */
  constructor(write: (bytes: Uint8Array) => void, { mask }: { readonly mask: boolean }) {
    this.#write = write
    this.#keys = mask ? Buffer.alloc(keySize * keysMade) : undefined
  }

  /** Adds a message, which is copied. It is sent at the end of this turn of the event loop. */
  add(message: Uint8Array): void {
    const { length } = message
    const head = length < 126 ? 2 : length < 0x1_0000 ? 4 : 10
    const size = head + keySize + length
    if (this.#at + size > this.#buffer.length) {
      this.flush()
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(bufferSize, size))
      this.#from = 0
      this.#at = 0
    }
    // In a promise's continuation, a tick comes behind all other continuations of the turn.
    if (this.#at === this.#from) process.nextTick(this.#flush)
    this.#addHead(length)
    if (this.#keys) this.#addMasked(message, this.#keys)
    else this.#addPlain(message)
  }

  /** Sends what was added. */
  flush(): void {
    if (this.#at === this.#from) return
    const batch = this.#buffer.subarray(this.#from, this.#at)
    this.#from = this.#at
    this.#write(batch)
  }

  #addHead(length: number): void {
    const buffer = this.#buffer
    buffer[this.#at++] = wholeBinary
    if (length < 126) buffer[this.#at++] = masked | length
    else if (length < 0x1_0000) {
      buffer[this.#at++] = masked | 126
      this.#at = buffer.writeUInt16BE(length, this.#at)
    } else {
      buffer[this.#at++] = masked | 127
      this.#at = buffer.writeUInt32BE(0, this.#at)
      this.#at = buffer.writeUInt32BE(length, this.#at)
    }
  }

  #addPlain(message: Uint8Array): void {
    const buffer = this.#buffer
    for (let each = 0; each < keySize; each++) buffer[this.#at++] = 0
    buffer.set(message, this.#at)
    this.#at += message.length
  }

  #addMasked(message: Uint8Array, keys: Buffer): void {
    const buffer = this.#buffer
    if (this.#nextKey === 0) randomFillSync(keys)
    const key = this.#nextKey
    this.#nextKey = (key + keySize) % keys.length
    for (let each = 0; each < keySize; each++) buffer[this.#at++] = keys[key + each] ?? 0
    for (let each = 0; each < message.length; each++) {
      buffer[this.#at++] = (message[each] ?? 0) ^ (keys[key + (each & 3)] ?? 0)
    }
  }
}
