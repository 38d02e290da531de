/** The requests of `/v1/eventlog/KEY`: events as NDJSON, one on each line. See rfc/8 and rfc/12.
 *  Invariant: a line is a whole event. All events of one POST are one append. */

import type { Event } from '../api/event.js'
import { primary } from '../api/namespace.js'
import { transactionSizeMax } from '../api/transaction.js'
import { defined, invalid } from '../base/shape.js'
import {
  appendPieces,
  EventPieces,
  eventsOfNdjson,
  followEvents,
  readEvents,
  toNdjson,
} from '../eventlog/eventlog.js'
import { appendEventlog, readEventlog } from '../wire/eventlogs.js'
import type { ArgsOf } from '../wire/request.js'
import type { Reply, Request } from './app.js'
import { readBody } from './body.js'
import { withCap } from './cap.js'
import type { ServerContext } from './context.js'
import { guardsOf } from './etag.js'
import {
  eventHeartbeat,
  eventlogFrames,
  eventStreamType,
  isOver,
  lastEventOf,
  wantsEventStream,
} from './event-stream.js'
import { checkHeartbeat, heartbeatMsDefault } from './heartbeat.js'
import { created } from './kv-read.js'
import { idempotencyOf } from './once.js'
import type { Routes } from './routes.js'
import { sendStream, signalOf } from './stream.js'

const noContent = 204
/** The heartbeat of NDJSON: its readers skip empty lines. */
const emptyLine = Buffer.from('\n')
const headers = { 'content-type': 'application/x-ndjson' }

export function serveEventlogs(routes: Routes): void {
  routes.serveHttp(readEventlog, (args, http) => read(http.context, args, http.request, http.reply))
  routes.serveHttp(appendEventlog, (args, http) => append(http.context, args, http.request))
}

async function append(
  context: ServerContext,
  { key, namespace = primary, ...args }: ArgsOf<typeof appendEventlog>,
  request: Request,
): Promise<unknown> {
  const text = await readBody(request, transactionSizeMax)
  const pieces = new EventPieces()
  const timestamp = context.environment.now() / 1000
  for await (const event of eventsOfNdjson(text, { timestamp })) pieces.push(event)
  const guards = guardsOf(request)
  const options = { namespace, guards, ...withCap(args), ...idempotencyOf(request) }
  return appendPieces(context.store, key, pieces.end(), options)
}

async function read(
  context: ServerContext,
  query: ArgsOf<typeof readEventlog>,
  request: Request,
  reply: Reply,
): Promise<Reply> {
  const { key, namespace = primary } = query
  const { at, minSeq, follow, waitCreate = false, waitEvent } = query
  const heartbeat = checkHeartbeat(query.heartbeat, follow || waitEvent !== undefined)
  const { store, activity } = context
  const signal = signalOf(activity, reply)
  if (at !== undefined && (follow || waitCreate || waitEvent !== undefined)) {
    throw invalid('?at is one root: there is nothing to wait for')
  }
  if (follow || waitEvent !== undefined) {
    if (request.headers.range !== undefined) throw invalid('what is followed has no ranges here')
    if (minSeq !== undefined) await store.root({ namespace, waitSeq: minSeq, signal })
    if (wantsEventStream(request)) {
      const asked = { key, namespace, waitCreate, waitEvent, heartbeat, signal }
      return sendEventStream(context, request, reply, asked)
    }
    const events = followEvents(store, key, { namespace, waitCreate, signal })
    await sendFollowed(context, reply, until(events, waitEvent), { signal, heartbeat })
    return reply
  }
  if (waitCreate) await created(context, { key, namespace, signal })
  const events = readEvents(store, key, { namespace, signal, ...defined({ at, minSeq }) })
  await sendEvents(context, reply, events, { signal })
  return reply
}

/** Sends an eventlog as an event stream. A client that comes back to the end of a sealed log gets
 *  204, so that it does not come back again. */
export async function sendEventStream(
  context: ServerContext,
  request: Request,
  reply: Reply,
  asked: {
    readonly key: string
    readonly namespace: string
    readonly waitCreate?: boolean
    readonly waitEvent?: string | undefined
    readonly heartbeat: number | undefined
    readonly signal: AbortSignal
  },
): Promise<Reply> {
  const { key, namespace, waitCreate = false, waitEvent, signal } = asked
  const { heartbeat = heartbeatMsDefault } = asked
  const { store, activity, log, pace } = context
  const last = lastEventOf(request)
  if (last && (await isOver(context, { key, namespace }, last))) return reply.code(noContent).send()
  const from = last ? { from: last.position } : {}
  const watching = store.watch(key, { mode: 'append', namespace, waitCreate, signal, ...from })
  const pieces = eventlogFrames(watching, waitEvent)
  const counted = activity.beginWatch()
  try {
    const headers = async () => ({ 'content-type': eventStreamType })
    await sendStream(reply, {
      ...{ headers, pieces, signal, log, pace },
      heartbeat: { ms: heartbeat, bytes: eventHeartbeat },
    })
  } finally {
    counted.end()
  }
  return reply
}

type EventStreamOptions = {
  readonly signal: AbortSignal
  /** The time without an event after which an empty line is sent, in ms. Default: no such lines. */
  readonly heartbeat?: number | undefined
}

/** Sends events as NDJSON, and counts as a watch meanwhile. */
export async function sendFollowed(
  context: ServerContext,
  reply: Reply,
  events: AsyncIterable<Event>,
  sending: EventStreamOptions,
): Promise<void> {
  const counted = context.activity.beginWatch()
  try {
    await sendEvents(context, reply, events, sending)
  } finally {
    counted.end()
  }
}

/** Sends events as NDJSON. Throws what the first event throws. */
export async function sendEvents(
  context: ServerContext,
  reply: Reply,
  events: AsyncIterable<Event>,
  { signal, heartbeat }: EventStreamOptions,
): Promise<void> {
  await sendStream(reply, {
    headers: async () => headers,
    pieces: linesOf(events),
    ...(heartbeat !== undefined && { heartbeat: { ms: heartbeat, bytes: emptyLine } }),
    signal,
    log: context.log,
    pace: context.pace,
  })
}

async function* linesOf(events: AsyncIterable<Event>): AsyncGenerator<Uint8Array> {
  for await (const event of events) yield Buffer.from(toNdjson(event))
}

/** Gives the events up to the first one with that name; all events if there is none. */
async function* until(
  events: AsyncIterable<Event>,
  name: string | undefined,
): AsyncGenerator<Event> {
  for await (const event of events) {
    yield event
    if (event.name === name) return
  }
}
