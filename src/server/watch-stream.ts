/** The request `GET /v1/watch/KEY`: values and changes over plain HTTP, as an event stream or by long
 *  polling. See rfc/12, rule 39.
 *  Invariant: a client that comes back with the last id, or with `next`, misses nothing: it gets the
 *  newest value if it does not have it, and all changes since. */

import type { ChangesPosition, WatchEvent, Watching } from '../api/watch.js'
import { eitherSignal } from '../base/abort.js'
import { defined, invalid } from '../base/shape.js'
import { isCode } from '../error.js'
import { toJson } from '../wire/bytes.js'
import { watchKey } from '../wire/keys.js'
import type { ArgsOf } from '../wire/request.js'
import type { Reply, Request } from './app.js'
import type { ServerContext } from './context.js'
import { eventHeartbeat, eventStreamType, stateFrames, wantsEventStream } from './event-stream.js'
import { checkHeartbeat, heartbeatMsDefault } from './heartbeat.js'
import type { Routes } from './routes.js'
import { sendStream, signalOf } from './stream.js'

/** The time after which a long poll is answered without an event, in ms. */
const pollMsDefault = 30_000

type WatchArgs = ArgsOf<typeof watchKey>

export function serveWatches(routes: Routes): void {
  routes.serveHttp(watchKey, (args, { context, request, reply }) =>
    wantsEventStream(request) ? stream(context, args, request, reply) : poll(context, args, reply),
  )
}

async function stream(
  context: ServerContext,
  { timeout, heartbeat, ...args }: WatchArgs,
  request: Request,
  reply: Reply,
): Promise<Reply> {
  if (timeout !== undefined) throw invalid('?timeout is of a long poll: an event stream goes on')
  const { 'last-event-id': last } = request.headers
  const since = typeof last === 'string' && last !== '' ? last : args.since
  const ms = checkHeartbeat(heartbeat, true) ?? heartbeatMsDefault
  const { activity, log, pace } = context
  const signal = signalOf(activity, reply)
  const watching = watchFrom(context, { ...args, ...defined({ since }) }, signal)
  const counted = activity.beginWatch()
  try {
    await sendStream(reply, {
      headers: async () => ({ 'content-type': eventStreamType }),
      pieces: stateFrames(watching, tokenOf),
      heartbeat: { ms, bytes: eventHeartbeat },
      ...{ signal, log, pace },
    })
  } finally {
    counted.end()
  }
  return reply
}

/** Answers with the first event that the client does not have; without one after `timeout`. */
async function poll(
  context: ServerContext,
  { timeout = pollMsDefault, heartbeat, ...args }: WatchArgs,
  reply: Reply,
): Promise<unknown> {
  if (heartbeat !== undefined) throw invalid('?heartbeat goes with Accept: text/event-stream')
  const late = AbortSignal.timeout(timeout)
  const either = eitherSignal(signalOf(context.activity, reply), late)
  let next = args.since
  try {
    for await (const event of watchFrom(context, args, either.signal)) {
      if (event.type === 'live') continue
      next = tokenOf(event) ?? next
      if (event.type === 'changes' && event.entries.length === 0) continue
      return { events: [toJson(event)], ...defined({ next }) }
    }
  } catch (error) {
    if (!late.aborted || !(isCode(error, 'ETIMEDOUT') || isCode(error, 'ECANCELED'))) throw error
  } finally {
    either.end()
  }
  return { events: [], ...defined({ next }) }
}

/** Begins a watch behind what a token says. Throws EINVAL. */
function watchFrom(
  { store }: ServerContext,
  args: Omit<WatchArgs, 'timeout' | 'heartbeat'>,
  signal: AbortSignal,
): AsyncIterable<WatchEvent> {
  const { key, mode, since, ...options } = args
  if (mode === 'changes') {
    const start = since === undefined ? {} : { since: changesSince(since), initial: false }
    return store.watch(key, { ...options, ...start, mode, signal })
  }
  if (options.initial !== undefined) throw invalid('?initial means nothing in mode value')
  const watching = store.watch(key, { ...options, mode, signal })
  return since === undefined ? watching : newValues(watching, since, options.uniq ?? false)
}

/** Leaves out the first value if the client has it, and says in its place that the watch is live. */
async function* newValues(
  watching: Watching,
  token: string,
  uniq: boolean,
): AsyncGenerator<WatchEvent> {
  const [, seq, ref] = /^(\d{1,15})\.(blake3-[0-9a-f]{64})$/.exec(token) ?? []
  if (ref === undefined) throw invalid(`"${token}" is no id of a watch of values`)
  let isFirst = true
  for await (const event of watching) {
    const isValue = event.type === 'value'
    const has = isFirst && isValue && event.ref === ref && (uniq || event.seq === Number(seq))
    if (isValue) isFirst = false
    yield has ? { type: 'live' } : event
  }
}

/** Returns the text from which a client goes on behind an event; undefined if it stays as it was. */
function tokenOf(event: WatchEvent): string | undefined {
  if (event.type === 'value') return `${event.seq}.${event.ref}`
  if (event.type !== 'changes') return undefined
  const { incarnation, seq = null, to = null, after = null, ref = null } = event.position
  return Buffer.from(JSON.stringify([incarnation, seq, to, after, ref])).toString('base64url')
}

/** Parses a seq, or the text of `tokenOf`. Throws EINVAL. */
function changesSince(token: string): number | ChangesPosition {
  if (/^\d{1,15}$/.test(token)) return Number(token)
  try {
    const fields: unknown = JSON.parse(Buffer.from(token, 'base64url').toString())
    if (Array.isArray(fields) && fields.length === 5) {
      const [incarnation, ...rest] = fields
      const [seq, to, after, ref] = rest.map((field) => field ?? undefined)
      // The store checks the types.
      return { incarnation, ...defined({ seq, to, after, ref }) } as ChangesPosition
    }
  } catch {
    // A token that cannot be parsed is refused below.
  }
  throw invalid(`"${token}" is neither a seq nor an id of a watch of changes`)
}
