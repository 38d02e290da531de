/** The decoder of msgpack. See rfc/3, rules 15, 16 and 18. Runs in browsers.
 *  Invariant: it reads no byte beyond the end, and allocates no more than the bytes justify: a
 *  length that they do not have is an error before anything of that length is made. */

/** The largest number of arrays and objects inside each other. Those of nodes, events and frames
 *  are below it. */
const depthMax = 512
/** The length of a string, in bytes, up to which it is looked at for ASCII. A longer one is faster
 *  in the platform's decoder. */
const shortMax = 256
/** The length of an array up to which it is made at once. */
const wholeMax = 1_024
/** The number of names of fields that are kept. */
const namesKept = 256

type BufferOfNode = {
  readonly latin1Slice?: (start: number, end: number) => string
  readonly utf8Slice?: (start: number, end: number) => string
}
const { latin1Slice, utf8Slice } = (typeof Buffer === 'function'
  ? Buffer.prototype
  : {}) as unknown as BufferOfNode
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const nothing = new Uint8Array(0)

/** Mutable; each owner has one of its own. */
export class Unpacker {
  #bytes: Uint8Array = nothing
  #at = 0
  #depth = 0
  /** Names that were read before, in places by their bytes: the same bytes give the same string,
   *  which need not be made again. */
  readonly #names = new Array<string>(namesKept).fill('')
  /** The bytes of a float, which may stand at any address in what is decoded. */
  readonly #float = new DataView(new ArrayBuffer(8))

  /** Returns the one value of `bytes`. Byte strings in it are views of `bytes`. Throws an Error if
   *  there is a byte too few or too many. */
  unpack(bytes: Uint8Array): unknown {
    this.#open(bytes)
    try {
      const value = this.#read()
      if (this.#at < bytes.length) throw new Error('there are bytes behind the value')
      return value
    } finally {
      this.#bytes = nothing
    }
  }

  /** Returns all values that stand one after the other in `bytes`. Throws as `unpack`. */
  unpackAll(bytes: Uint8Array): unknown[] {
    this.#open(bytes)
    try {
      const values: unknown[] = []
      while (this.#at < bytes.length) values.push(this.#read())
      return values
    } finally {
      this.#bytes = nothing
    }
  }

  #open(bytes: Uint8Array): void {
    this.#bytes = bytes
    this.#at = 0
    this.#depth = 0
  }

  #read(): unknown {
    const first = this.#byte()
    if (first < 0x80) return first
    if (first === 0xc4) return this.#binary(this.#byte())
    if (first < 0x90) return this.#object(first & 0x0f)
    if (first < 0xa0) return this.#array(first & 0x0f)
    if (first < 0xc0) return this.#text(first & 0x1f)
    if (first >= 0xe0) return first - 0x100
    switch (first) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc5:
        return this.#binary(this.#short())
      case 0xc6:
        return this.#binary(this.#word())
      case 0xca:
        return this.#floatOf(4).getFloat32(0)
      case 0xcb:
        return this.#floatOf(8).getFloat64(0)
      case 0xcc:
        return this.#byte()
      case 0xcd:
        return this.#short()
      case 0xce:
        return this.#word()
      case 0xcf:
        return exactOf(this.#word(), this.#word())
      case 0xd0:
        return (this.#byte() << 24) >> 24
      case 0xd1:
        return (this.#short() << 16) >> 16
      case 0xd2:
        return this.#word() | 0
      case 0xd3:
        return exactOf(this.#word() | 0, this.#word())
      case 0xd4:
        return this.#undefined()
      case 0xd9:
        return this.#text(this.#byte())
      case 0xda:
        return this.#text(this.#short())
      case 0xdb:
        return this.#text(this.#word())
      case 0xdc:
        return this.#array(this.#short())
      case 0xdd:
        return this.#array(this.#word())
      case 0xde:
        return this.#object(this.#short())
      case 0xdf:
        return this.#object(this.#word())
      default:
        throw new Error(`no value begins with the byte ${first}`)
    }
  }

  #byte(): number {
    return this.#bytes[this.#take(1)] ?? 0
  }

  /** Reads an unsigned integer of 2 bytes. */
  #short(): number {
    const at = this.#take(2)
    return ((this.#bytes[at] ?? 0) << 8) | (this.#bytes[at + 1] ?? 0)
  }

  /** Reads an unsigned integer of 4 bytes. */
  #word(): number {
    return ((this.#short() << 16) | this.#short()) >>> 0
  }

  /** Returns the place of the next `size` bytes, and steps over them. */
  #take(size: number): number {
    const at = this.#at
    if (size > this.#bytes.length - at) throw new Error('the bytes end in the middle of a value')
    this.#at = at + size
    return at
  }

  #floatOf(width: 4 | 8): DataView {
    const at = this.#take(width)
    for (let each = 0; each < width; each++) {
      this.#float.setUint8(each, this.#bytes[at + each] ?? 0)
    }
    return this.#float
  }

  /** Other encoders have `undefined` as an extension of the type 0. */
  #undefined(): undefined {
    const at = this.#take(2)
    if (this.#bytes[at] !== 0) throw new Error(`there is no extension ${this.#bytes[at]}`)
    return undefined
  }

  #binary(size: number): Uint8Array {
    const at = this.#take(size)
    return this.#bytes.subarray(at, at + size)
  }

  #text(size: number): string {
    if (size === 0) return ''
    const at = this.#take(size)
    const end = at + size
    const bytes = this.#bytes
    if (size <= shortMax && isAscii(bytes, at, end)) {
      if (latin1Slice) return latin1Slice.call(bytes as never, at, end)
      return String.fromCharCode(...bytes.subarray(at, end))
    }
    return utf8Slice
      ? utf8Slice.call(bytes as never, at, end)
      : decoder.decode(bytes.subarray(at, end))
  }

  #array(length: number): unknown[] {
    // An item has at least one byte.
    this.#enter(length)
    // A long array grows as its items come: arrays in arrays may each claim all bytes that are left.
    const items: unknown[] = length <= wholeMax ? new Array(length) : []
    for (let index = 0; index < length; index++) items[index] = this.#read()
    this.#depth--
    return items
  }

  #object(length: number): object {
    this.#enter(2 * length)
    const fields: Record<string, unknown> = {}
    for (let index = 0; index < length; index++) {
      const name = this.#name()
      const value = this.#read()
      if (name === '__proto__') define(fields, name, value)
      else fields[name] = value
    }
    this.#depth--
    return fields
  }

  #enter(sizeMin: number): void {
    if (++this.#depth > depthMax) throw new Error(`there are more than ${depthMax} levels`)
    if (sizeMin > this.#bytes.length - this.#at) throw new Error('the bytes end in a list')
  }

  #name(): string {
    const bytes = this.#bytes
    const first = this.#byte()
    if (first >= 0xa1 && first < 0xc0) {
      const size = first & 0x1f
      const at = this.#at
      const end = at + size
      const last = bytes[end - 1] ?? 0
      const place = (size * 37 + (bytes[at] ?? 0) * 5 + last * 11) % namesKept
      const known = this.#names[place] ?? ''
      if (isText(bytes, at, end, known)) {
        this.#at = end
        return known
      }
      const name = this.#text(size)
      // A name has no more units than bytes, and fewer if it is not ASCII.
      if (name.length === size) this.#names[place] = name
      return name
    }
    switch (first) {
      case 0xa0:
        return ''
      case 0xd9:
        return this.#text(this.#byte())
      case 0xda:
        return this.#text(this.#short())
      case 0xdb:
        return this.#text(this.#word())
      default:
        throw new Error('the name of a field is text')
    }
  }
}

function isAscii(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if ((bytes[at] ?? 0) >= 0x80) return false
  return true
}

/** True if these bytes are the text, in ASCII. */
function isText(bytes: Uint8Array, from: number, to: number, text: string): boolean {
  if (text.length !== to - from || to > bytes.length) return false
  for (let at = from; at < to; at++) {
    const byte = bytes[at]
    if (byte !== text.charCodeAt(at - from)) return false
  }
  return true
}

/** Returns a 64-bit integer as a number, or as a bigint if a number would not be exact. */
function exactOf(high: number, low: number): number | bigint {
  const isExact = high >= -0x20_0000 && (high < 0x20_0000 || (high === 0x20_0000 && low === 0))
  return isExact ? high * 2 ** 32 + low : (BigInt(high) << 32n) + BigInt(low)
}

/** Sets an own field, whatever its name is. */
function define(fields: object, name: string, value: unknown): void {
  Object.defineProperty(fields, name, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  })
}
