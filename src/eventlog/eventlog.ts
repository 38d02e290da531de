/** Eventlogs on the store: an append key of events. See rfc/8.
 *  Invariant: an event never spans blobs, and the events of one call are one transaction: all of
 *  them or none. Runs in browsers, over any `Kvs`. */

import type { AppendEventsOptions, Event, FollowEventsOptions } from '../api/event.js'
import type { Kvs, ReadScope } from '../api/kvs.js'
import type { CommittedOp, Op } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { encodeEvents } from './event.js'
import { Splitter } from './splitter.js'

export { decodeEvents, EventPieces, encodeEvent, encodeEvents, parseEvent } from './event.js'
export { eventsOfNdjson, fromNdjson, toNdjson } from './ndjson.js'

/** Appends events, durable when it resolves: `index` of the first blob, `count` of blobs after it.
 *  Most often that is one blob; events that do not fit one are several, of one transaction.
 *  Throws EINVAL (also: no events and no `seal`), E2BIG (an event above `eventSizeMax`, or all of
 *  them above `transactionSizeMax`), ESEALED and what `Kvs.commit` throws. */
export async function appendEvents(
  kvs: Kvs,
  key: string,
  events: readonly Event[],
  options?: AppendEventsOptions,
): Promise<CommittedOp> {
  return appendPieces(kvs, key, encodeEvents(events), options)
}

/** Like `appendEvents`, of events that are encoded: the pieces of `encodeEvents`. */
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

/** The ops that append these events, for a transaction that does more. Throws EINVAL, E2BIG. */
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

/** All events at one root, in order, loaded as they are consumed. Throws ENOENT, EINVAL (not an
 *  eventlog) and what `Kvs.read` throws. */
export async function* readEvents(
  kvs: Kvs,
  key: string,
  options?: ReadScope,
): AsyncGenerator<Event, void, undefined> {
  const reading = await kvs.read(key, options)
  if (!reading) throw new TailraceError('ENOENT', `there is no eventlog ${JSON.stringify(key)}`)
  const splitter = new Splitter()
  for await (const chunk of reading.chunks) {
    // `yield*` would await each of them once more.
    for (const event of splitter.push(chunk)) yield event
  }
  splitter.finish()
}

/** All events, then new ones as they are appended, until the log is sealed. Throws ENOENT, ENONS,
 *  EOVERWRITTEN, EINVAL (not an eventlog) and what a watch ends with. Leaving the loop cancels the
 *  watch. */
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
