/** Eventlogs: an eventlog is an append key of events. See rfc/8.
 *  Invariant: an event never spans blobs. The events of one call are one transaction: all are
 *  appended, or none. A splitter holds at most one incomplete event, of at most `eventSizeMax`. Runs
 *  in browsers, over any `Kvs`. */

import {
  type AppendEventsOptions,
  type Event,
  eventSizeMax,
  type FollowEventsOptions,
} from '../api/event.js'
import type { Kvs, ReadScope } from '../api/kvs.js'
import type { CommittedOp, Op } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { decodeEvents, encodeEvents, notEvents } from './event.js'

export { decodeEvents, EventPieces, encodeEvent, encodeEvents, parseEvent } from './event.js'
export { eventsOfNdjson, fromNdjson, toJsonLine, toNdjson } from './ndjson.js'

import { checkValue, list } from '../base/shape.js'
import { join } from '../blob/blob.js'

/** Appends events. They are durable when it resolves, with the `index` of their first blob, and the
 *  `count` of blobs that the log has then. Most often they are one blob; events that do not fit one
 *  blob are several appends of one transaction. Throws EINVAL (also for no events without `seal`),
 *  E2BIG (an event above `eventSizeMax`, or all together above `transactionSizeMax`), ESEALED, and
 *  what `Kvs.commit` throws. */
export async function appendEvents(
  kvs: Kvs,
  key: string,
  events: readonly Event[],
  options?: AppendEventsOptions,
): Promise<CommittedOp> {
  checkValue('events', events, list)
  return appendPieces(kvs, key, encodeEvents(events), options)
}

/** Appends encoded events: the pieces that `encodeEvents` returned. Returns and throws what
 *  `appendEvents` does. */
export async function appendPieces(
  kvs: Kvs,
  key: string,
  pieces: readonly Uint8Array[],
  options?: AppendEventsOptions,
): Promise<CommittedOp> {
  const { seal, guards, cap, ...scope } = options ?? {}
  if (cap !== undefined && pieces.length === 0) {
    throw new TailraceError('EINVAL', 'a cap goes with events: a seal alone is no append')
  }
  const [first, ...rest] = opsOf(key, pieces, seal ?? false)
  const capped = first?.op === 'append' && cap !== undefined ? { ...first, cap } : first
  const ops = capped ? [capped, ...rest] : []
  if (ops.length === 0) throw new TailraceError('EINVAL', 'there is no event to append')
  const committed = await kvs.commit({ ops, ...(guards ? { guards } : {}) }, scope)
  const { results, ...root } = committed
  return { ...root, result: { ...results.at(-1), ...indexOf(results[0]) } }
}

/** Returns the ops that append these events, for a transaction that has other ops
 *  too. Throws EINVAL, E2BIG. */
export function appendOps(key: string, events: readonly Event[], seal: boolean): Op[] {
  return opsOf(key, encodeEvents(events), seal)
}

function opsOf(key: string, pieces: readonly Uint8Array[], seal: boolean): Op[] {
  const ops = pieces.map((value, index): Op => {
    const last = index === pieces.length - 1
    return { op: 'append', key, value, ...(last && seal ? { seal } : {}) }
  })
  return ops.length === 0 && seal ? [{ op: 'seal', key }] : ops
}

/** Yields all events at one root, in order. It loads them as they are consumed. Throws ENOENT,
 *  EINVAL (not an eventlog), and what `Kvs.read` throws. */
export async function* readEvents(
  kvs: Kvs,
  key: string,
  options?: ReadScope,
): AsyncGenerator<Event, void, undefined> {
  const reading = await kvs.read(key, options)
  if (!reading) throw new TailraceError('ENOENT', `there is no eventlog ${JSON.stringify(key)}`)
  const splitter = new Splitter()
  for await (const chunk of reading.chunks) {
    // `yield*` would await each event once more.
    for (const event of splitter.push(chunk)) yield event
  }
  splitter.finish()
}

/** Yields all events, then new ones as they are appended, until the log is sealed. Leaving
 *  the loop cancels the watch. Throws ENOENT, ENONS, EOVERWRITTEN, EINVAL (not an eventlog),
 *  and what a watch throws. */
export async function* followEvents(
  kvs: Kvs,
  key: string,
  options?: FollowEventsOptions,
): AsyncGenerator<Event, void, undefined> {
  const splitter = new Splitter()
  for await (const event of kvs.watch(key, { mode: 'append', ...options })) {
    if (event.type === 'append') {
      for (const each of splitter.push(event.data)) yield each
    } else if (event.type === 'end') splitter.finish()
  }
}

function indexOf(result: { readonly index?: number } | undefined): { readonly index?: number } {
  return result?.index === undefined ? {} : { index: result.index }
}

/** The number of bytes that are decoded in one step. */
const stepSize = 8 * 1024

/** The splitter of one log. Mutable; owned by the loop that reads the log. */
export class Splitter {
  /** The beginning of an event that is not complete yet. */
  #rest: Uint8Array = new Uint8Array(0);

  /** Takes bytes, and yields the events that are complete with them. It decodes them as they
   *  are taken, since a blob may hold tens of thousands. Throws EINVAL. REQUIRES: all are
   *  taken before the next call. */
  *push(bytes: Uint8Array): Generator<Event, void, undefined> {
    const all = this.#rest.length === 0 ? bytes : join([this.#rest, bytes])
    let at = 0
    for (;;) {
      const end = endOfWhole(all, at)
      if (end === at) break
      yield* decodeEvents(all.subarray(at, end))
      at = end
    }
    if (all.length - at > eventSizeMax) {
      throw notEvents() // no event is larger
    }
    this.#rest = at === all.length ? new Uint8Array(0) : all.slice(at)
  }

  /** Throws EINVAL if the log ended in the middle of an event. */
  finish(): void {
    if (this.#rest.length > 0) {
      throw notEvents()
    }
  }
}

/** Returns the end of the complete msgpack values from `start` on, up to the first value that ends
 *  at least `stepSize` behind `start`; `start` itself if no value is complete. Throws EINVAL. */
function endOfWhole(bytes: Uint8Array, start: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let end = start
  while (end < bytes.length && end < start + stepSize) {
    const next = endOfValue(view, end)
    if (next === undefined) break
    end = next
  }
  return end
}

/** Returns the end of the value that begins at `start`; undefined if it is not
 *  complete yet. Throws EINVAL. */
function endOfValue(view: DataView, start: number): number | undefined {
  let at = start
  for (let values = 1; values > 0; values--) {
    if (at >= view.byteLength) return undefined
    const head = headAt(view, at)
    if (!head) return undefined
    at += head.size
    values += head.items
  }
  return at <= view.byteLength ? at : undefined
}

/** The head of a msgpack value. `size` has the bytes of the head and of its own data; `items` is
 *  the number of values that follow as its parts. */
type Head = { readonly size: number; readonly items: number }

/** Returns the head at `at`; undefined if it is not complete yet. Throws EINVAL for a
 *  value that no event has. */
function headAt(view: DataView, at: number): Head | undefined {
  const byte = view.getUint8(at)
  if (byte <= 0x7f || byte >= 0xe0) return { size: 1, items: 0 }
  if (byte >= 0x90 && byte <= 0x9f) return { size: 1, items: byte & 0x0f }
  if (byte >= 0xa0 && byte <= 0xbf) return { size: 1 + (byte & 0x1f), items: 0 }
  const width = lengthWidths.get(byte)
  if (width !== undefined) {
    if (at + 1 + width > view.byteLength) return undefined
    const length =
      width === 1
        ? view.getUint8(at + 1)
        : width === 2
          ? view.getUint16(at + 1)
          : view.getUint32(at + 1)
    if (byte >= 0xdc) return { size: 1 + width, items: length }
    return { size: 1 + width + length, items: 0 }
  }
  const size = fixedSizes.get(byte)
  if (size !== undefined) return { size, items: 0 }
  throw notEvents()
}

/** The bytes of the length behind the heads of bin, str and array, by the first byte. */
const lengthWidths: ReadonlyMap<number, 1 | 2 | 4> = new Map([
  [0xc4, 1],
  [0xc5, 2],
  [0xc6, 4],
  [0xd9, 1],
  [0xda, 2],
  [0xdb, 4],
  [0xdc, 2],
  [0xdd, 4],
])

/** The sizes of nil, booleans, floats and integers, in bytes, by the first byte. */
const fixedSizes: ReadonlyMap<number, number> = new Map([
  [0xc0, 1],
  [0xc2, 1],
  [0xc3, 1],
  [0xca, 5],
  [0xcb, 9],
  [0xcc, 2],
  [0xcd, 3],
  [0xce, 5],
  [0xcf, 9],
  [0xd0, 2],
  [0xd1, 3],
  [0xd2, 5],
  [0xd3, 9],
])
