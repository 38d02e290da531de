/** Tells a process from a later one with the same pid, by the boot and the time at
 *  which it started. Linux only (/proc). Elsewhere nothing is known of a process, so
 *  that none is taken for another. */

import { readFileSync } from 'node:fs'

/** Returns the start of a process as `BOOTID.TICKS`: the boot, and the clock ticks since then.
 *  Undefined where there is no such process, or no /proc. A process that has ended but was not
 *  reaped still has it. */
export function processStart(pid: number): string | undefined {
  const ticks = statFieldsOf(pid)?.[19]
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim()
  return ticks === undefined || boot === undefined ? undefined : `${boot}.${ticks}`
}

/** True if the process has ended and only waits to be reaped: it has no open file any more. */
export function isDefunct(pid: number): boolean {
  return isDefunctState(statFieldsOf(pid)?.[0])
}

/** True for a `state` of proc(5) that says that the process has ended. */
export function isDefunctState(state: string | undefined): boolean {
  return state === 'Z' || state === 'X'
}

/** Returns the fields of /proc/PID/stat (proc(5)) from the third on, which is `state`; undefined
 *  where there is no such process. */
export function statFieldsOf(pid: number): string[] | undefined {
  // The second field is the command's name in brackets, and may hold any character.
  const stat = read(`/proc/${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
