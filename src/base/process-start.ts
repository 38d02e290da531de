/** Tells a process from a later one with the same pid: by its start time and the boot it belongs to.
 *  Linux only (/proc); elsewhere nothing is known, and nothing is mistaken for another. */

import { readFileSync } from 'node:fs'

/** `BOOTID.TICKS`: the boot, and ticks since then at which the process started. Undefined where
 *  there is no such process, or no /proc. A process that ended but was not reaped still has one. */
export function processStart(pid: number): string | undefined {
  const ticks = fields(pid)?.[19]
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim()
  return ticks === undefined || boot === undefined ? undefined : `${boot}.${ticks}`
}

/** Whether the process has ended and only waits to be reaped: it holds nothing any more. */
export function isDefunct(pid: number): boolean {
  const state = fields(pid)?.[0]
  return state === 'Z' || state === 'X'
}

/** From the third on, `state`. */
function fields(pid: number): string[] | undefined {
  // The command's name stands in brackets and may hold anything: fields are counted behind it.
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
