/** Finds the start of a read in an output log: a number of lines before the end, or a time. See
 *  rfc/8, rules 11 and 13.
 *  Invariant: a search for a time reads O(log n) blobs; a search for lines reads only the blobs
 *  that hold them. Runs in browsers, over any `Kvs`. */

import type { Kvs } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import { join } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { type Base, baseNone } from '../treeobj/treeobj.js'
import { decodeOutput, type OutputEvent, type Stream, streams } from './stdio.js'

/** An output log: its key, with the namespace and the signal of its reads. */
export type OutputLog = { readonly kvs: Kvs; readonly key: string; readonly scope: Scope }

/** A place in an output log: the index of a blob, of an event in it, and of a byte in that event's
 *  data. An event index behind the last one skips the whole blob. */
export type OutputPlace = { readonly index: number; readonly event: number; readonly byte: number }

/** The first place of a log. */
export const beginning: OutputPlace = { index: 0, event: 0, byte: 0 }

/** The number of blobs of a log, those that trims dropped included, and its base. */
export type Count = { readonly count: number; readonly base: Base }

const newline = 10

/** Returns the place where the last `lines` lines begin, counted in the streams `of` as they are
 *  mixed in the log. A last line without its newline counts as one; 0 is the end. Throws ENOENT,
 *  EINVAL (not an output log). */
export async function placeOfLines(
  log: OutputLog,
  lines: number,
  of: readonly Stream[] = streams,
): Promise<OutputPlace> {
  const { count, base } = await countOf(log)
  if (lines === 0) return { ...beginning, index: count }
  let left = lines
  let behind = false
  for (let index = count - 1; index >= base.count; index--) {
    const events = decodeOutput(await readBlob(log, index))
    for (let event = events.length - 1; event >= 0; event--) {
      const part = events[event]
      if (part?.type !== 'data' || !of.includes(part.stream)) continue
      const { data } = part
      for (let end = data.length; end > 0; behind = true) {
        const at = data.lastIndexOf(newline, end - 1)
        if (at < 0) break
        // A newline at the very end ends the last line: no line begins behind it.
        const ends = !behind && at === data.length - 1
        if (!ends && --left === 0) return { index, event, byte: at + 1 }
        end = at
      }
      if (data.length > 0) behind = true
    }
  }
  return { ...beginning, index: base.count }
}

/** Returns the place of the first event at or after a time, in ms since 1970 by the clock that
 *  wrote the log. Throws ENOENT, EINVAL (not an output log). */
export async function placeSince(log: OutputLog, since: number): Promise<OutputPlace> {
  const isBefore = (event: OutputEvent | undefined) => (event?.timestamp ?? 0) * 1000 < since
  const index = await lastBlob(log, await countOf(log), ([first]) => isBefore(first))
  const events = decodeOutput(await readBlob(log, index))
  const event = events.findIndex((each) => !isBefore(each))
  return { index, event: event < 0 ? events.length : event, byte: 0 }
}

/** Returns the events of the blob with the index `blob` that are at the place or behind it. The
 *  first one is cut if the place is inside its data. */
export function eventsFrom(
  { index, event, byte }: OutputPlace,
  blob: number,
  events: readonly OutputEvent[],
): readonly OutputEvent[] {
  if (blob !== index) return events
  return events.slice(event).map((each, at) => {
    if (at > 0 || byte === 0 || each.type !== 'data') return each
    const { data, offsets, stream } = each
    return {
      ...each,
      data: data.subarray(byte),
      offsets: { ...offsets, [stream]: offsets[stream] + byte },
    }
  })
}

/** Returns the index of the last blob for which `isBefore` is true, or that of the first blob that
 *  is left. Each step may read another root, since the blobs of an append key never change.
 *  REQUIRES: no blob for which it is true comes behind one for which it is false. */
export async function lastBlob(
  log: OutputLog,
  { count, base }: Count,
  isBefore: (events: readonly OutputEvent[]) => boolean,
): Promise<number> {
  let low = base.count
  let high = count
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (isBefore(decodeOutput(await readBlob(log, middle)))) low = middle
    else high = middle
  }
  return low
}

/** Returns the number of blobs of a log. Throws ENOENT. */
export async function countOf(log: OutputLog): Promise<Count> {
  const stat = await log.kvs.stat(log.key, log.scope)
  if (!stat) throw missing(log)
  return { count: stat.count, base: stat.base ?? baseNone }
}

/** Returns the bytes of a blob of a log. Throws ENOENT, and what `Kvs.read` throws. */
export async function readBlob(log: OutputLog, index: number): Promise<Uint8Array> {
  const reading = await log.kvs.read(log.key, { ...log.scope, index })
  if (!reading) throw missing(log)
  const chunks: Uint8Array[] = []
  for await (const chunk of reading.chunks) chunks.push(chunk)
  return join(chunks)
}

function missing({ key }: OutputLog): TailraceError {
  return new TailraceError('ENOENT', `there is no output ${JSON.stringify(key)}`)
}
