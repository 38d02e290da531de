/** The requests of `/v1/jobs`: jobs, their events, their output and their input. See rfc/11 and
 *  rfc/12. */

import type { JobState } from '../api/job.js'
import { jobsNamespace } from '../api/namespace.js'
import { defined, invalid } from '../base/shape.js'
import { followEvents, readEvents } from '../eventlog/eventlog.js'
import {
  type ReadStreamOptions,
  readStream,
  readStreamPieces,
  sizeOfStreams,
} from '../eventlog/read-stream.js'
import type { Stream } from '../eventlog/stdio.js'
import {
  jobStdin,
  listJobs,
  pruneJobs,
  readJobEvents,
  readJobOutput,
  removeJob,
  removeJobOutput,
  resizeJob,
  showJob,
  signalJob,
  submitJob,
} from '../wire/jobs.js'
import type { ArgsOf } from '../wire/request.js'
import type { Reply, Request } from './app.js'
import { streamBody } from './body.js'
import type { ServerContext } from './context.js'
import {
  eventHeartbeat,
  eventStreamType,
  lastByteOf,
  outputFrames,
  wantsEventStream,
} from './event-stream.js'
import { sendEventStream, sendEvents, sendFollowed } from './eventlog.js'
import { checkHeartbeat, heartbeatMsDefault } from './heartbeat.js'
import { type ByteRange, rangeOf, refuseRange } from './range.js'
import type { Routes } from './routes.js'
import { sendStream, signalOf } from './stream.js'

export function serveJobs(routes: Routes): void {
  routes.serve(submitJob, (submission, { context }) => context.store.jobs.submit(submission))
  routes.serve(listJobs, ({ state: states, ...asked }, { context }) =>
    context.store.jobs.list({ ...asked, ...defined({ states }) }),
  )
  routes.serve(showJob, ({ id, wait }, call) => {
    const { jobs } = call.context.store
    return wait ? jobs.wait(id, call.signal) : jobs.show(id)
  })
  routes.serve(pruneJobs, ({ olderThan, ...asked }, { signal, context }) =>
    context.store.jobs.prune({ olderThanMs: olderThan, ...asked, signal }),
  )
  routes.serve(removeJob, async ({ id }, { context }) => {
    await context.store.jobs.remove(id)
    return {}
  })
  routes.serve(removeJobOutput, async ({ id }, { context }) => {
    await context.store.jobs.remove(id, { output: true })
    return {}
  })
  routes.serve(signalJob, async ({ id, signal }, { context }) => {
    await context.store.jobs.signal(id, signal)
    return {}
  })
  routes.serve(resizeJob, async ({ id, ...size }, { context }) => {
    await context.store.jobs.resize(id, size)
    return {}
  })
  routes.serveHttp(jobStdin, async ({ id }, { request, reply, context }) => {
    const signal = signalOf(context.activity, reply)
    await context.store.jobs.stdin(id, streamBody(request, { mayStall: true }), signal)
    return {}
  })
  routes.serveHttp(readJobEvents, (args, http) =>
    events(http.context, args, http.request, http.reply),
  )
  routes.serveHttp(readJobOutput, (args, http) =>
    output(http.context, args, http.request, http.reply),
  )
}

async function events(
  context: ServerContext,
  { id, follow, heartbeat: beat }: ArgsOf<typeof readJobEvents>,
  request: Request,
  reply: Reply,
): Promise<Reply> {
  const heartbeat = checkHeartbeat(beat, follow)
  const signal = signalOf(context.activity, reply)
  // `show` throws an ENOENT that names the job. The read of its key would name only the key.
  await context.store.jobs.show(id, signal)
  const scope = { namespace: jobsNamespace, signal }
  const key = `${id}/events`
  if (follow && wantsEventStream(request)) {
    return sendEventStream(context, request, reply, { key, ...scope, heartbeat })
  }
  if (follow) {
    const followed = followEvents(context.store, key, scope)
    await sendFollowed(context, reply, followed, { signal, heartbeat })
  } else await sendEvents(context, reply, readEvents(context.store, key, scope), { signal })
  return reply
}

async function output(
  context: ServerContext,
  query: ArgsOf<typeof readJobOutput>,
  request: Request,
  reply: Reply,
): Promise<Reply> {
  const { id, stream: name = 'stdout', heartbeat: beat, ...asked } = query
  const heartbeat = checkHeartbeat(beat, query.follow)
  const signal = signalOf(context.activity, reply)
  const { state } = await context.store.jobs.show(id, signal)
  const { range } = request.headers
  if (range !== undefined && Object.keys(asked).length > 0) {
    throw invalid(
      'a Range is of all that is there now: give it, or ?follow, ?from, ?since or ?lines',
    )
  }
  if (query.follow && wantsEventStream(request)) {
    const over = isOver(state)
    return sendOutputEvents(context, request, reply, { id, name, asked, over, heartbeat, signal })
  }
  if (heartbeat !== undefined) {
    throw invalid('bytes have no room for a heartbeat: ask with Accept: text/event-stream')
  }
  // Output has no ETag that an If-Range could name, so with If-Range all of it is sent.
  const ranged = range !== undefined && request.headers['if-range'] === undefined
  const size = ranged ? (await sizeOfStreams(context.store, id, signal))[name] : 0
  const part = ranged ? rangeOf(range, size) : undefined
  if (part === 'unsatisfiable') return refuseRange(reply, size)
  const pieces = readStream(context.store, id, name, { signal, ...defined(asked), ...part })
  const counted = context.activity.beginWatch()
  if (part) reply.code(206)
  const head = { ...headers, ...(part && rangeHeaders(part, isOver(state) ? size : '*')) }
  try {
    const { log, pace } = context
    await sendStream(reply, { headers: async () => head, pieces, signal, log, pace })
  } finally {
    counted.end()
  }
  return reply
}

/** Sends output as an event stream. A client that comes back to the end of an ended job gets 204,
 *  so that it does not come back again. */
async function sendOutputEvents(
  context: ServerContext,
  request: Request,
  reply: Reply,
  output: {
    readonly id: string
    readonly name: Stream
    readonly asked: ReadStreamOptions
    readonly over: boolean
    readonly heartbeat: number | undefined
    readonly signal: AbortSignal
  },
): Promise<Reply> {
  const { id, name, over, signal, heartbeat = heartbeatMsDefault } = output
  const { store, activity, log, pace } = context
  const from = lastByteOf(request)
  if (over && from !== undefined && from >= (await sizeOfStreams(store, id, signal))[name]) {
    return reply.code(204).send()
  }
  const asked = from === undefined ? output.asked : { follow: true, from }
  const read = readStreamPieces(store, id, name, { signal, ...defined(asked) })
  const pieces = outputFrames(read)
  const counted = activity.beginWatch()
  try {
    const head = async () => ({ 'content-type': eventStreamType })
    await sendStream(reply, {
      ...{ headers: head, pieces, signal, log, pace },
      heartbeat: { ms: heartbeat, bytes: eventHeartbeat },
    })
  } finally {
    counted.end()
  }
  return reply
}

function isOver(state: JobState): boolean {
  return state === 'finished' || state === 'lost'
}

/** Returns the headers of a range. `of` is the size of all output in bytes, or `*` while it
 *  grows. */
function rangeHeaders({ from, to }: ByteRange, of: number | '*'): Record<string, string> {
  return { 'content-range': `bytes ${from}-${to - 1}/${of}`, 'content-length': String(to - from) }
}

const headers = {
  'content-type': 'application/octet-stream',
  'accept-ranges': 'bytes',
}
