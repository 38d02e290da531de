/** `/v1/jobs`: what runs, ran, and says. See rfc/11 and rfc/12. */

import { type JobState, jobFilters } from '../api/job.js'
import { followEvents, readEvents } from '../eventlog/eventlog.js'
import {
  type ReadStreamOptions,
  readStream,
  readStreamPieces,
  sizeOfStreams,
} from '../eventlog/read-stream.js'
import { type Stream, streams } from '../eventlog/stdio.js'
import { parseTerminalSize } from '../job/options.js'
import { parseSubmission } from '../job/spec.js'
import { parseOneOf } from '../wire/answers.js'
import { invalid, parseFields, parseText } from '../wire/parse.js'
import type { App, Reply, Request } from './app.js'
import { readJsonBody, streamBody } from './body.js'
import type { Context } from './context.js'
import {
  eventHeartbeat,
  eventStreamType,
  lastByteOf,
  outputFrames,
  wantsEventStream,
} from './event-stream.js'
import { sendEventStream, sendEvents, sendFollowed } from './eventlog.js'
import { checkHeartbeat, heartbeatMsDefault, withHeartbeat } from './heartbeat.js'
import { some } from './kv-read.js'
import { checkNoQuery, nameOf, queryOf } from './query.js'
import { type Range, rangeOf, refuseRange } from './range.js'
import { sendStream, signalOf } from './stream.js'

const signalFields = new Set(['signal'])

export function serveJobs(app: App, context: Context): void {
  const { jobs } = context.store
  app.post('/v1/jobs', async (request, reply) => {
    checkNoQuery(request)
    const submission = parseSubmission(await readJsonBody(request))
    return reply.code(201).send(await jobs.submit(submission))
  })
  app.get('/v1/jobs', async (request) => {
    const { state, ...asked } = queryOf(request, {
      after: 'text',
      limit: 'integer',
      state: 'text',
      name: 'text',
    })
    const states = state?.split(',').map((each) => parseOneOf(each, jobFilters, '?state'))
    return jobs.list(some({ ...asked, states }))
  })
  app.delete('/v1/jobs', async (request, reply) => {
    const { olderThan, dryRun, after } = queryOf(request, {
      olderThan: 'integer',
      dryRun: 'flag',
      after: 'text',
    })
    if (olderThan === undefined) throw invalid('say which: ?olderThan=MS, or /v1/jobs/ID')
    const signal = signalOf(context.activity, reply)
    return jobs.prune({ olderThanMs: olderThan, signal, ...some({ dryRun, after }) })
  })
  app.delete('/v1/jobs/:name', async (request) => {
    checkNoQuery(request)
    await jobs.remove(nameOf(request))
    return {}
  })
  app.delete('/v1/jobs/:name/output', async (request) => {
    checkNoQuery(request)
    await jobs.remove(nameOf(request), { output: true })
    return {}
  })
  app.get('/v1/jobs/:name', async (request, reply) => {
    const { wait } = queryOf(request, { wait: 'flag' })
    const id = nameOf(request)
    return wait ? jobs.wait(id, signalOf(context.activity, reply)) : jobs.show(id)
  })
  app.get('/v1/jobs/:name/events', (request, reply) => events(context, request, reply))
  app.get('/v1/jobs/:name/output', (request, reply) => output(context, request, reply))
  app.post('/v1/jobs/:name/signal', async (request) => {
    checkNoQuery(request)
    const fields = parseFields(await readJsonBody(request), 'signal', signalFields)
    await jobs.signal(nameOf(request), parseText(fields['signal'], 'signal'))
    return {}
  })
  app.post('/v1/jobs/:name/resize', async (request) => {
    checkNoQuery(request)
    await jobs.resize(nameOf(request), parseTerminalSize(await readJsonBody(request), 'the size'))
    return {}
  })
  app.post('/v1/jobs/:name/stdin', async (request, reply) => {
    checkNoQuery(request)
    const signal = signalOf(context.activity, reply)
    await jobs.stdin(nameOf(request), streamBody(request, { mayStall: true }), signal)
    return {}
  })
}

async function events(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request, { follow: 'flag', heartbeat: 'integer' })
  const { follow } = query
  const heartbeat = checkHeartbeat(query.heartbeat, follow)
  const id = nameOf(request)
  const signal = signalOf(context.activity, reply)
  // A job that is not there is ENOENT by its own name.
  await context.store.jobs.show(id, signal)
  const scope = { namespace: 'jobs', signal }
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

async function output(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request, {
    stream: 'text',
    follow: 'flag',
    from: 'integer',
    since: 'integer',
    lines: 'integer',
    heartbeat: 'integer',
  })
  const { stream = 'stdout', heartbeat: beat, ...asked } = query
  const heartbeat = checkHeartbeat(beat, query.follow)
  const id = nameOf(request)
  const name = parseOneOf(stream, streams, '?stream')
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
  // There is no ETag that an If-Range could name: all of it is sent.
  const ranged = range !== undefined && request.headers['if-range'] === undefined
  const size = ranged ? (await sizeOfStreams(context.store, id, signal))[name] : 0
  const part = ranged ? rangeOf(range, size) : undefined
  if (part === 'unsatisfiable') return refuseRange(reply, size)
  const pieces = readStream(context.store, id, name, { signal, ...some(asked), ...part })
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

/** Sends output for `EventSource`. A client that comes back to the end of an ended job is told to stay away. */
async function sendOutputEvents(
  context: Context,
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
  const read = readStreamPieces(store, id, name, { signal, ...some(asked) })
  const pieces = withHeartbeat(outputFrames(read), heartbeat, eventHeartbeat)
  const counted = activity.beginWatch()
  try {
    const head = async () => ({ 'content-type': eventStreamType })
    await sendStream(reply, { headers: head, pieces, signal, log, pace })
  } finally {
    counted.end()
  }
  return reply
}

function isOver(state: JobState): boolean {
  return state === 'finished' || state === 'lost'
}

/** `of`: the bytes of all, `*` where there will be more. */
function rangeHeaders({ from, to }: Range, of: number | '*'): Record<string, string> {
  return { 'content-range': `bytes ${from}-${to - 1}/${of}`, 'content-length': String(to - from) }
}

const headers = {
  'content-type': 'application/octet-stream',
  'x-content-type-options': 'nosniff',
  'accept-ranges': 'bytes',
}
