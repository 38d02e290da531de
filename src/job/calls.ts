/** The parts of the calls of `Jobs` that are alike in the embedded store and in the client: checks
 *  of arguments (rfc/2, rule 11; `spec.ts` parses submissions), and reads of the output and the
 *  events of a job (rfc/8, rfc/11). */

import type { Event } from '../api/event.js'
import type {
  JobEventsOptions,
  JobOutput,
  JobOutputOptions,
  Jobs,
  ListJobsOptions,
  PruneOptions,
} from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import { jobsNamespace as namespace } from '../api/namespace.js'
import {
  check,
  checkOptions,
  checkValue,
  count,
  flag,
  integer,
  oneOf,
  shapeOf,
  signal,
  stream,
  text,
  texts,
} from '../base/shape.js'
import { followEvents, readEvents } from '../eventlog/eventlog.js'
import { readPieces } from '../eventlog/read-stream.js'
import { eventsKey, outputKey } from './keys.js'

const outputs = shapeOf<JobOutputOptions>({
  stream: oneOf('stdout', 'stderr'),
  from: integer,
  since: count,
  tail: count,
  follow: flag,
  signal,
})
const events = shapeOf<JobEventsOptions>({ follow: flag, signal })

/** Yields the output of a job; see `Jobs.output`. `show` checks that the job exists. */
export async function* jobOutput(
  kvs: Kvs,
  show: Jobs['show'],
  id: string,
  options: JobOutputOptions = {},
): AsyncGenerator<JobOutput, void, undefined> {
  checkValue('the id of a job', id, text)
  check('options', options, outputs)
  const { stream, tail: lines, ...rest } = options
  const job = await show(id, options.signal)
  const asked = { namespace, ...rest, ...(lines !== undefined && { lines }) }
  for await (const piece of readPieces(kvs, outputKey(job.id), stream, asked)) {
    const { timestamp, offset, data } = piece
    yield { stream: piece.stream, time: timestamp * 1000, offset, data }
  }
}

/** Yields the events of a job; see `Jobs.events`. `show` checks that the job exists. */
export async function* jobEvents(
  kvs: Kvs,
  show: Jobs['show'],
  id: string,
  options: JobEventsOptions = {},
): AsyncGenerator<Event, void, undefined> {
  checkValue('the id of a job', id, text)
  checkOptions(options, events)
  const { follow = false, signal } = options
  const job = await show(id, signal)
  const scope = { namespace, ...(signal && { signal }) }
  const key = eventsKey(job.id)
  yield* follow ? followEvents(kvs, key, scope) : readEvents(kvs, key, scope)
}

const lists = shapeOf<ListJobsOptions>({
  after: text,
  limit: count,
  states: texts,
  name: text,
  signal,
})
const removes = shapeOf<NonNullable<Parameters<Jobs['remove']>[1]>>({ output: flag, signal })
const prunes = shapeOf<PruneOptions>({ olderThanMs: count, dryRun: flag, after: text, signal }, [
  'olderThanMs',
])

/** Checks, by call. Each throws EINVAL. */
export const checkJobs = {
  list: (options: unknown) => checkOptions(options, lists),
  prune: (options: unknown) => check('options', options, prunes),
  remove: (id: unknown, options: unknown) => {
    checkId(id)
    checkOptions(options, removes)
  },
  one: (id: unknown, given: AbortSignal | undefined) => {
    checkId(id)
    checkSignal(given)
  },
  signal: (id: unknown, name: unknown) => {
    checkId(id)
    checkValue('the name of a signal', name, text)
  },
  stdin: (id: unknown, chunks: unknown, given: AbortSignal | undefined) => {
    checkId(id)
    checkValue('stdin', chunks, stream)
    checkSignal(given)
  },
  submit: (given: AbortSignal | undefined) => checkSignal(given),
} as const

function checkId(id: unknown): void {
  checkValue('the id of a job', id, text)
}

function checkSignal(given: AbortSignal | undefined): void {
  if (given !== undefined) checkValue('signal', given, signal)
}
