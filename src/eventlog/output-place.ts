/** Finds the start of a read in an output log: so many lines from the end, or at a time. See rfc/8, rules 11 and 13.
 *  Invariant: a time is found in O(log n) blobs, lines from the end in the blobs that hold them. Runs in browsers,
 *  over any `Kvs`. */

import type { Kvs } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import { join } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { type Base, baseNone } from '../tree/treeobj.js'
import { decodeOutput, type OutputEvent, type Stream, streams } from './stdio.js'

export type OutputLog = { readonly kvs: Kvs; readonly key: string; readonly scope: Scope }

/** Blob, event of it, byte of that event's data. An event behind its last one: all of the blob is passed over. */
export type OutputPlace = { readonly index: number; readonly event: number; readonly byte: number }

export const beginning: OutputPlace = { index: 0, event: 0, byte: 0 }

/** Blobs of a log, those that a trim dropped included. */
export type Count = { readonly count: number; readonly base: Base }

const newline = 10

/** The beginning of the last `lines` lines, as the streams stand in the log, one after the other. A last line
 *  without its newline counts as one; 0 is the end. Throws ENOENT, EINVAL (no output log). */
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
        // The newline at the very end ends the last line, and begins none.
        const ends = !behind && at === data.length - 1
        if (!ends && --left === 0) return { index, event, byte: at + 1 }
        end = at
      }
      if (data.length > 0) behind = true
    }
  }
  return { ...beginning, index: base.count }
}

/** The first event at or after a time (ms since 1970, by the clock that wrote the log). Throws ENOENT, EINVAL (no output log). */
export async function placeSince(log: OutputLog, since: number): Promise<OutputPlace> {
  const isBefore = (event: OutputEvent | undefined) => (event?.timestamp ?? 0) * 1000 < since
  const index = await lastBlob(log, await countOf(log), ([first]) => isBefore(first))
  const events = decodeOutput(await readBlob(log, index))
  const event = events.findIndex((each) => !isBefore(each))
  return { index, event: event < 0 ? events.length : event, byte: 0 }
}

/** Events of a blob at the place or behind it. */
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

/** The last blob that `isBefore`, else the first that is there. REQUIRES: no blob is that comes behind one that is
 *  not. Blobs of an append key never change, so that each step may read its own root. */
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

/** Throws ENOENT. */
export async function countOf(log: OutputLog): Promise<Count> {
  const stat = await log.kvs.stat(log.key, log.scope)
  if (!stat) throw missing(log)
  return { count: stat.count, base: stat.base ?? baseNone }
}

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
