/** Tells a process from a later one with the same pid: by its start time and the boot it belongs to.
 *  Linux only (/proc); elsewhere nothing is known, and nothing is mistaken for another. */

import { readFileSync } from 'node:fs'

/** `BOOTID.TICKS`: the boot, and ticks since then at which the process started. Undefined where
 *  there is no such process, or no /proc. A process that ended but was not reaped still has one. */
export function processStart(pid: number): string | undefined {
  // The command's name stands in brackets and may hold anything: fields are counted behind it.
  const stat = read(`/proc/${pid}/stat`)
  const ticks = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim()
  return ticks === undefined || boot === undefined ? undefined : `${boot}.${ticks}`
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
