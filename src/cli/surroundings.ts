/** Settings that a job takes over from the shell that submits it, besides directory and environment: umask, soft
 *  limits, niceness. See rfc/11. */

import { getPriority } from 'node:os'
import type { JobOptions } from '../api/job.js'
import { isAbove, isLimitName, type Limit, type Limits, readLimits } from '../base/limits.js'
import { type Options, parseInteger, UsageError } from './invocation.js'

/** Settings of this process; the options override them. */
export function surroundingsOf(options: Options): JobOptions {
  const umask = options.text('umask')
  const nice = options.text('nice')
  const limits = { ...softLimits(), ...Object.fromEntries(options.texts('limit').map(parseLimit)) }
  return {
    umask: umask === undefined ? process.umask() : parseUmask(umask),
    nice: nice === undefined ? getPriority() : parseInteger('--nice', nice, -20),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
  }
}

/** Node raises its own soft limit of open files to the hard one as it starts. What it was before can only be guessed: as
 *  our parent has it, where that has the same hard limit. A shell that becomes our process instead of starting it, as
 *  `(ulimit -S -n 100; tailrace ...)` does, leaves no trace of its own. */
function softLimits(): Limits | undefined {
  const own = readLimits('self')
  if (own?.soft.nofile === undefined || own.soft.nofile !== own.hard.nofile) return own?.soft
  const parent = readLimits(process.ppid)
  const before = parent?.soft.nofile
  if (before === undefined || parent?.hard.nofile !== own.hard.nofile) return own.soft
  return isAbove(before, own.soft.nofile) ? own.soft : { ...own.soft, nofile: before }
}

function parseLimit(text: string): [string, Limit] {
  const [name = '', value = ''] = text.split('=')
  if (!isLimitName(name)) throw new UsageError(`--limit takes NAME=N, as nofile=100; not "${text}"`)
  return [name, value === 'unlimited' ? value : parseInteger(`--limit ${name}`, value)]
}

function parseUmask(text: string): number {
  if (!/^0?[0-7]{1,3}$/.test(text))
    throw new UsageError(`--umask takes octal digits, not "${text}"`)
  return Number.parseInt(text, 8)
}
