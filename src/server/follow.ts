/** `GET /v1/kv/KEY?follow`: a key's raw bytes as they are appended, or an event stream of them. See rfc/12,
 *  rules 9, 30 and 31.
 *  Invariant: what a client has and what it is sent are of one history, where it says by a position which
 *  one it has. */

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
import { heartbeatMsDefault, withHeartbeat } from './heartbeat.js'
import { formatPlace, positionHeader } from './place.js'
import { followedFrom, rangeHolds } from './range.js'
import { sendStream, signalOf } from './stream.js'

export type FollowOptions = {
  readonly key: string
  readonly namespace: string
  readonly minSeq?: number | undefined
  readonly waitCreate?: boolean | undefined
  /** Of the first blob; or the byte to begin with. Not both. */
  readonly index?: number | undefined
  readonly from?: number | undefined
  readonly position?: LogPlace | undefined
  /** Heartbeat interval of an event stream, ms. */
  readonly heartbeat?: number | undefined
  readonly conditions: Conditions
}

const noContent = 204
const partialContent = 206

/** Streams until the key is sealed. Throws as a watch, until the first byte is on its way. */
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
        'content-type': events
          ? eventStreamType
          : (stat?.attrs?.contentType ?? 'application/octet-stream'),
        ...(place && { [positionHeader]: formatPlace(place) }),
        ...(range && { 'content-range': `bytes ${range.shown}-${Number.MAX_SAFE_INTEGER - 1}/*` }),
      }
    }
    const proven = begin.checked ? included(watching, key, begin.checked) : watching
    const pieces = events ? keyFrames(proven, begin) : bytesOf(proven, begin.from)
    const { heartbeat = heartbeatMsDefault } = options
    const beating = events ? withHeartbeat(pieces, heartbeat, eventHeartbeat) : pieces
    if (range) reply.code(partialContent)
    await sendStream(reply, { headers, pieces: beating, signal, log, pace })
  } finally {
    counted.end()
  }
  return reply
}

/** Throws EINVAL for what means nothing here. */
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

/** A range of what is followed has no end. Throws EINVAL, ECONFLICT. */
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
  readonly start: From | undefined
  /** Bytes before it are left out. */
  readonly from: number
  /** Behind what was there when the answer began. */
  readonly end: LogPlace | undefined
  /** The first blob must be one that this check looked at. */
  readonly checked?: CheckedPlace
}

/** Throws EOVERWRITTEN, ECOMPACTED, ENOENT where a position does not hold. */
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

/** The watch began after the check: its first blob must be one of those that were looked at. */
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

/** An empty piece says that the stream has begun. */
async function* bytesOf(watching: Watching, from: number): AsyncGenerator<Uint8Array> {
  for await (const event of watching) {
    if (event.type !== 'append') yield new Uint8Array(0)
    else yield event.data.subarray(Math.max(0, from - event.offset))
  }
}
