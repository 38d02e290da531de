/** Bodies in chunks (RFC 9112, 7.1), read beside Node's parser. That makes an event of each chunk, 5 µs of
 *  work, so that a read of chunks of a byte would keep the event loop for 50 ms. See rfc/12, rule 33.
 *  Invariant: what one read of the socket brought of a body is one piece of it. A body that does not
 *  follow the grammar to its last byte never ends well. */

import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** The largest extension of a chunk, and the largest trailers, in bytes: as in Node. */
export const chunkExtraMax = 16 * 1024
/** The size of a piece from which a view of it takes less time than its bytes, one by one. */
const viewSizeMin = 32
/** The largest number of digits of the size of a chunk, zeros in front included. */
const digitsMax = 32

const [cr, lf, semicolon] = [0x0d, 0x0a, 0x3b]

/** The part of the grammar that comes next. */
type State =
  | 'size'
  | 'extension'
  | 'size end'
  | 'data'
  | 'data cr'
  | 'data lf'
  | 'trailer'
  | 'trailer lf'
  | 'done'

/** Decodes one body. Mutable; owned by its connection. */
export class ChunkDecoder {
  #state: State = 'size'
  #size = 0
  #digits = 0
  /** The bytes of the extension of this chunk, or of the trailers. */
  #extra = 0
  /** The bytes of this line of the trailers. */
  #line = 0

  /** True once the body is whole. */
  get done(): boolean {
    return this.#state === 'done'
  }

  /** Returns what `bytes` have of the body, which may be a view of them, and how many of them were read:
   *  what stands behind the body is not looked at. Throws an error as Node's parser gives it. */
  take(bytes: Uint8Array): { readonly body: Uint8Array; readonly read: number } {
    const pieces = new Pieces(bytes)
    let at = 0
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const end = Math.min(bytes.length, at + this.#size)
        pieces.add(at, end)
        this.#size -= end - at
        at = end
        if (this.#size === 0) this.#state = 'data cr'
      } else if (this.#state === 'extension') at = this.#skipExtension(bytes, at)
      else this.#step(bytes[at++] ?? 0)
    }
    return { body: pieces.joined, read: at }
  }

  #step(byte: number): void {
    switch (this.#state) {
      case 'size':
        this.#takeSize(byte)
        return
      case 'size end':
        expect(byte, lf, 'HPE_STRICT', 'a line feed behind the size of a chunk')
        this.#state = this.#size > 0 ? 'data' : 'trailer'
        this.#extra = 0
        return
      case 'data cr':
        expect(byte, cr, 'HPE_STRICT', 'a carriage return behind a chunk')
        this.#state = 'data lf'
        return
      case 'data lf':
        expect(byte, lf, 'HPE_STRICT', 'a line feed behind a chunk')
        this.#state = 'size'
        this.#digits = 0
        return
      case 'trailer':
        if (byte === cr) this.#state = 'trailer lf'
        else {
          if (byte === lf) throw loneLineFeed()
          this.#line++
          if (++this.#extra > chunkExtraMax)
            throw parseError('HPE_HEADER_OVERFLOW', 'long trailers')
        }
        return
      case 'trailer lf':
        expect(byte, lf, 'HPE_STRICT', 'a line feed behind a trailer')
        this.#state = this.#line === 0 ? 'done' : 'trailer'
        this.#line = 0
        return
    }
  }

  /** Skips an extension, and returns where it ends. */
  #skipExtension(bytes: Uint8Array, from: number): number {
    const found = bytes.indexOf(cr, from)
    const end = found < 0 ? bytes.length : found
    this.#extra += end - from
    if (this.#extra > chunkExtraMax) {
      throw parseError('HPE_CHUNK_EXTENSIONS_OVERFLOW', 'a long extension')
    }
    if (bytes.subarray(from, end).includes(lf)) throw loneLineFeed()
    if (found < 0) return end
    this.#state = 'size end'
    return end + 1
  }

  #takeSize(byte: number): void {
    const digit = digitOf(byte)
    if (digit !== undefined) {
      this.#size = this.#size * 16 + digit
      if (++this.#digits > digitsMax || this.#size > Number.MAX_SAFE_INTEGER) {
        throw parseError('HPE_INVALID_CHUNK_SIZE', 'a huge chunk')
      }
      return
    }
    const isEnd = byte === cr || byte === semicolon
    if (!isEnd || this.#digits === 0) {
      throw parseError('HPE_INVALID_CHUNK_SIZE', 'the size of a chunk is a hexadecimal number')
    }
    this.#state = byte === cr ? 'size end' : 'extension'
  }
}

/** Pieces of one buffer, joined. A lone one that is most of it is a view of it. Memory of bodies is counted
 *  by their bytes, so that no piece may hold much more: a chunk of a byte may have an extension of 16 KiB. */
class Pieces {
  readonly #of: Uint8Array
  #first: Uint8Array | undefined
  #joined: Buffer | undefined
  #size = 0

  constructor(of: Uint8Array) {
    this.#of = of
  }

  add(from: number, to: number): void {
    if (!this.#first) {
      this.#first = this.#of.subarray(from, to)
      return
    }
    if (!this.#joined) {
      this.#joined = Buffer.allocUnsafe(this.#of.length)
      this.#joined.set(this.#first)
      this.#size = this.#first.length
    }
    if (to - from >= viewSizeMin) {
      this.#joined.set(this.#of.subarray(from, to), this.#size)
      this.#size += to - from
    } else {
      for (let at = from; at < to; at++) this.#joined[this.#size++] = this.#of[at] ?? 0
    }
  }

  get joined(): Uint8Array {
    const joined = this.#joined?.subarray(0, this.#size) ?? this.#first ?? new Uint8Array()
    return joined.length * 2 > this.#of.length ? joined : Uint8Array.from(joined)
  }
}

function digitOf(byte: number): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined
}

function expect(byte: number, wanted: number, code: string, what: string): void {
  if (byte !== wanted) throw parseError(code, `expected ${what}`)
}

function loneLineFeed(): NodeJS.ErrnoException {
  return parseError('HPE_STRICT', 'a line feed without a carriage return')
}

function parseError(code: string, reason: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`Parse Error: ${reason}`), { code })
}

/** True if the body of a request comes in chunks. REQUIRES: Node's parser has taken the head. */
export function isChunked({ headers }: IncomingMessage): boolean {
  return /(^|,)[ \t]*chunked[ \t]*$/i.test(headers['transfer-encoding'] ?? '')
}

/** A request whose body comes from here: `source` is called when its stream wants more. */
export type ChunkedRequest = IncomingMessage & { source?: () => void }

/** The largest part of what comes behind a body that is held until its answer, in bytes. */
const behindMax = 64 * 1024

/** Reads the body of a request from its socket, which nobody else reads. Mutable; owned by the
 *  connection. */
export class ChunkedBody {
  readonly #request: ChunkedRequest
  readonly #socket: Socket
  readonly #failed: (error: NodeJS.ErrnoException) => void
  readonly #decoder = new ChunkDecoder()
  readonly #behind: Uint8Array[] = []
  #behindSize = 0
  #hasFailed = false

  /** `head` comes first. `failed` is called once if the body is not what the grammar allows, or ends
   *  early. */
  constructor(
    request: ChunkedRequest,
    head: Uint8Array,
    failed: (error: NodeJS.ErrnoException) => void,
  ) {
    this.#request = request
    this.#socket = request.socket
    this.#failed = failed
    request.complete = false // Node ended the body that it does not read
    request.source = () => void this.#socket.resume()
    this.#socket.on('data', this.#take).on('end', this.#ended).on('close', this.#closed)
    this.#take(head)
    if (!this.#hasFailed) this.#socket.resume()
  }

  /** True once the body is whole. */
  get done(): boolean {
    return this.#decoder.done
  }

  /** Reads no more of the socket, and puts back what came behind the body. */
  leave(): void {
    this.#socket.off('data', this.#take).off('end', this.#ended).off('close', this.#closed)
    this.#socket.pause()
    if (this.#behindSize > 0) this.#socket.unshift(Buffer.concat(this.#behind))
  }

  readonly #take = (bytes: Uint8Array): void => {
    if (this.#hasFailed) return
    if (this.done) {
      this.#hold(bytes)
      return
    }
    try {
      const { body, read } = this.#decoder.take(bytes)
      if (body.length > 0 && !this.#request.push(body)) this.#socket.pause()
      if (!this.done) return
      this.#request.complete = true
      this.#request.push(null)
      this.#hold(bytes.subarray(read))
    } catch (error) {
      this.#fail(error as NodeJS.ErrnoException)
    }
  }

  /** Holds what came behind the body. The socket is read on, so that the end of the client is noticed. */
  #hold(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#behind.push(bytes)
    this.#behindSize += bytes.length
    if (this.#behindSize > behindMax) this.#socket.pause()
    else this.#socket.resume()
  }

  readonly #ended = (): void => {
    if (this.#hasFailed) return
    if (!this.done) {
      this.#fail(parseError('HPE_INVALID_EOF_STATE', 'the body ended early'))
      return
    }
    // As Node does: who ends a connection wants no answer.
    this.#abort()
    this.#socket.end()
  }

  readonly #closed = (): void => this.#abort()

  #abort(): void {
    if (!this.#request.destroyed) this.#request.destroy(parseError('ECONNRESET', 'aborted'))
  }

  #fail(error: NodeJS.ErrnoException): void {
    this.#hasFailed = true
    this.#failed(error)
  }
}
