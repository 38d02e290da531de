/** Gives a job's process the umask, soft limits and niceness of its submission, as far as the
 *  system allows. See rfc/11, rule 2.
 *  Invariant: the server's own settings are unchanged once the process was started. `shortfalls`
 *  names what the process does not get. prlimit(1) and nice(1) set limits and a higher niceness,
 *  then become the program. Node cannot set them for a child, and a shell would change its
 *  environment. */

import { existsSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import type { JobOptions } from '../api/job.js'
import { isAbove, type Limit, type LimitName, limitNames, readLimits } from '../base/limits.js'

type Launcher = {
  /** Arguments to put before the command; may be empty. */
  readonly prefix: readonly string[]
  /** Requested settings that the process will not have, as text for people. */
  readonly shortfalls: readonly string[]
  /** Calls `spawn` while this process has the umask and niceness that the child inherits. REQUIRES:
   *  `spawn` is synchronous. */
  readonly around: <T>(spawn: () => T) => T
}

/** Makes the launcher for these options. It reads this process's own settings: call it right before
 *  the spawn. */
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

/** Makes the part for the niceness. `raised` is the niceness that this process takes during the
 *  spawn. */
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
  // A process that may lower its niceness may also go back.
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

/** Returns the path of a program of the system, whatever PATH a job has. Returns undefined if there
 *  is none. */
export function systemProgram(program: string): string | undefined {
  return [`/usr/bin/${program}`, `/bin/${program}`].find((path) => existsSync(path))
}
