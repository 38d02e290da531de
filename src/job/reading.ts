/** What a job wrote and what became of it, read out of the store: the same embedded and over a server. See rfc/8,
 *  rfc/11. The codec of events is a package's: it is loaded with the first call. */

import type { Event } from '../api/event.js'
import type { JobEventsOptions, JobOutput, JobOutputOptions, Jobs } from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
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
  text,
} from '../base/shape.js'
import { eventsKey, jobsNamespace as namespace, outputKey } from './keys.js'

const outputs = shapeOf<JobOutputOptions>({
  stream: oneOf('stdout', 'stderr'),
  from: integer,
  since: count,
  tail: count,
  follow: flag,
  signal,
})
const events = shapeOf<JobEventsOptions>({ follow: flag, signal })

/** See `Jobs.output`. `show` finds the job, and its whole id. */
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
  const { readPieces } = await import('../eventlog/read-stream.js')
  for await (const piece of readPieces(kvs, outputKey(job.id), stream, asked)) {
    const { timestamp, offset, data } = piece
    yield { stream: piece.stream, time: timestamp * 1000, offset, data }
  }
}

/** See `Jobs.events`. */
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
  const { followEvents, readEvents } = await import('../eventlog/eventlog.js')
  yield* follow ? followEvents(kvs, key, scope) : readEvents(kvs, key, scope)
}
