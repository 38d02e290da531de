/** The ripple test: COUNT lines of LENGTH printable characters, each line starting one character
 *  later, wrapping after `~`. Column c of line i is character 33 + (i + c) mod 94. See rfc/13.
 *  Invariant: any range of it is made, and compared, with bounded memory: the lines repeat after 94
 *  and the columns too, so a small table holds every piece. */

/** The number of printable ASCII characters from `!` to `~`. */
const period = 94
const first = 33
/** The largest table of whole lines, in bytes. Longer lines are made of pieces of the alphabet. */
const tableSizeMax = 1024 * 1024
/** The smallest table or piece, in bytes: a smaller one is not worth a write. */
const pieceSize = 256 * 1024

const newline = Buffer.from('\n')

export class Ripple {
  /** The size of the whole, in bytes. */
  readonly size: number
  readonly #length: number
  /** Whole periods of lines, or the alphabet over and over. */
  readonly #table: Buffer
  /** The number of bytes after which the lines repeat; 0 if the table holds no lines. */
  readonly #linesPeriod: number

  /** REQUIRES: `length` ≥ 1 and `count` ≥ 0 are integers, and their product is safe. */
  constructor(length: number, count: number) {
    this.#length = length
    this.size = (length + 1) * count
    const linesPeriod = period * (length + 1)
    this.#linesPeriod = linesPeriod <= tableSizeMax ? linesPeriod : 0
    this.#table = this.#linesPeriod === 0 ? alphabet() : lines(length)
  }

  /** Yields views that make up the bytes from `start` to `end`, in order. REQUIRES: 0 ≤ start, end
   *  ≤ size. */
  *pieces(start: number, end: number): Generator<Buffer> {
    for (let at = start; at < end; ) {
      const piece = this.#pieceAt(at, end - at)
      yield piece
      at += piece.length
    }
  }

  /** Returns the offset of the first byte of `bytes` that differs from the ripple at `offset`;
   *  undefined if none does. Bytes behind the end of the ripple differ. */
  differs(offset: number, bytes: Uint8Array): number | undefined {
    const end = Math.min(offset + bytes.length, this.size)
    let at = offset
    for (const piece of this.pieces(offset, end)) {
      const part = bytes.subarray(at - offset, at - offset + piece.length)
      if (Buffer.compare(piece, part) !== 0) {
        return at + piece.findIndex((byte, index) => byte !== part[index])
      }
      at += piece.length
    }
    return end < offset + bytes.length ? Math.max(end, offset) : undefined
  }

  #pieceAt(at: number, room: number): Buffer {
    if (this.#linesPeriod > 0) {
      const start = at % this.#linesPeriod
      return this.#table.subarray(start, Math.min(start + room, this.#table.length))
    }
    const line = Math.floor(at / (this.#length + 1))
    const column = at % (this.#length + 1)
    if (column === this.#length) return newline
    const start = (line + column) % period
    const left = Math.min(this.#length - column, room)
    return this.#table.subarray(start, Math.min(start + left, this.#table.length))
  }
}

function alphabet(): Buffer {
  const table = Buffer.allocUnsafeSlow(pieceSize + period)
  for (let at = 0; at < table.length; at++) table[at] = first + (at % period)
  return table
}

/** Makes whole periods of lines, as many as fill a piece. */
function lines(length: number): Buffer {
  const linesPeriod = period * (length + 1)
  const table = Buffer.allocUnsafeSlow(linesPeriod * Math.ceil(pieceSize / linesPeriod))
  for (let line = 0, at = 0; line < period; line++) {
    for (let column = 0; column < length; column++) {
      table[at++] = first + ((line + column) % period)
    }
    table[at++] = 10
  }
  for (let at = linesPeriod; at < table.length; at += linesPeriod) {
    table.copyWithin(at, 0, linesPeriod)
  }
  return table
}
