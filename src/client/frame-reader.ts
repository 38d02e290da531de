/** The incoming messages of a websocket of Node. A whole binary frame, which is all that this
 *  project's server sends of its own, is copied once, from the bytes that were read into a message.
 *  `ws` gets every other frame as it came. See RFC 6455, 5.2, and rfc/12, rule 37.
 *  Invariant: messages come in order, each once. Bytes that `take` was given are not kept. */

/** The first byte of a whole binary frame, without extensions. */
const wholeBinary = 0x82
/** The bit of the first byte that says that a message ends with this frame. */
const fin = 0x80
/** The bits of the first byte with the kind of the frame; kinds from `control` on are control
 *  frames. */
const kindBits = 0x0f
const control = 0x8
/** The bit of the second byte that says that there is a masking key, and the bits with the length. */
const masked = 0x80
const lengthBits = 0x7f
const keySize = 4
/** The values of the length after which it stands in 2 and in 8 bytes more. */
const length16 = 126
const length64 = 127
const headSizeMax = 10

type FrameReaderPorts = {
  /** The largest message, in bytes. A larger one is left to `others`. */
  readonly sizeMax: number
  /** Returns memory for a message of so many bytes. */
  readonly allocate: (length: number) => Buffer
  /** Takes a message, in memory that was allocated for it. */
  readonly received: (message: Buffer) => void
  /** Takes the bytes of all other frames. */
  readonly others: (bytes: Buffer) => void
}

export class FrameReader {
  readonly #ports: FrameReaderPorts
  /** The head of a frame whose other bytes have not come yet. */
  readonly #head = Buffer.alloc(headSizeMax)
  #headSize = 0
  /** The message that is being read, and the number of its bytes that have come. */
  #message: Buffer | undefined
  #filled = 0
  /** The number of bytes to pass on before the next frame. */
  #passing = 0
  /** True between the first and the last frame of a message in several frames. */
  #isFragmented = false

  constructor(ports: FrameReaderPorts) {
    this.#ports = ports
  }

  /** Takes the next bytes that were read. */
  take(bytes: Uint8Array): void {
    const { buffer, byteOffset, byteLength } = bytes
    const read = Buffer.from(buffer, byteOffset, byteLength)
    for (let at = 0; at < read.length; ) {
      if (this.#message) at = this.#fill(this.#message, read, at)
      else if (this.#passing > 0) at = this.#pass(read, at)
      else at = this.#begin(read, at)
    }
  }

  /** Reads the head of a frame, or what has come of it. Returns the place behind it. */
  #begin(read: Buffer, from: number): number {
    let at = from
    while (at < read.length) {
      this.#head[this.#headSize++] = read[at++] ?? 0
      if (this.#headSize === this.#wholeHeadSize()) {
        this.#start()
        break
      }
    }
    return at
  }

  /** Returns the size of the head as far as its first bytes tell, without a masking key. */
  #wholeHeadSize(): number {
    if (this.#headSize < 2) return 2
    const length = (this.#head[1] ?? 0) & lengthBits
    if (length === length64) return 10
    return length === length16 ? 4 : 2
  }

  #start(): void {
    const head = this.#head
    const [first = 0, second = 0] = head
    const short = second & lengthBits
    const isMasked = (second & masked) !== 0
    const length =
      short === length64
        ? head.readUInt32BE(2) * 2 ** 32 + head.readUInt32BE(6)
        : short === length16
          ? head.readUInt16BE(2)
          : short
    const { sizeMax, allocate, received, others } = this.#ports
    const headSize = this.#headSize
    this.#headSize = 0
    if (first === wholeBinary && !isMasked && !this.#isFragmented && length <= sizeMax) {
      if (length === 0) received(Buffer.alloc(0))
      else this.#message = allocate(length)
      this.#filled = 0
      return
    }
    if ((first & kindBits) < control) this.#isFragmented = (first & fin) === 0
    this.#passing = length + (isMasked ? keySize : 0)
    others(Buffer.from(head.subarray(0, headSize)))
  }

  #fill(message: Buffer, read: Buffer, at: number): number {
    const size = Math.min(message.length - this.#filled, read.length - at)
    read.copy(message, this.#filled, at, at + size)
    this.#filled += size
    if (this.#filled === message.length) {
      this.#message = undefined
      this.#ports.received(message)
    }
    return at + size
  }

  #pass(read: Buffer, at: number): number {
    const size = Math.min(this.#passing, read.length - at)
    this.#passing -= size
    this.#ports.others(Buffer.from(read.subarray(at, at + size)))
    return at + size
  }
}
