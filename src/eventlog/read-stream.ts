/** Reads of one stream of an output log, from any offset of that stream, or of both streams. See
 *  rfc/8.
 *  Invariant: bytes come in order, each once. Of the blobs before the start only those of a binary
 *  search are read. Runs in browsers, over any `Kvs`. */

import type { Kvs } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Scope } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { compacted } from '../treeobj/treeobj.js'
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

/** Options of a read. At most one of `from`, `since` and `lines` may be given. */
export type ReadStreamOptions = Scope & {
  /** The offset of the first byte in the stream; below 0 it counts from the end. Default: the first
   *  byte that is left. A read past the end returns nothing; with `follow` it waits until the
   *  stream gets there or ends. */
  readonly from?: number
  /** The time, in ms since 1970, of the first output to read. */
  readonly since?: number
  /** The number of lines before the end with which the read begins. */
  readonly lines?: number
  /** The offset before which the read ends. Default: no bound. */
  readonly to?: number
  /** True to read on until the stream has ended. Default: the read ends after
   *  the bytes that are there. */
  readonly follow?: boolean
}

/** Bytes of a stream. `offset` is that of the first byte in the stream; `timestamp` is the time at
 *  which it came, in seconds since 1970. */
export type OutputPiece = {
  readonly stream: Stream
  readonly timestamp: number
  readonly offset: number
  readonly data: Uint8Array
}

/** Yields the bytes of a stream of the output log `key`, piece by piece. Leaving the loop
 *  cancels the read. Throws EINVAL (options, or not an output log), ENOENT, ECOMPACTED,
 *  and what a watch throws. */
export async function* readOutput(
  kvs: Kvs,
  key: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { data } of readPieces(kvs, key, stream, options)) yield data
}

/** Yields the pieces of a stream of the output log `key`, each with its offset and time; without
 *  `stream` those of both streams. Leaving the loop cancels the read. Throws EINVAL (options, or
 *  not an output log), ENOENT, ECOMPACTED, and what a watch throws. */
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
  // Without a start the watch begins at the first blob that is left, which a trim may move
  // meanwhile.
  const begin = start === undefined ? {} : { from: place.index }
  const { first } = place
  for await (const append of kvs.watch(key, { mode: 'append', ...begin, ...scope })) {
    if (append.type === 'live' && !follow) return
    if (append.type !== 'append') continue
    for (const event of eventsFrom(place, append.index, decodeOutput(append.data))) {
      if (event.type === 'header') continue
      if (stream !== undefined && event.stream !== stream) continue
      // Without a stream the read ends with the log, whose end comes after the ends of both
      // streams.
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

/** Returns the place at which to begin. `first` is the offset of the first
 *  wanted byte in the stream. */
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

/** Returns the number of bytes of each stream of a job so far. Throws ENOENT. */
export async function sizeOfStreams(kvs: Kvs, id: string, signal?: AbortSignal): Promise<Offsets> {
  const scope = { namespace: jobsNamespace, ...(signal && { signal }) }
  const log = { kvs, key: `${id}/output`, scope }
  return endOfLog(log, (await countOf(log)).count)
}

/** Yields the bytes of a stream of the job `id`, like `readOutput`. */
export function readStream(
  kvs: Kvs,
  id: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  return readOutput(kvs, `${id}/output`, stream, { namespace: jobsNamespace, ...options })
}

/** Yields the pieces of a stream of the job `id`, like `readPieces`. */
export function readStreamPieces(
  kvs: Kvs,
  id: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<OutputPiece, void, undefined> {
  return readPieces(kvs, `${id}/output`, stream, { namespace: jobsNamespace, ...options })
}

/** Returns the index of the last blob at whose beginning the stream is at or before
 *  `offset`. If a trim dropped that blob, returns the first one that is left if
 *  `bounded`, else throws ECOMPACTED. */
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

/** Returns the offset of each stream at the beginning of a blob. */
async function offsetsAt(log: OutputLog, index: number): Promise<Offsets> {
  return offsetsOf(decodeOutput(await readBlob(log, index)))
}

function offsetsOf([first]: readonly OutputEvent[]): Offsets {
  return first && first.type !== 'header' ? first.offsets : { stdout: 0, stderr: 0 }
}

/** Returns the offset of each stream behind the last of `count` blobs. Throws ENOENT, EINVAL (not
 *  an output log), and what `Kvs.read` throws. */
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
