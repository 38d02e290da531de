/** Jobs of a command line: their options, and what they take over from the shell that submits them
 *  (directory, environment, umask, soft limits, niceness, size of the terminal). See rfc/11. */

import { getPriority } from 'node:os'
import { idVariable, type Submission } from '../api/job.js'
import { isAbove, isLimitName, type Limit, type Limits, readLimits } from '../base/limits.js'
import type { TerminalSize } from '../base/posix.js'
import { defined } from '../base/shape.js'
import { isJobId } from '../job/ids.js'
import {
  directory,
  flag,
  grouped,
  many,
  type OptionValues,
  option,
  UsageError,
  type ValueKind,
  type Variables,
} from './command.js'
import { date, duration, integer } from './units.js'
import { absolutePath, checkVariables } from './utf8.js'

/** The size where there is no terminal. */
const sizeDefault: TerminalSize = { columns: 80, rows: 24 }

const variable: ValueKind<readonly [string, string]> = {
  parse: (text, what) => {
    const end = text.indexOf('=')
    if (end < 1) throw new UsageError(`${what} takes NAME=VALUE, not "${text}"`)
    return [text.slice(0, end), text.slice(end + 1)]
  },
}

const limit: ValueKind<readonly [string, Limit]> = {
  parse: (text, what, literal) => {
    const [name = '', value = ''] = text.split('=')
    if (!isLimitName(name)) {
      throw new UsageError(`${what} takes NAME=N, as nofile=100; not "${text}"`)
    }
    const isUnlimited = value === 'unlimited'
    return [name, isUnlimited ? value : integer().parse(value, `${what} ${name}`, literal)]
  },
}

const umask: ValueKind<number> = {
  parse: (text, what) => {
    if (/^0?[0-7]{1,3}$/.test(text)) return Number.parseInt(text, 8)
    throw new UsageError(`${what} takes octal digits, not "${text}"`)
  },
}

export const submission = grouped('The job', {
  cwd: option('--cwd <dir>', 'directory to run in (default: this one)', directory),
  env: many('--env <name=value>', 'set a variable; stored with the job', variable),
  pty: flag(
    '--pty',
    'a terminal for the job, of the size of ours; it shows stdout and stderr as one',
  ),
  merge: flag(
    '--merge',
    'stdout and stderr through one pipe, in the order of the program, as stdout',
  ),
  timeLimit: option(
    '--time-limit <time>',
    'end the job when it has run for: 90s, 15m; exit code 124',
    duration,
  ),
  startAt: option(
    '--start-at <time>',
    'begin at that time: 2026-01-31T22:00; lost if the server stops before',
    date,
  ),
  delay: option('--delay <time>', 'begin so long from now: 90s, 15m', duration, {
    excludes: ['startAt'],
  }),
  name: option('--name <name>', 'for people; `jobs` shows it'),
  umask: option('--umask <mode>', 'file mode creation mask, octal (default: as here)', umask),
  limit: many(
    '--limit <name=n>',
    'a soft limit by its name in prlimit(1), as nofile=1024 (default: as here)',
    limit,
  ),
  nice: option('--nice <n>', 'niceness (default: as here)', integer(-20)),
  keepChildren: flag(
    '--keep-children',
    'what the command leaves running goes on when it has ended',
  ),
})

/** Makes a job of a command line, with the directory and environment of this process. Throws EINVAL
 *  where the directory or a variable is not UTF-8. */
export function submissionOf(
  command: readonly string[],
  {
    options,
    environment,
  }: { readonly options: OptionValues<typeof submission>; readonly environment: Variables },
): Submission {
  checkVariables(environment)
  const env = Object.entries(environment).filter((entry): entry is [string, string] => {
    return entry[1] !== undefined
  })
  const parent = environment[idVariable]
  const { name, timeLimit: timeLimitMs, delay } = options
  const startAt = options.startAt ?? (delay === undefined ? undefined : Date.now() + delay)
  const limits = { ...softLimits(), ...Object.fromEntries(options.limit) }
  return {
    command,
    cwd: absolutePath(options.cwd ?? '.'),
    env: Object.fromEntries(env),
    ...(options.env.length > 0 ? { set: Object.fromEntries(options.env) } : {}),
    umask: options.umask ?? process.umask(),
    nice: options.nice ?? getPriority(),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
    // This process may run within a job of another server; then no job has that id, which does no
    // harm.
    ...(parent !== undefined && isJobId(parent) ? { parent } : {}),
    ...(options.keepChildren ? { keepChildren: true } : {}),
    ...(options.merge ? { merge: true } : {}),
    ...(options.pty ? { pty: terminalSize() } : {}),
    ...defined({ name, timeLimitMs, startAt }),
  }
}

/** Returns the soft limits of the caller. Node raises its own soft limit of open files to the hard
 *  one as it starts, so the limit before is taken from the parent process, if that has the same
 *  hard limit. A shell that becomes this process instead of starting it, as `(ulimit -S -n 100;
 *  tailrace ...)` does, leaves no trace of its limit. */
function softLimits(): Limits | undefined {
  const own = readLimits('self')
  if (own?.soft.nofile === undefined || own.soft.nofile !== own.hard.nofile) return own?.soft
  const parent = readLimits(process.ppid)
  const before = parent?.soft.nofile
  if (before === undefined || parent?.hard.nofile !== own.hard.nofile) return own.soft
  return isAbove(before, own.soft.nofile) ? own.soft : { ...own.soft, nofile: before }
}

/** Returns the size of the terminal, or the default where there is none. */
export function terminalSize(): TerminalSize {
  const { columns, rows } = process.stdout
  return columns > 0 && rows > 0 ? { columns, rows } : sizeDefault
}
