/** Checks the arguments of the calls of `Jobs`, in the embedded store and in the client alike. See
 *  rfc/2, rule 11. `spec.ts` parses submissions. */

import type { Jobs, ListJobsOptions, PruneOptions } from '../api/job.js'
import {
  check,
  checkOptions,
  checkValue,
  count,
  flag,
  shapeOf,
  signal,
  stream,
  text,
  texts,
} from '../base/shape.js'

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
