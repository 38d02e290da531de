/** Gives a job's process the umask, soft limits and niceness of its submitter, as far as the system lets it. See rfc/11.
 *  Invariant: the server itself is as before once the process was started; what could not be given is told.
 *  Limits and a higher niceness are set by prlimit(1) and nice(1), which then become the program: Node can set none for
 *  a child, and a shell would change its environment. */

import { existsSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import type { JobOptions } from '../api/job.js'
import { isAbove, type Limit, type LimitName, limitNames, readLimits } from '../base/limits.js'

export type Launcher = {
  /** Goes before the command; may be empty. */
  readonly prefix: readonly string[]
  /** Requested settings that the process will not have, for people. */
  readonly shortfalls: readonly string[]
  /** Calls `spawn`. REQUIRES: it is synchronous. */
  readonly around: <T>(spawn: () => T) => T
}

/** Reads what this process has: call it right before the spawn. */
export function launcherOf({ umask, limits, nice }: JobOptions): Launcher {
  const limiting = limiterOf(limits ?? {})
  const slowing = slowerOf(nice)
  return {
    prefix: [...slowing.prefix, ...limiting.prefix],
    shortfalls: [...slowing.shortfalls, ...limiting.shortfalls],
    around: (spawn) => withUmask(umask, () => withPriority(slowing.raised, spawn)),
  }
}

type Part = Pick<Launcher, 'prefix' | 'shortfalls'>

function limiterOf(wanted: { readonly [name in LimitName]?: Limit }): Part {
  const own = readLimits('self')
  const shortfalls: string[] = []
  const flags: string[] = []
  for (const name of limitNames) {
    const limit = wanted[name]
    if (limit === undefined || limit === own?.soft[name]) continue
    const hard = own?.hard[name] ?? 'unlimited'
    const given = isAbove(limit, hard) ? hard : limit
    if (given !== limit)
      shortfalls.push(`${name} is ${given}, not ${limit}: the server may not raise it`)
    if (given !== own?.soft[name]) flags.push(`--${name}=${given}:`)
  }
  if (flags.length === 0) return { prefix: [], shortfalls }
  const program = systemProgram('prlimit')
  if (program) return { prefix: [program, ...flags, '--'], shortfalls }
  const missing = `the limits are the server's: there is no prlimit (util-linux) here`
  return { prefix: [], shortfalls: [missing] }
}

/** `raised`: the niceness that this process takes for the moment of the spawn. */
function slowerOf(nice: number | undefined): Part & { readonly raised?: number } {
  const own = getPriority()
  if (nice === undefined || nice === own) return { prefix: [], shortfalls: [] }
  if (nice > own) {
    const program = systemProgram('nice')
    if (program) return { prefix: [program, '-n', String(nice - own)], shortfalls: [] }
    return {
      prefix: [],
      shortfalls: [`the niceness is ${own}, not ${nice}: there is no nice here`],
    }
  }
  // Whoever may lower it may also go back.
  if (withPriority(nice, () => getPriority() === nice))
    return { prefix: [], shortfalls: [], raised: nice }
  const why = 'the server may not lower it'
  return { prefix: [], shortfalls: [`the niceness is ${own}, not ${nice}: ${why}`] }
}

function withPriority<T>(nice: number | undefined, act: () => T): T {
  if (nice === undefined) return act()
  const own = getPriority()
  try {
    setPriority(nice)
  } catch {
    return act()
  }
  try {
    return act()
  } finally {
    setPriority(own)
  }
}

function withUmask<T>(umask: number | undefined, act: () => T): T {
  if (umask === undefined) return act()
  const own = process.umask(umask)
  try {
    return act()
  } finally {
    process.umask(own)
  }
}

/** Its path, wherever a job's PATH leads. */
export function systemProgram(program: string): string | undefined {
  return [`/usr/bin/${program}`, `/bin/${program}`].find((path) => existsSync(path))
}
