/** The request `GET /v1/kv/KEY?follow`: the bytes of a key as they are appended, raw or as an event
 *  stream. See rfc/12, rules 9, 30 and 31.
 *  Invariant: a client that sends a position gets bytes only of the history that it has the
 *  beginning of. */

import type { From, Watching } from '../api/watch.js'
import { invalid } from '../base/shape.js'
import { TailraceError } from '../error.js'
import type { CheckedPlace, LogPlace } from '../kvs/log-place.js'
import type { Reply, Request } from './app.js'
import type { ServerContext } from './context.js'
import { type Conditions, judgeRead } from './etag.js'
import {
  eventHeartbeat,
  eventStreamType,
  isOver,
  keyFrames,
  lastEventOf,
  wantsEventStream,
} from './event-stream.js'
import { heartbeatMsDefault } from './heartbeat.js'
import { contentHeaders } from './page-safety.js'
import { formatPlace, positionHeader } from './place.js'
import { followedFrom, rangeHolds } from './range.js'
import { sendStream, signalOf } from './stream.js'

type FollowOptions = {
  readonly key: string
  readonly namespace: string
  readonly minSeq?: number | undefined
  readonly waitCreate?: boolean | undefined
  /** The index of the first blob. It excludes `from`. */
  readonly index?: number | undefined
  /** The first byte. */
  readonly from?: number | undefined
  readonly position?: LogPlace | undefined
  /** The heartbeat interval of an event stream, in ms. */
  readonly heartbeat?: number | undefined
  readonly conditions: Conditions
}

const noContent = 204
const partialContent = 206

/** Streams the key until it is sealed. Before the first byte is sent it throws what a watch throws,
 *  and EINVAL, ECONFLICT. */
export async function follow(
  context: ServerContext,
  request: Request,
  reply: Reply,
  options: FollowOptions,
): Promise<Reply> {
  const { key, namespace, minSeq, waitCreate = false } = options
  const { store, activity, log, pace } = context
  const events = wantsEventStream(request)
  checkOptions(request, options, events)
  const signal = signalOf(activity, reply)
  if (minSeq !== undefined) await store.root({ namespace, waitSeq: minSeq, signal })
  const last = events ? lastEventOf(request) : undefined
  if (last && (await isOver(context, options, last))) return reply.code(noContent).send()
  const range = await rangeOfFollow(context, request, options)
  const begin = await beginOf(context, { ...options, last, from: range?.from ?? options.from })
  const watching = store.watch(key, {
    mode: 'append',
    namespace,
    ...(begin.start === undefined ? {} : { from: begin.start }),
    waitCreate,
    signal,
  })
  const counted = activity.beginWatch()
  try {
    const headers = async () => {
      const place = begin.end ?? (await store.places.end(key, { namespace }))
      const stat = events ? undefined : await store.stat(key, { namespace })
      return {
        ...contentHeaders(events ? eventStreamType : stat?.attrs?.contentType),
        ...(place && { [positionHeader]: formatPlace(place) }),
        ...(range && { 'content-range': `bytes ${range.shown}-${Number.MAX_SAFE_INTEGER - 1}/*` }),
      }
    }
    const proven = begin.checked ? included(watching, key, begin.checked) : watching
    const pieces = events ? keyFrames(proven, begin) : bytesOf(proven, begin.from)
    const { heartbeat: ms = heartbeatMsDefault } = options
    const heartbeat = events ? { ms, bytes: eventHeartbeat } : undefined
    if (range) reply.code(partialContent)
    await sendStream(reply, { headers, pieces, heartbeat, signal, log, pace })
  } finally {
    counted.end()
  }
  return reply
}

/** Throws EINVAL for parameters that cannot go together, or mean nothing in a follow. */
function checkOptions(request: Request, options: FollowOptions, events: boolean): void {
  const { index, from, position, heartbeat, conditions } = options
  const ranged = request.headers.range !== undefined
  if (ranged && events) throw invalid('an event stream has no ranges: say ?from')
  if (ranged && (index ?? from) !== undefined) throw invalid('give ?index or ?from, or a Range')
  if (index !== undefined && position) throw invalid('?position goes with ?from, not with ?index')
  if (heartbeat !== undefined && !events) {
    const message = `a stream of bytes has no place for a heartbeat: ask with Accept: text/event-stream`
    throw invalid(message)
  }
  if (conditions.noneMatch) throw invalid('what is followed is sent: If-None-Match means nothing')
}

type FollowRange = { readonly from: number; readonly shown: number }

/** Returns the first byte that a `Range` asks for; undefined if the whole log is sent. Checks
 *  `If-Match` too. Throws EINVAL, ECONFLICT, ENOENT. */
async function rangeOfFollow(
  { store }: ServerContext,
  request: Request,
  { key, namespace, conditions }: FollowOptions,
): Promise<FollowRange | undefined> {
  const { range } = request.headers
  if (range === undefined && !conditions.match) return undefined
  const stat = await store.stat(key, { namespace })
  if (conditions.match) {
    if (!stat) throw new TailraceError('ENOENT', `there is no "${key}"`)
    judgeRead(conditions, key, stat)
  }
  const ifRange = request.headers['if-range']
  if (range === undefined) return undefined
  if (typeof ifRange === 'string' && !(stat && rangeHolds(ifRange, stat.ref))) return undefined
  if (stat?.base) {
    const message = `"${key}" was trimmed: say with ?from which byte of the whole log you mean`
    throw invalid(message)
  }
  const from = followedFrom(range, stat?.size ?? 0)
  return { from, shown: from }
}

type Begin = {
  /** The start of the watch. */
  readonly start: From | undefined
  /** The first byte that is sent; bytes before it are left out. */
  readonly from: number
  /** The place behind all bytes that were there at the beginning. */
  readonly end: LogPlace | undefined
  /** The check that the first blob must belong to. */
  readonly checked?: CheckedPlace
}

/** Returns the beginning of the stream. Throws EOVERWRITTEN, ECOMPACTED, ENOENT if a position does
 *  not hold. */
async function beginOf(
  { store }: ServerContext,
  options: FollowOptions & { readonly last: LogPlace | undefined },
): Promise<Begin> {
  const { key, namespace, index, from, position, last } = options
  if (last) {
    const { offset } = last
    return { start: last.position, from: offset, end: last }
  }
  if (!position) {
    const end = await store.places.end(key, { namespace }).catch(() => undefined)
    return { start: from === undefined ? index : { offset: from }, from: from ?? 0, end }
  }
  const begin = from ?? position.offset
  const checked = await store.places.check(key, position, begin, { namespace })
  const { end } = checked
  if (begin === end.offset) return { start: end.position, from: begin, end }
  return { start: { offset: begin }, from: begin, end, checked }
}

/** Passes a watch on, if its first blob belongs to the log that was checked: the log may have
 *  changed between the check and the watch. Throws EOVERWRITTEN. */
async function* included(watching: Watching, key: string, checked: CheckedPlace): Watching {
  let first = true
  for await (const event of watching) {
    if (first && event.type === 'append' && !(await checked.includes(event.position))) {
      throw new TailraceError('EOVERWRITTEN', `"${key}" was overwritten: start anew`)
    }
    first = false
    yield event
  }
}

/** Gives the bytes of a watch. An empty piece for another event lets the answer begin. */
async function* bytesOf(watching: Watching, from: number): AsyncGenerator<Uint8Array> {
  for await (const event of watching) {
    if (event.type !== 'append') yield new Uint8Array(0)
    else yield event.data.subarray(Math.max(0, from - event.offset))
  }
}
