/** What a job is asked to run, parsed once at the edge, and what is stored of it. See rfc/11.
 *  Invariant: no value of the caller's environment is in a Spec, only those of `set`. */

import { isAbsolute } from 'node:path'
import { TailraceError } from '../error.js'
import { argsSizeMax, type Spec, type Submission } from './job.js'

type Fields<T> = { readonly [field in keyof T]?: unknown }
type Variables = Readonly<Record<string, string>>

const submissionFields: ReadonlySet<string> = new Set([
  'command',
  'cwd',
  'env',
  'set',
  'stdin',
  'keepChildren',
])

/** Throws EINVAL; E2BIG where command, cwd and `set`, or `env`, are above `argsSizeMax` bytes. */
export function parseSubmission(input: unknown): Submission {
  if (!isRecord(input)) throw invalid('a submission is an object')
  const unknown = Object.keys(input).find((field) => !submissionFields.has(field))
  if (unknown !== undefined) throw invalid(`a submission has no field ${JSON.stringify(unknown)}`)
  const fields: Fields<Submission> = input
  const command = parseCommand(fields.command)
  const cwd = parseText(fields.cwd, 'cwd')
  if (!isAbsolute(cwd)) throw invalid('cwd is an absolute path')
  const env = parseVariables(fields.env, 'env')
  const set = fields.set === undefined ? {} : parseVariables(fields.set, 'set')
  const stdin = parseFlag(fields.stdin, 'stdin')
  const keepChildren = parseFlag(fields.keepChildren, 'keepChildren')
  checkSize('command, cwd and set', [...command, cwd, ...Object.entries(set).flat()])
  checkSize('env', Object.entries(env).flat())
  return { command, cwd, env, set, stdin, keepChildren }
}

/** What is stored. */
export function specOf(submission: Submission): Spec {
  const { command, cwd, env, set = {}, stdin = false, keepChildren } = submission
  const options = keepChildren ? { keepChildren } : {}
  return { version: 1, command, cwd, envNames: Object.keys(env).sort(), set, stdin, ...options }
}

/** All that the process gets. */
export function environmentOf(submission: Submission): Variables {
  // Own properties, so that `__proto__` is a variable like any other.
  return Object.fromEntries([
    ...Object.entries(submission.env),
    ...Object.entries(submission.set ?? {}),
  ])
}

export function encodeSpec(spec: Spec): string {
  return JSON.stringify(spec)
}

/** Throws ECORRUPT. */
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
      ...(fields.keepChildren === true ? { keepChildren: true } : {}),
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

function parseFlag(input: unknown, field: string): boolean {
  if (input !== undefined && typeof input !== 'boolean') throw invalid(`${field} is true or false`)
  return input ?? false
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

/** What can be handed to the system: text without NUL. */
function parseText(input: unknown, field: string): string {
  if (typeof input !== 'string' || !input.isWellFormed() || input.includes('\0')) {
    throw invalid(`${field}: text without NUL is wanted`)
  }
  return input
}

function checkSize(what: string, texts: readonly string[]): void {
  const size = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0)
  if (size > argsSizeMax) {
    throw new TailraceError('E2BIG', `${what}: ${size} bytes, at most ${argsSizeMax}`)
  }
}

function isRecord(input: unknown): input is Readonly<Record<string, unknown>> {
  return typeof input === 'object' && input !== null && !Array.isArray(input)
}

function invalid(message: string): TailraceError {
  return new TailraceError('EINVAL', message)
}
