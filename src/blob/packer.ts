/** The encoder of msgpack: each value in its shortest form. See rfc/3, rules 14 to 17. Runs in
 *  browsers.
 *  Invariant: equal values have equal bytes. Bytes that were handed out are never written again. */

/** The size of a pool, in bytes. A value that does not fit gets a pool for four of its size. */
const poolSize = 8 * 1024
/** The size of a pool above which it is not used for other values, in bytes. */
const poolSizeMax = 64 * 1024
/** The space that is left of a pool in which no value begins, in bytes. */
const restSize = 512
/** The length of a string, in UTF-16 units, up to which it is encoded here, unit by unit. A longer
 *  one is faster in the platform's encoder. */
const shortMax = 40
/** The largest head of a value, in bytes, and the largest number. */
const headMax = 9

type BufferOfNode = { readonly utf8Write?: (text: string, at: number, sizeMax: number) => number }
const { utf8Write } = (typeof Buffer === 'function'
  ? Buffer.prototype
  : {}) as unknown as BufferOfNode
const encoder = new TextEncoder()

/** Mutable; each owner has one of its own. */
export class Packer {
  #bytes: Uint8Array = new Uint8Array(0)
  #view = new DataView(this.#bytes.buffer)
  /** The place of the value that is being encoded. */
  #start = 0
  #at = 0

  /** Returns the bytes of a value: a slice of a pool. In Node it is a Buffer. Of an object it
   *  encodes the fields that are not undefined, in their order. `room`: the number of bytes, below
   *  256, that stand free in front of the value. Throws TypeError for functions, symbols and
   *  bigints. */
  pack(value: unknown, room = 0): Uint8Array {
    if (this.#at + restSize > this.#bytes.length) this.#renew(poolSize)
    this.#start = this.#at
    this.#at += room
    try {
      this.#write(value)
      return this.#bytes.subarray(this.#start, this.#at)
    } catch (error) {
      this.#at = this.#start
      throw error
    } finally {
      if (this.#bytes.length > poolSizeMax) this.#at = this.#bytes.length
    }
  }

  #write(value: unknown): void {
    switch (typeof value) {
      case 'string':
        this.#text(value)
        return
      case 'number':
        this.#number(value)
        return
      case 'boolean':
        this.#room(1)
        this.#bytes[this.#at++] = value ? 0xc3 : 0xc2
        return
      case 'undefined':
        this.#nil()
        return
      case 'object':
        if (value === null) this.#nil()
        else if (Array.isArray(value)) this.#array(value)
        else if (value instanceof Uint8Array) this.#binary(value)
        else this.#object(value as Readonly<Record<string, unknown>>)
        return
      default:
        throw new TypeError(`msgpack cannot say a ${typeof value}`)
    }
  }

  #nil(): void {
    this.#room(1)
    this.#bytes[this.#at++] = 0xc0
  }

  #number(value: number): void {
    this.#room(headMax)
    const bytes = this.#bytes
    if (value >>> 0 === value) {
      if (value < 0x80) bytes[this.#at++] = value
      else if (value < 0x100) this.#head(0xcc, 1, value)
      else if (value < 0x1_0000) this.#head(0xcd, 2, value)
      else this.#head(0xce, 4, value)
    } else if (value >> 0 === value) {
      if (value >= -0x20) bytes[this.#at++] = value
      else if (value >= -0x80) this.#head(0xd0, 1, value)
      else if (value >= -0x8000) this.#head(0xd1, 2, value)
      else this.#head(0xd2, 4, value)
    } else {
      bytes[this.#at++] = 0xcb
      this.#view.setFloat64(this.#at, value)
      this.#at += 8
    }
  }

  #text(text: string): void {
    const { length } = text
    // A unit has at most 3 bytes.
    this.#room(headMax + 3 * length)
    if (length <= shortMax && this.#ascii(text)) return
    const bytes = this.#bytes
    const guess = textHeadSize(length)
    const from = this.#at + guess
    const size = utf8Write
      ? utf8Write.call(bytes as never, text, from, bytes.length - from)
      : encoder.encodeInto(text, bytes.subarray(from)).written
    const head = textHeadSize(size)
    if (head !== guess) bytes.copyWithin(this.#at + head, from, from + size)
    this.#textHead(size)
    this.#at += size
  }

  /** Encodes a short string, if it is ASCII; otherwise it returns false. */
  #ascii(text: string): boolean {
    const { length } = text
    const bytes = this.#bytes
    let at = this.#at + textHeadSize(length)
    for (let unit = 0; unit < length; unit++) {
      const code = text.charCodeAt(unit)
      if (code >= 0x80) return false
      bytes[at++] = code
    }
    this.#textHead(length)
    this.#at = at
    return true
  }

  #textHead(size: number): void {
    if (size < 0x20) this.#bytes[this.#at++] = 0xa0 | size
    else if (size < 0x100) this.#head(0xd9, 1, size)
    else if (size < 0x1_0000) this.#head(0xda, 2, size)
    else this.#head(0xdb, 4, size)
  }

  #binary(value: Uint8Array): void {
    const { length } = value
    this.#room(headMax + length)
    if (length < 0x100) this.#head(0xc4, 1, length)
    else if (length < 0x1_0000) this.#head(0xc5, 2, length)
    else this.#head(0xc6, 4, length)
    this.#bytes.set(value, this.#at)
    this.#at += length
  }

  #array(items: readonly unknown[]): void {
    const { length } = items
    this.#room(headMax)
    if (length < 0x10) this.#bytes[this.#at++] = 0x90 | length
    else if (length < 0x1_0000) this.#head(0xdc, 2, length)
    else this.#head(0xdd, 4, length)
    for (let index = 0; index < length; index++) this.#write(items[index])
  }

  #object(fields: Readonly<Record<string, unknown>>): void {
    // A loop over the names allocates nothing, where a list of them would.
    let count = 0
    for (const name in fields) if (fields[name] !== undefined) count++
    this.#room(headMax)
    if (count < 0x10) this.#bytes[this.#at++] = 0x80 | count
    else if (count < 0x1_0000) this.#head(0xde, 2, count)
    else this.#head(0xdf, 4, count)
    for (const name in fields) {
      const value = fields[name]
      if (value === undefined) continue
      this.#text(name)
      this.#write(value)
    }
  }

  /** Writes a first byte, and an integer of 1, 2 or 4 bytes behind it. REQUIRES: there is room. */
  #head(first: number, width: 1 | 2 | 4, value: number): void {
    const bytes = this.#bytes
    let at = this.#at
    bytes[at++] = first
    if (width === 4) {
      bytes[at++] = value >>> 24
      bytes[at++] = value >>> 16
    }
    if (width >= 2) bytes[at++] = value >>> 8
    bytes[at++] = value
    this.#at = at
  }

  /** Makes room for `size` bytes more. */
  #room(size: number): void {
    if (this.#at + size <= this.#bytes.length) return
    const from = this.#bytes.subarray(this.#start, this.#at)
    const needed = from.length + size
    this.#renew(Math.max(poolSize, Math.min(4 * needed, poolSizeMax), 2 * from.length + size))
    this.#bytes.set(from)
    this.#start = 0
    this.#at = from.length
  }

  #renew(size: number): void {
    this.#bytes = typeof Buffer === 'function' ? Buffer.allocUnsafeSlow(size) : new Uint8Array(size)
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, size)
    this.#at = 0
  }
}

function textHeadSize(size: number): number {
  if (size < 0x20) return 1
  if (size < 0x100) return 2
  return size < 0x1_0000 ? 3 : 5
}
