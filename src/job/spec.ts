/** Parses submissions where they come in, and makes the spec that is stored. See rfc/11, rule 2.
 *  Invariant: a Spec holds names of the caller's environment, never values. It holds values of
 *  `set` only. */

import { isAbsolute } from 'node:path'
import { argSizeMax, argsSizeMax, type Spec, type Submission, specSizeMax } from '../api/job.js'
import { TailraceError } from '../error.js'
import { optionFields, parseFlag, parseOptions } from './options.js'

type Fields<T> = { readonly [field in keyof T]?: unknown }
type Variables = Readonly<Record<string, string>>

/** A checked submission. Each variable of `env` has a value. */
export type ParsedSubmission = Submission & { readonly env: Variables }

const submissionFields: ReadonlySet<string> = new Set([
  ...['command', 'cwd', 'env', 'set', 'stdin'],
  ...optionFields,
])

/** Parses a submission. Throws EINVAL, and E2BIG if an argument or a variable is above `argSizeMax`
 *  bytes, all of them together are above `argsSizeMax`, or the spec is above `specSizeMax`. */
export function parseSubmission(input: unknown): ParsedSubmission {
  if (!isRecord(input)) throw invalid('a submission is an object')
  const unknown = Object.keys(input).find((field) => !submissionFields.has(field))
  if (unknown !== undefined) throw invalid(`a submission has no field ${JSON.stringify(unknown)}`)
  const fields: Fields<Submission> = input
  const command = parseCommand(fields.command)
  const cwd = parseText(fields.cwd, 'cwd')
  if (!isAbsolute(cwd)) throw invalid('cwd is an absolute path')
  const env = parseVariables(withValues(fields.env), 'env')
  const set = fields.set === undefined ? {} : parseVariables(fields.set, 'set')
  const stdin = fields.stdin === undefined ? false : parseFlag(fields.stdin, 'stdin')
  const submission = { command, cwd, env, set, stdin, ...parseOptions(fields) }
  checkSizes(submission)
  return submission
}

/** Makes the spec of a submission, which is stored. */
export function specOf(submission: ParsedSubmission): Spec {
  const { command, cwd, env, set = {}, stdin = false } = submission
  const envNames = Object.keys(env).sort()
  return { version: 1, command, cwd, envNames, set, stdin, ...parseOptions(submission) }
}

/** Makes the environment of the process: `env`, then `set`, which wins. The runner adds its own
 *  variables. */
export function environmentOf(submission: ParsedSubmission): Variables {
  // fromEntries() makes own properties, so that `__proto__` is a variable like any other.
  return Object.fromEntries([
    ...Object.entries(submission.env),
    ...Object.entries(submission.set ?? {}),
  ])
}

/** Encodes a spec as JSON. */
export function encodeSpec(spec: Spec): string {
  return JSON.stringify(spec)
}

/** Decodes a stored spec. Throws ECORRUPT. */
export function decodeSpec(bytes: Uint8Array): Spec {
  try {
    const fields = JSON.parse(new TextDecoder().decode(bytes)) as Fields<Spec>
    if (fields.version !== 1) throw invalid('it is of another version')
    return {
      version: 1,
      command: parseCommand(fields.command),
      cwd: parseText(fields.cwd, 'cwd'),
      envNames: parseTexts(fields.envNames, 'envNames'),
      set: parseVariables(fields.set, 'set'),
      stdin: fields.stdin === true,
      ...parseOptions(fields),
    }
  } catch (cause) {
    throw new TailraceError('ECORRUPT', 'the stored spec of the job cannot be read', { cause })
  }
}

function parseCommand(input: unknown): string[] {
  const command = parseTexts(input, 'command')
  if (!command[0]) throw invalid('command is a program and its arguments, at least the program')
  return command
}

/** Leaves out variables whose value is undefined, as JSON does on the way to a server. */
function withValues(input: unknown): unknown {
  if (!isRecord(input)) return input
  // `__proto__` is a variable like any other, which an assignment would not keep.
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined))
}

function parseVariables(input: unknown, field: string): Variables {
  if (!isRecord(input)) throw invalid(`${field} is an object of names and values`)
  const entries = Object.entries(input).map(([name, value]): [string, string] => {
    if (name === '' || name.includes('=')) {
      throw invalid(`${JSON.stringify(name)} cannot name a variable of ${field}`)
    }
    return [parseText(name, `a name of ${field}`), parseText(value, `${field} ${name}`)]
  })
  return Object.fromEntries(entries)
}

function parseTexts(input: unknown, field: string): string[] {
  if (!Array.isArray(input)) throw invalid(`${field} is a list of texts`)
  return input.map((item) => parseText(item, field))
}

/** Parses text that the system can take: without NUL. */
function parseText(input: unknown, field: string): string {
  if (typeof input !== 'string' || !input.isWellFormed() || input.includes('\0')) {
    throw invalid(`${field}: text without NUL is wanted`)
  }
  return input
}

/** Checks the sizes as the system counts them. A system with lower bounds refuses the job when it
 *  is started. */
function checkSizes(submission: ParsedSubmission): void {
  const variables = Object.entries(environmentOf(submission)).map((pair) => pair.join('='))
  let total = 0
  for (const text of [...submission.command, ...variables]) {
    const size = Buffer.byteLength(text)
    total += size + 1
    if (size > argSizeMax) throw tooBig('an argument or a variable', size, argSizeMax)
  }
  if (total > argsSizeMax) throw tooBig('command and environment', total, argsSizeMax)
  const size = Buffer.byteLength(encodeSpec(specOf(submission)))
  if (size > specSizeMax) throw tooBig('what is stored of the job', size, specSizeMax)
}

function tooBig(what: string, size: number, max: number): TailraceError {
  return new TailraceError(
    'E2BIG',
    `${what}: ${size} bytes, at most ${max}; put what is large into a file or a key`,
  )
}

function isRecord(input: unknown): input is Readonly<Record<string, unknown>> {
  return typeof input === 'object' && input !== null && !Array.isArray(input)
}

function invalid(message: string): TailraceError {
  return new TailraceError('EINVAL', message)
}
