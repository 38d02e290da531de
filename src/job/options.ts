/** The options of a job: parsed where they come in, stored with its spec, and read back from it.
 *  See rfc/11. */

import { type JobOptions, jobNameSizeMax, timeLimitMsMax } from '../api/job.js'
import { isLimitName, type Limit, type Limits } from '../base/limits.js'
import type { TerminalSize } from '../base/posix.js'
import { TailraceError } from '../error.js'
import { isJobId } from './ids.js'

const umaskMax = 0o777
/** The largest number of columns or rows: the system keeps each in 16 bits. */
const terminalSideMax = 65_535
/** The bounds of the niceness, from <sys/resource.h>. */
const [niceMin, niceMax] = [-20, 19]

const parsers: { readonly [field in keyof JobOptions]-?: (input: unknown) => JobOptions[field] } = {
  keepChildren: (input) => parseFlag(input, 'keepChildren'),
  umask: (input) => parseWithin(input, 'umask', [0, umaskMax]),
  limits: parseLimits,
  pty: (input) => parseTerminalSize(input, 'pty'),
  merge: (input) => parseFlag(input, 'merge'),
  startAt: (input) => parseWithin(input, 'startAt', [0, Number.MAX_SAFE_INTEGER]),
  timeLimitMs: (input) => parseWithin(input, 'timeLimitMs', [1, timeLimitMsMax]),
  name: parseName,
  parent: parseParent,
  nice: (input) => parseWithin(input, 'nice', [niceMin, niceMax]),
}

/** The names of the options. */
export const optionFields: readonly string[] = Object.keys(parsers)

/** Parses the fields that are options. Throws EINVAL. */
export function parseOptions(
  fields: { readonly [field in keyof JobOptions]?: unknown },
): JobOptions {
  const given = Object.entries(parsers).flatMap(([field, parse]) => {
    const value = fields[field as keyof JobOptions]
    return value === undefined ? [] : [[field, parse(value)]]
  })
  return Object.fromEntries(given) as JobOptions
}

/** Parses a boolean. Throws EINVAL. */
export function parseFlag(input: unknown, field: string): boolean {
  if (typeof input === 'boolean') return input
  throw invalid(`${field} is true or false`)
}

function parseWithin(input: unknown, field: string, [min, max]: readonly [number, number]): number {
  if (typeof input === 'number' && Number.isSafeInteger(input) && input >= min && input <= max) {
    return input
  }
  throw invalid(`${field} is an integer from ${min} to ${max}`)
}

/** Parses the size of a terminal. Throws EINVAL. */
export function parseTerminalSize(input: unknown, what: string): TerminalSize {
  const fields: { readonly [field in keyof TerminalSize]?: unknown } =
    typeof input === 'object' && input !== null ? input : {}
  const unknown = Object.keys(fields).find((field) => field !== 'columns' && field !== 'rows')
  if (unknown !== undefined) throw invalid(`${what} has no field ${JSON.stringify(unknown)}`)
  const range = [1, terminalSideMax] as const
  return {
    columns: parseWithin(fields.columns, `${what} columns`, range),
    rows: parseWithin(fields.rows, `${what} rows`, range),
  }
}

function parseName(input: unknown): string {
  const whole = typeof input === 'string' && input.isWellFormed() && !/\p{Cc}/u.test(input)
  if (whole && input !== '' && Buffer.byteLength(input) <= jobNameSizeMax) return input
  throw invalid(`name is one line of text, 1 to ${jobNameSizeMax} bytes`)
}

function parseParent(input: unknown): string {
  if (typeof input === 'string' && isJobId(input)) return input
  throw invalid('parent is the id of a job')
}

function parseLimits(input: unknown): Limits {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw invalid('limits is an object of names and values')
  }
  const entries = Object.entries(input).map(([name, value]): [string, Limit] => {
    if (!isLimitName(name)) throw invalid(`limits: there is no limit ${JSON.stringify(name)}`)
    if (value === 'unlimited') return [name, value]
    return [name, parseWithin(value, `limits ${name}`, [0, Number.MAX_SAFE_INTEGER])]
  })
  return Object.fromEntries(entries)
}

function invalid(message: string): TailraceError {
  return new TailraceError('EINVAL', message)
}
