/** Frames: batches of messages as bytes, for links between processes. See rfc/25, rule 8.
 *  Invariant: a batch is one write. Parts, which may be large, are not copied where they are sent, and
 *  each has memory of its own where it is received, so that the items of typed arrays are aligned. */

import type { Writable } from 'node:stream'
import { list } from '../base/shape.js'
import { decode, encodeFrame } from '../blob/codec.js'
import { TailraceError } from '../error.js'

/** A message: a plain body, and byte strings beside it. */
export type Envelope<P = Uint8Array> = { readonly body: unknown; readonly parts: readonly P[] }

/** The largest size of a batch that is joined for one write: to copy is faster than a write of many
 *  pieces. */
const joinedMax = 64 * 1024
/** The bytes of a frame before its sizes: the size of its bodies, and the number of its parts. */
const headSize = 8
/** The most bytes of bodies, and the most parts, of a frame. */
const [bodiesSizeMax, partsMax] = [256 * 1024 * 1024, 1_000_000]

/** Writes a batch of messages. */
export function writeBatch(to: Writable, batch: readonly Envelope[]): void {
  const parts = batch.flatMap((envelope) => envelope.parts)
  const bodies = encodeFrame(batch.map(({ body, parts: { length } }) => [length, body]))
  const head = Buffer.allocUnsafe(headSize + 4 * parts.length)
  head.writeUInt32LE(bodies.length, 0)
  head.writeUInt32LE(parts.length, 4)
  for (const [at, part] of parts.entries()) head.writeUInt32LE(part.length, headSize + 4 * at)
  const all = [head, bodies, ...parts]
  const size = all.reduce((sum, { length }) => sum + length, 0)
  if (size <= joinedMax) {
    to.write(Buffer.concat(all, size))
    return
  }
  to.cork()
  for (const piece of all) to.write(piece)
  to.uncork()
}

/** Reads frames from the chunks of a stream. Mutable; owned by one link. */
export class BatchReader {
  readonly #received: (batch: readonly Envelope[]) => void
  #phase: 'head' | 'sizes' | 'bodies' | 'parts' = 'head'
  /** The memory that is filled now, and its first free byte. */
  #into: Uint8Array = new Uint8Array(headSize)
  #at = 0
  #bodiesSize = 0
  #sizes: number[] = []
  #bodies: Uint8Array = new Uint8Array()
  #parts: Uint8Array[] = []

  constructor(received: (batch: readonly Envelope[]) => void) {
    this.#received = received
  }

  /** Takes a chunk. Throws EIO for bytes that are no frame. */
  take(chunk: Uint8Array): void {
    let rest = chunk
    while (rest.length > 0 || this.#at === this.#into.length) {
      const free = this.#into.length - this.#at
      const taken = rest.subarray(0, free)
      this.#into.set(taken, this.#at)
      this.#at += taken.length
      rest = rest.subarray(taken.length)
      if (this.#at < this.#into.length) return
      this.#filled()
    }
  }

  #filled(): void {
    const { buffer, byteOffset, byteLength } = this.#into
    const view = new DataView(buffer, byteOffset, byteLength)
    switch (this.#phase) {
      case 'head': {
        const count = view.getUint32(4, true)
        this.#bodiesSize = view.getUint32(0, true)
        if (this.#bodiesSize > bodiesSizeMax || count > partsMax) {
          throw new TailraceError('EIO', 'a worker and its scheduler do not understand each other')
        }
        this.#next('sizes', 4 * count)
        return
      }
      case 'sizes':
        this.#sizes = Array.from({ length: byteLength / 4 }, (_, at) =>
          view.getUint32(4 * at, true),
        )
        this.#next('bodies', this.#bodiesSize)
        return
      case 'bodies':
        this.#bodies = this.#into
        break
      case 'parts':
        this.#parts.push(this.#into)
        break
      default:
        this.#phase satisfies never
    }
    const size = this.#sizes[this.#parts.length]
    if (size !== undefined) this.#next('parts', size)
    else this.#end()
  }

  #end(): void {
    const [bodies, parts] = [this.#bodies, this.#parts]
    this.#parts = []
    this.#next('head', headSize)
    this.#received(envelopesOf(decode(bodies), parts))
  }

  #next(phase: 'head' | 'sizes' | 'bodies' | 'parts', size: number): void {
    this.#phase = phase
    this.#into = new Uint8Array(size)
    this.#at = 0
  }
}

function envelopesOf(decoded: unknown, parts: readonly Uint8Array[]): readonly Envelope[] {
  if (!Array.isArray(decoded)) throw new TailraceError('EIO', 'a frame is no batch of messages')
  let at = 0
  return decoded.map((pair: unknown) => {
    const [count, body]: unknown[] = list.is(pair) ? (pair as unknown[]) : []
    const first = at
    at += Number(count)
    return { body, parts: parts.slice(first, at) }
  })
}
