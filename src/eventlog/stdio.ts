/** Output logs: the output of a process as an eventlog, similar to Flux RFC 24, and the gathering of what
 *  it writes. See rfc/8, rules 8 to 12, and rfc/11, rule 7.
 *  Invariant: every data and eof event has the offsets of both streams, so that any blob
 *  tells its place in both. The bytes of a data event are its last field, unchanged.
 *  Decoding runs in browsers, gathering does not. */

import type { Event, EventContext } from '../api/event.js'
import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { decodeEvents, encodeEvent, encodeEvents } from './event.js'

/** The streams of a process. */
export const streams = ['stdout', 'stderr'] as const
/** The name of a stream of a process. */
export type Stream = (typeof streams)[number]

/** Takes what is printed to a stream. */
export type Print = (stream: Stream, bytes: Uint8Array) => void

/** The number of bytes of each stream that came before. */
export type Offsets = { readonly [stream in Stream]: number }

/** A decoded event of an output log. `offsets` are those before the event. */
export type OutputEvent =
  | { readonly type: 'header'; readonly timestamp: number; readonly version: 1 }
  | {
      readonly type: 'data'
      readonly stream: Stream
      readonly timestamp: number
      readonly rank: string
      readonly offsets: Offsets
      /** A view of the blob. */
      readonly data: Uint8Array
    }
  | {
      readonly type: 'eof'
      readonly stream: Stream
      readonly timestamp: number
      readonly rank: string
      readonly offsets: Offsets
      readonly reason?: string
    }

/** The rank of the only process of a job, as an idset of Flux RFC 22. */
const rank = '0'

const utf8 = new TextEncoder()

/** Returns the blob with the first event of an output log. `timestamp` is in seconds since 1970. */
export function encodeHeader(timestamp: number): Uint8Array {
  const streamsRaw = { stdout: 'raw', stderr: 'raw' }
  const context: EventContext = {
    version: 1,
    encoding: streamsRaw,
    count: { stdout: 1, stderr: 1 },
    options: {},
  }
  return encodeEvent({ timestamp, name: 'header', context })
}

/** The place of a data event's bytes. */
export type DataPlace = {
  readonly stream: Stream
  /** The time at which the first byte came, in seconds since 1970. */
  readonly timestamp: number
  readonly offsets: Offsets
}

/** Writes the head of a data event, `dataHeadSize` bytes, without the size of its data, which
 *  `writeDataSize` writes. REQUIRES: `target` has room for it. */
export function writeDataHead(place: DataPlace, target: Buffer, at: number): void {
  const { stream, timestamp, offsets } = place
  const head = heads[stream]
  target.set(head.template, at)
  target.writeDoubleBE(timestamp, at + head.timestampAt)
  target.writeDoubleBE(offsets[stream], at + head.offsetAt)
  target.writeDoubleBE(offsets[otherOf(stream)], at + head.otherAt)
}

/** Writes the size of the data into the head of a data event that begins at `at`. */
export function writeDataSize(stream: Stream, size: number, target: Buffer, at: number): void {
  target.writeUInt32BE(size, at + heads[stream].sizeAt)
}

/** Returns the blob with the ends of both streams: the last append of a log. `timestamp` is in
 *  seconds since 1970. `reasons` says for a stream why it ended before its writers closed it. */
export function encodeEofs(
  timestamp: number,
  offsets: Offsets,
  reasons?: { readonly [stream in Stream]?: string | undefined },
): Uint8Array {
  const [eofs] = encodeEvents(
    streams.map((stream) => {
      const reason = reasons?.[stream]
      const place = { stream, rank, offset: offsets[stream], other: offsets[otherOf(stream)] }
      const context = { ...place, eof: true, ...(reason === undefined ? {} : { reason }) }
      return { timestamp, name: 'data', context }
    }),
  )
  return eofs ?? new Uint8Array(0)
}

/** Returns the size of the head of a data event: its bytes before its data. */
export function dataHeadSize(stream: Stream): number {
  return heads[stream].template.length
}

/** Returns the events of a blob of an output log, without those that this version does not know.
 *  Throws EINVAL for other bytes. */
export function decodeOutput(blob: Uint8Array): OutputEvent[] {
  const events: OutputEvent[] = []
  for (const event of decodeEvents(blob)) {
    if (event.name === 'header') events.push(headerOf(event))
    else if (event.name === 'data') events.push(dataOf(event))
  }
  return events
}

function headerOf(event: Event): OutputEvent {
  const fields: { readonly version?: unknown } = event.context ?? {}
  if (fields.version !== 1) {
    throw new TailraceError('EINVAL', 'the output is of a version that this program cannot read')
  }
  return { type: 'header', timestamp: event.timestamp, version: 1 }
}

type DataFields = { readonly [field in (typeof dataFields)[number]]?: unknown }
const dataFields = ['stream', 'rank', 'offset', 'other', 'eof', 'reason', 'data'] as const

function dataOf(event: Event): OutputEvent {
  const fields: DataFields = event.context ?? {}
  const { stream, offset, other, data, reason } = fields
  const whole = isOffset(offset) && isOffset(other) && typeof fields.rank === 'string'
  if ((stream !== 'stdout' && stream !== 'stderr') || !whole) throw malformed()
  const offsets =
    stream === 'stdout' ? { stdout: offset, stderr: other } : { stdout: other, stderr: offset }
  const place = { stream, timestamp: event.timestamp, rank: fields.rank, offsets } as const
  if (fields.eof === true) {
    return { type: 'eof', ...place, ...(typeof reason === 'string' ? { reason } : {}) }
  }
  if (!(data instanceof Uint8Array)) throw malformed()
  return { type: 'data', ...place, data }
}

function isOffset(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function malformed(): TailraceError {
  return new TailraceError('EINVAL', 'not the output of a job: a data event lacks its fields')
}

function otherOf(stream: Stream): Stream {
  return stream === 'stdout' ? 'stderr' : 'stdout'
}

/** The head of a data event as a template. All heads of a stream differ in four numbers only, which
 *  have fixed places because they are always float64 and bin32 (rfc/8, rule 12). */
type DataHead = {
  readonly template: Uint8Array
  readonly timestampAt: number
  readonly offsetAt: number
  readonly otherAt: number
  readonly sizeAt: number
}

function dataHeadOf(stream: Stream): DataHead {
  const bytes: number[] = []
  const text = (value: string) => bytes.push(0xa0 + value.length, ...utf8.encode(value))
  const hole = (kind: number, size: number) => {
    bytes.push(kind, ...new Uint8Array(size))
    return bytes.length - size
  }
  bytes.push(0x93)
  const timestampAt = hole(0xcb, 8)
  text('data')
  bytes.push(0x9b, 0x01)
  text('stream')
  text(stream)
  text('rank')
  text(rank)
  text('offset')
  const offsetAt = hole(0xcb, 8)
  text('other')
  const otherAt = hole(0xcb, 8)
  text('data')
  const sizeAt = hole(0xc6, 4)
  const template = Uint8Array.from(bytes)
  return { template, timestampAt, offsetAt, otherAt, sizeAt }
}

const heads: { readonly [stream in Stream]: DataHead } = {
  stdout: dataHeadOf('stdout'),
  stderr: dataHeadOf('stderr'),
}

/** The first size of the buffer, in bytes: a lone line fits. A larger one has the size of a
 *  blob. */
const firstSize = 16 * 1024
/** The largest head of an event, in bytes. A blob without room for one is full. */
const headSizeMax = Math.max(dataHeadSize('stdout'), dataHeadSize('stderr'))

/** The data event that is being written. */
type OpenRun = { readonly stream: Stream; readonly at: number }

/** Gathers the bytes that a process writes into blobs of data events. Bytes leave in the order in which they
 *  came, each once. They are copied when they come: no buffer that was handed in is kept. */
export class Gather {
  #buffer = Buffer.alloc(0)
  #size = 0
  #run: OpenRun | undefined
  #offsets: Offsets = { stdout: 0, stderr: 0 }

  /** The size of the gathered events, in bytes. */
  get size(): number {
    return this.#size
  }

  /** The offsets of the streams after all bytes that came. */
  get offsets(): Offsets {
    return this.#offsets
  }

  /** Copies the bytes, and returns the blobs that are full now. `timestamp`: seconds since 1970. */
  add(stream: Stream, chunk: Uint8Array, timestamp: number): Uint8Array[] {
    const full: Uint8Array[] = []
    for (let at = 0; at < chunk.length; ) {
      this.#openRun({ stream, timestamp, offsets: this.#offsets })
      const piece = chunk.subarray(at, at + blobSizeMax - this.#size)
      this.#reserve(piece.length)
      this.#buffer.set(piece, this.#size)
      this.#size += piece.length
      at += piece.length
      this.#offsets = { ...this.#offsets, [stream]: this.#offsets[stream] + piece.length }
      if (this.#size + headSizeMax >= blobSizeMax) full.push(this.take())
    }
    return full
  }

  /** Takes the gathered events, as one blob. REQUIRES: `size` is above 0. */
  take(): Uint8Array {
    this.#closeRun()
    const bytes = this.#buffer.subarray(0, this.#size)
    this.#size = 0
    // A small blob is copied, so that it does not pin a large buffer for as long as it is cached.
    const isCopied = bytes.length * 2 <= this.#buffer.length
    const own = isCopied ? Uint8Array.prototype.slice.call(bytes) : bytes
    // A job that prints a line at a time needs no other buffer for the next one.
    if (!isCopied || this.#buffer.length > firstSize) this.#buffer = Buffer.alloc(0)
    return own
  }

  #openRun(place: DataPlace): void {
    if (this.#run?.stream === place.stream) return
    this.#closeRun()
    this.#reserve(dataHeadSize(place.stream))
    writeDataHead(place, this.#buffer, this.#size)
    this.#run = { stream: place.stream, at: this.#size }
    this.#size += dataHeadSize(place.stream)
  }

  #closeRun(): void {
    if (!this.#run) return
    const { stream, at } = this.#run
    writeDataSize(stream, this.#size - at - dataHeadSize(stream), this.#buffer, at)
    this.#run = undefined
  }

  #reserve(size: number): void {
    const needed = this.#size + size
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(needed <= firstSize ? firstSize : blobSizeMax)
    larger.set(this.#buffer.subarray(0, this.#size))
    this.#buffer = larger
  }
}
