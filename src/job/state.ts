/** The state of a job, as a fold over its events. See rfc/11, rule 4. Pure.
 *  Invariant: nothing follows the finish. A prefix of a job's events gives the state that it had
 *  then. */

import { constants } from 'node:os'
import type { Event } from '../api/event.js'
import type { ExitCode, JobView, Spec } from '../api/job.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'

/** The end of a process: its exit status, or the signal that ended it. Neither is set if the end is
 *  not known. */
export type Exit = { readonly status?: number; readonly signal?: string }

/** An exception of a job. One of severity 0 says why the job did not run to its end; one above is a
 *  note. */
export type Exception = {
  readonly type: 'exec' | 'timeout' | 'server-stop' | 'store' | 'lost' | (string & {})
  readonly message: string
  readonly severity: number
}

/** An event of a job. `at` is in ms since 1970. */
export type JobEvent =
  | { readonly name: 'submit'; readonly at: number }
  | ({ readonly name: 'start'; readonly at: number } & StartedProcess)
  | ({ readonly name: 'exception'; readonly at: number } & Exception)
  | ({ readonly name: 'finish'; readonly at: number } & Exit)

/** The process of a job. `startTime` and the pid name a process even after the pid was used again;
 *  `startTime` is absent if the system does not tell it. */
export type StartedProcess = {
  readonly pid: number
  readonly pgid: number
  readonly startTime?: string
}

/** Returns the view of a job after its submit. */
export function submitted(id: string, spec: Spec, at: number): JobView {
  const { name, command, cwd } = spec
  return { id, state: 'submitted', ...(name && { name }), command, cwd, submitted: at }
}

/** Returns the view after one more event. */
export function fold(view: JobView, event: JobEvent): JobView {
  if (view.state === 'finished' || view.state === 'lost') return view
  switch (event.name) {
    case 'submit':
      return { ...view, submitted: event.at }
    case 'start':
      return { ...view, state: 'running', started: event.at, pid: event.pid }
    case 'exception': {
      if (view.exception || event.severity > 0) return view
      return { ...view, exception: { type: event.type, message: event.message } }
    }
    case 'finish': {
      const { status, signal } = event
      return {
        ...view,
        state: view.exception?.type === 'lost' ? 'lost' : 'finished',
        finished: event.at,
        ...(status === undefined ? {} : { status }),
        ...(signal === undefined ? {} : { signal }),
      }
    }
    default:
      return event satisfies never
  }
}

/** The exit code of timeout(1) for a command that ran too long. */
const timeoutCode = 124

/** Returns the exit code that a shell would give, and 124 if the time limit ended the job.
 *  REQUIRES: the job has finished or is lost. */
export function exitCodeOf(view: JobView): ExitCode {
  if (view.exception?.type === 'timeout') return timeoutCode
  if (view.status !== undefined) return view.status
  const signals: Readonly<Record<string, number>> = constants.signals
  const signal = view.signal === undefined ? undefined : signals[view.signal]
  return signal === undefined ? 1 : 128 + signal
}

/** Makes the event of the job's eventlog. */
export function eventOf(event: JobEvent): Event {
  const { name, at, ...context } = event
  return { timestamp: at / 1000, name, context: defined(context) }
}

type Fields = { readonly [field in keyof (StartedProcess & Exception & Exit)]?: unknown }

/** Parses an event of a job's eventlog. Returns undefined for an event that this version does not
 *  know. Throws ECORRUPT. */
export function jobEventOf(event: Event): JobEvent | undefined {
  const at = Math.round(event.timestamp * 1000)
  const fields: Fields = event.context ?? {}
  switch (event.name) {
    case 'submit':
      return { name: 'submit', at }
    case 'start': {
      const { startTime } = fields
      const known = typeof startTime === 'string' ? { startTime } : {}
      return { name: 'start', at, pid: numeric(fields.pid), pgid: numeric(fields.pgid), ...known }
    }
    case 'exception': {
      const { type, message } = fields
      if (typeof type !== 'string' || typeof message !== 'string') throw malformed()
      return { name: 'exception', at, type, message, severity: numeric(fields.severity) }
    }
    case 'finish': {
      if (typeof fields.signal === 'string') return { name: 'finish', at, signal: fields.signal }
      if (fields.status === undefined) return { name: 'finish', at }
      return { name: 'finish', at, status: numeric(fields.status) }
    }
    default:
      return undefined
  }
}

function numeric(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw malformed()
  return value
}

function malformed(): TailraceError {
  return new TailraceError('ECORRUPT', "a job's event lacks its fields")
}
