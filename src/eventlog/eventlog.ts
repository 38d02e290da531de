/** Eventlogs: an eventlog is an append key of events. See rfc/8.
 *  Invariant: an event never spans blobs. The events of one call are one transaction: all are
 *  appended, or none. Runs in browsers, over any `Kvs`. */

import type { AppendEventsOptions, Event, FollowEventsOptions } from '../api/event.js'
import type { Kvs, ReadScope } from '../api/kvs.js'
import type { CommittedOp, Op } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { encodeEvents } from './event.js'
import { Splitter } from './splitter.js'

export { decodeEvents, EventPieces, encodeEvent, encodeEvents, parseEvent } from './event.js'
export { eventsOfNdjson, fromNdjson, toNdjson } from './ndjson.js'

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
