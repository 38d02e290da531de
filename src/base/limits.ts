/** Resource limits of a process, read from /proc (Linux). See rfc/11. The names are those of
 *  prlimit(1). The values are in the system's units: bytes, seconds, counts, and
 *  microseconds for `rttime`. */

import { readFileSync } from 'node:fs'

/** The name of each limit in /proc/PID/limits. */
const titles = {
  as: 'Max address space',
  core: 'Max core file size',
  cpu: 'Max cpu time',
  data: 'Max data size',
  fsize: 'Max file size',
  locks: 'Max file locks',
  memlock: 'Max locked memory',
  msgqueue: 'Max msgqueue size',
  nice: 'Max nice priority',
  nofile: 'Max open files',
  nproc: 'Max processes',
  rss: 'Max resident set',
  rtprio: 'Max realtime priority',
  rttime: 'Max realtime timeout',
  sigpending: 'Max pending signals',
  stack: 'Max stack size',
} as const

/** The name of a limit. */
export type LimitName = keyof typeof titles
/** The value of a limit. */
export type Limit = number | 'unlimited'
/** The limits that the system tells. */
export type Limits = { readonly [name in LimitName]?: Limit }

/** The names of all limits. */
export const limitNames = Object.keys(titles) as readonly LimitName[]

/** True if there is a limit with this name. */
export function isLimitName(name: string): name is LimitName {
  return Object.hasOwn(titles, name)
}

/** Returns the soft and the hard limits of a process; undefined where the system does not tell. */
export function readLimits(
  pid: number | 'self',
): { readonly soft: Limits; readonly hard: Limits } | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/limits`, 'utf8')
  } catch {
    return undefined
  }
  const lines = text.split('\n')
  const soft: { [name in LimitName]?: Limit } = {}
  const hard: { [name in LimitName]?: Limit } = {}
  for (const name of limitNames) {
    const line = lines.find((one) => one.startsWith(titles[name]))
    const [first, second] = line?.slice(titles[name].length).trim().split(/\s+/) ?? []
    if (first === undefined || second === undefined) continue
    soft[name] = limitOf(first)
    hard[name] = limitOf(second)
  }
  return { soft, hard }
}

/** Returns the number of files, sockets and pipes that this process may have open: its soft
 *  limit, which Node raised to the hard one at its start. Undefined where the system does
 *  not tell, or has no limit. */
export function openFilesMax(): number | undefined {
  const files = readLimits('self')?.soft.nofile
  return files === 'unlimited' ? undefined : files
}

/** True if `one` allows more than `other`. */
export function isAbove(one: Limit, other: Limit): boolean {
  if (other === 'unlimited') return false
  return one === 'unlimited' || one > other
}

function limitOf(text: string): Limit {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : 'unlimited'
}
