/** Resource limits of a process, read from /proc (Linux). See rfc/11.
 *  Names are those of prlimit(1), values in the system's units: bytes, seconds, counts; microseconds for `rttime`. */

import { readFileSync } from 'node:fs'

/** How /proc/PID/limits calls each. */
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

export type LimitName = keyof typeof titles
export type Limit = number | 'unlimited'
export type Limits = { readonly [name in LimitName]?: Limit }

export const limitNames = Object.keys(titles) as readonly LimitName[]

export function isLimitName(name: string): name is LimitName {
  return Object.hasOwn(titles, name)
}

/** Soft and hard limits; undefined where the system does not say. */
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

/** Whether more is allowed by `one` than by `other`. */
export function isAbove(one: Limit, other: Limit): boolean {
  if (other === 'unlimited') return false
  return one === 'unlimited' || one > other
}

function limitOf(text: string): Limit {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : 'unlimited'
}
