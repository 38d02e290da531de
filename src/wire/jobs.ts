/** Requests on jobs. See rfc/11, rfc/12. */

import {
  type JobFilter,
  type JobOptions,
  type JobPage,
  type JobView,
  jobFilters,
  type Pruned,
  type Submission,
} from '../api/job.js'
import type { Limits } from '../base/limits.js'
import type { TerminalSize } from '../base/posix.js'
import { request } from './request.js'
import {
  answered,
  arrayOf,
  asked,
  converted,
  count,
  type FieldsOf,
  flag,
  integer,
  mapOf,
  named,
  number,
  oneOf,
  optional,
  type Schema,
  scalar,
  text,
} from './schema.js'

/** The largest number of columns or rows: the system keeps each in 16 bits. */
const terminalSideMax = 65_535

const terminalSize = named(
  'TerminalSize',
  asked<TerminalSize>({
    columns: integer(1, terminalSideMax),
    rows: integer(1, terminalSideMax),
  }),
)
const limit = scalar<number | 'unlimited'>(
  (input) => input === 'unlimited' || (Number.isSafeInteger(input) && (input as number) >= 0),
  'an integer of at least 0, or "unlimited"',
  { oneOf: [{ type: 'integer', minimum: 0 }, { const: 'unlimited' }] },
)
/** The options of a job. The job room checks their bounds, which depend on the system it runs
 *  on. */
const jobOptions: FieldsOf<JobOptions> = {
  keepChildren: optional(flag),
  umask: optional(integer(0, 0o777)),
  limits: optional(mapOf(limit) as Schema<Limits>),
  nice: optional(integer(-20, 19)),
  merge: optional(flag),
  pty: optional(terminalSize),
  startAt: optional(count),
  timeLimitMs: optional(count),
  name: optional(text),
  parent: optional(text),
}
const submission = named(
  'Submission',
  asked<Submission>({
    command: arrayOf(text),
    cwd: text,
    env: mapOf(text),
    set: optional(mapOf(text)),
    stdin: optional(flag),
    ...jobOptions,
  }),
)
const jobView = named(
  'JobView',
  answered<JobView>({
    id: text,
    state: oneOf('submitted', 'running', 'finished', 'lost'),
    name: optional(text),
    command: arrayOf(text),
    cwd: text,
    submitted: number,
    started: optional(number),
    finished: optional(number),
    pid: optional(count),
    status: optional(count),
    signal: optional(text),
    exception: optional(
      answered<{ readonly type: string; readonly message: string }>({ type: text, message: text }),
    ),
  }),
)

const states = arrayOf(oneOf(...jobFilters))
/** States of jobs, as an array or as text: `running,failed`. */
const stateList = converted<readonly JobFilter[]>(
  (input) => states.read(typeof input === 'string' ? input.split(',') : input),
  { type: 'string', pattern: `^(${jobFilters.join('|')})(,(${jobFilters.join('|')}))*$` },
)

export const submitJob = request({
  name: 'jobs.submit',
  method: 'POST',
  path: '/v1/jobs',
  summary: 'Run a command',
  right: 'jobs',
  inOrder: true,
  status: 201,
  body: submission,
  answer: jobView,
  errors: ['E2BIG', 'EBUSY'],
})

export const listJobs = request({
  name: 'jobs.list',
  method: 'GET',
  path: '/v1/jobs',
  summary: 'List jobs, the newest first',
  right: 'read',
  query: {
    after: optional(text),
    limit: optional(count),
    state: optional(stateList),
    name: optional(text),
  },
  answer: named(
    'JobPage',
    answered<JobPage>({
      jobs: arrayOf(jobView),
      more: flag,
      next: optional(text),
      total: count,
      size: count,
    }),
  ),
  errors: [],
})

export const showJob = request({
  name: 'jobs.show',
  method: 'GET',
  path: '/v1/jobs/:id',
  summary: 'Show a job, or wait for its end',
  right: 'read',
  query: { wait: optional(flag) },
  answer: jobView,
  errors: ['ENOENT'],
  waits: 'wait',
})

export const pruneJobs = request({
  name: 'jobs.prune',
  method: 'DELETE',
  path: '/v1/jobs',
  summary: 'Remove jobs that finished long ago',
  right: 'jobs',
  query: { olderThan: count, dryRun: optional(flag), after: optional(text) },
  answer: named('Pruned', answered<Pruned>({ jobs: arrayOf(jobView), next: optional(text) })),
  errors: [],
})

export const removeJob = request({
  name: 'jobs.remove',
  method: 'DELETE',
  path: '/v1/jobs/:id',
  summary: 'Remove a job that has finished',
  right: 'jobs',
  errors: ['ENOENT', 'ECONFLICT'],
})

export const removeJobOutput = request({
  name: 'jobs.removeOutput',
  method: 'DELETE',
  path: '/v1/jobs/:id/output',
  summary: 'Remove the output of a job that has finished',
  right: 'jobs',
  errors: ['ENOENT', 'ECONFLICT'],
})

export const signalJob = request({
  name: 'jobs.signal',
  method: 'POST',
  path: '/v1/jobs/:id/signal',
  summary: "Send a signal to a job's processes",
  right: 'jobs',
  body: asked<{ readonly signal: string }>({ signal: text }),
  errors: ['ENOENT', 'ECONFLICT'],
})

export const resizeJob = request({
  name: 'jobs.resize',
  method: 'POST',
  path: '/v1/jobs/:id/resize',
  summary: "Give a job's terminal another size",
  right: 'jobs',
  body: terminalSize,
  errors: ['ENOENT', 'ECONFLICT'],
})

export const jobStdin = request({
  name: 'jobs.stdin',
  method: 'POST',
  path: '/v1/jobs/:id/stdin',
  summary: 'Stream bytes into the standard input of a job',
  right: 'jobs',
  upload: 'bytes',
  errors: ['ENOENT', 'ECONFLICT'],
  waits: true,
})

export const readJobEvents = request({
  name: 'jobs.events',
  method: 'GET',
  path: '/v1/jobs/:id/events',
  summary: 'Read the events of a job, or follow them',
  right: 'read',
  query: { follow: optional(flag), heartbeat: optional(count) },
  headers: ['last-event-id'],
  download: ['lines', 'events'],
  statuses: [204],
  errors: ['ENOENT'],
})

export const readJobOutput = request({
  name: 'jobs.output',
  method: 'GET',
  path: '/v1/jobs/:id/output',
  summary: 'Read the output of a job, or follow it',
  right: 'read',
  query: {
    stream: optional(oneOf('stdout', 'stderr')),
    follow: optional(flag),
    from: optional(integer(Number.MIN_SAFE_INTEGER)),
    since: optional(count),
    lines: optional(count),
    heartbeat: optional(count),
  },
  headers: ['range', 'if-range', 'last-event-id'],
  download: ['bytes', 'events'],
  answerHeaders: ['content-range'],
  statuses: [204, 206],
  errors: ['ENOENT'],
})
