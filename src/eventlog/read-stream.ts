/** The bytes of one stream of an output log, from any offset of that stream. See rfc/8.
 *  Invariant: bytes come in order, each once; what stands before the start is not read but for a
 *  search over blobs. Runs in browsers, over any `Kvs`. */

import type { Kvs } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { compacted } from '../tree/base.js'
import {
  beginning,
  type Count,
  countOf,
  eventsFrom,
  lastBlob,
  type OutputLog,
  type OutputPlace,
  placeOfLines,
  placeSince,
  readBlob,
} from './output-place.js'
import { decodeOutput, type Offsets, type OutputEvent, type Stream, streams } from './stdio.js'

export type ReadStreamOptions = Scope & {
  /** Byte of the stream to begin with; below 0: so many from the end. Default the first that is there. One past the
   *  end gives nothing (with `follow`: waits until the stream is there or has ended). */
  readonly from?: number
  /** Instead of `from`: what was written then or later, ms since 1970. */
  readonly since?: number
  /** Instead of `from`: the last so many lines. */
  readonly lines?: number
  /** Ends before this byte. */
  readonly to?: number
  /** Go on until the stream has ended. Otherwise until all that is there was read. */
  readonly follow?: boolean
}

/** Bytes of a stream; `offset` is that of the first of them in the stream, `timestamp` when they came, seconds since
 *  1970. */
export type OutputPiece = {
  readonly stream: Stream
  readonly timestamp: number
  readonly offset: number
  readonly data: Uint8Array
}

/** The stream's bytes as they stand in the log at `key`, piece by piece. Throws EINVAL, ENOENT,
 *  EINVAL (not an output log) and what a watch ends with. Leaving the loop cancels. */
export async function* readOutput(
  kvs: Kvs,
  key: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { data } of readPieces(kvs, key, stream, options)) yield data
}

/** Reads a stream, or without one both of them, in pieces, each with its place. Throws as `readOutput`. */
export async function* readPieces(
  kvs: Kvs,
  key: string,
  stream: Stream | undefined,
  options?: ReadStreamOptions,
): AsyncGenerator<OutputPiece, void, undefined> {
  const { from, since, lines, to = Infinity, follow = false, ...scope } = options ?? {}
  const [start, another] = [from, since, lines].filter((each) => each !== undefined)
  if (another !== undefined) {
    throw new TailraceError('EINVAL', 'from, since and lines exclude one another')
  }
  if (stream === undefined && from !== undefined) {
    throw new TailraceError('EINVAL', 'from counts the bytes of one stream: say which')
  }
  checkWhole('from', from, Number.MIN_SAFE_INTEGER)
  checkWhole('since', since, 0)
  checkWhole('lines', lines, 0)
  const log = { kvs, key, scope }
  const place = await placeOf(log, { stream, from, since, lines })
  // A start that is not said is the first that is there, wherever a trim left that.
  const begin = start === undefined ? {} : { from: place.index }
  const { first } = place
  for await (const append of kvs.watch(key, { mode: 'append', ...begin, ...scope })) {
    if (append.type === 'live' && !follow) return
    if (append.type !== 'append') continue
    for (const event of eventsFrom(place, append.index, decodeOutput(append.data))) {
      if (event.type === 'header') continue
      if (stream !== undefined && event.stream !== stream) continue
      // Without a stream the log's own end ends it, which comes after the ends of both.
      if (event.type === 'eof' && stream !== undefined) return
      if (event.type === 'eof') continue
      const offset = event.offsets[event.stream]
      const skipped = Math.max(0, first - offset)
      const data = event.data.subarray(skipped, Math.max(0, to - offset))
      const { timestamp } = event
      if (data.length > 0) yield { stream: event.stream, timestamp, offset: offset + skipped, data }
      if (offset + event.data.length >= to) return
    }
  }
}

type Start = {
  readonly stream: Stream | undefined
  readonly from?: number | undefined
  readonly since?: number | undefined
  readonly lines?: number | undefined
}

/** Place to begin at, and the first byte of the stream that is wanted from there on. */
async function placeOf(
  log: OutputLog,
  { stream, from = 0, since, lines }: Start,
): Promise<OutputPlace & { readonly first: number }> {
  if (since !== undefined) return { ...(await placeSince(log, since)), first: 0 }
  if (lines !== undefined)
    return {
      ...(await placeOfLines(log, lines, stream === undefined ? streams : [stream])),
      first: 0,
    }
  if (from === 0 || stream === undefined) return { ...beginning, first: 0 }
  const count = await countOf(log)
  const end = from < 0 ? (await endOfLog(log, count.count))[stream] : 0
  const first = from < 0 ? Math.max(0, end + from) : from
  return { ...beginning, index: await blobOf(log, count, stream, first, from < 0), first }
}

function checkWhole(name: string, value: number | undefined, min: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= min)) return
  const bound = min < 0 ? '' : `, ${min} or more`
  throw new TailraceError('EINVAL', `${name} is a whole number${bound}`)
}

/** Bytes of each stream of a job that are there now. Throws ENOENT. */
export async function sizeOfStreams(kvs: Kvs, id: string, signal?: AbortSignal): Promise<Offsets> {
  const scope = { namespace: 'jobs', ...(signal && { signal }) }
  const log = { kvs, key: `${id}/output`, scope }
  return endOfLog(log, (await countOf(log)).count)
}

/** The stream of a job, by the job's id. See `readOutput`. */
export function readStream(
  kvs: Kvs,
  id: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  return readOutput(kvs, `${id}/output`, stream, { namespace: 'jobs', ...options })
}

/** The stream of a job, with the place of each piece. */
export function readStreamPieces(
  kvs: Kvs,
  id: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<OutputPiece, void, undefined> {
  return readPieces(kvs, `${id}/output`, stream, { namespace: 'jobs', ...options })
}

/** The last blob at whose beginning the stream stands at or before `offset`. Where a trim dropped it: the first
 *  that is there if it is `bounded`, else ECOMPACTED. */
async function blobOf(
  log: OutputLog,
  { count, base }: Count,
  stream: Stream,
  offset: number,
  bounded: boolean,
): Promise<number> {
  const first = base.count
  if (first > 0 && first < count && (await offsetsAt(log, first))[stream] > offset) {
    if (bounded) return first
    throw compacted(`byte ${offset} of ${stream}`, base)
  }
  return lastBlob(log, { count, base }, (events) => offsetsOf(events)[stream] <= offset)
}

/** Where each stream stands at the beginning of a blob. */
async function offsetsAt(log: OutputLog, index: number): Promise<Offsets> {
  return offsetsOf(decodeOutput(await readBlob(log, index)))
}

function offsetsOf([first]: readonly OutputEvent[]): Offsets {
  return first && first.type !== 'header' ? first.offsets : { stdout: 0, stderr: 0 }
}

/** Where each stream stands after the last of `count` blobs. Throws as `readOutput`. */
export function endOfOutput(kvs: Kvs, key: string, count: number, scope: Scope): Promise<Offsets> {
  return endOfLog({ kvs, key, scope }, count)
}

async function endOfLog(log: OutputLog, count: number): Promise<Offsets> {
  let offsets: Offsets = { stdout: 0, stderr: 0 }
  if (count === 0) return offsets
  for (const event of decodeOutput(await readBlob(log, count - 1))) {
    if (event.type === 'header') continue
    const size = event.type === 'data' ? event.data.length : 0
    offsets = { ...event.offsets, [event.stream]: event.offsets[event.stream] + size }
  }
  return offsets
}
