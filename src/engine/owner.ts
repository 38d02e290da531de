/** Who holds a store directory: a process, told apart from later ones of the same pid by its start
 *  time and the boot it belongs to. LMDB itself keeps nobody out. See rfc/4.
 *  Invariant: a record of a process that is gone never keeps a store closed. */

import { readFileSync } from 'node:fs'
import { decode, encode } from '../blob/codec.js'
import { corrupt, isCount } from './record.js'

export type Owner = {
  readonly pid: number
  /** Clock ticks since boot (field 22 of /proc/PID/stat); '' where there is no /proc. */
  readonly startTime: string
  /** '' where there is no /proc. */
  readonly bootId: string
  /** Random id of this opening. */
  readonly nonce: string
}

export function thisProcess(nonce: string): Owner {
  return { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', bootId: bootId(), nonce }
}

/** Whether the process that took the store is still there. */
export function isAlive(owner: Owner): boolean {
  if (owner.bootId !== bootId()) return false
  if (owner.startTime !== '') return startTimeOf(owner.pid) === owner.startTime
  try {
    process.kill(owner.pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

export function encodeOwner(owner: Owner): Buffer {
  return encode([owner.pid, owner.startTime, owner.bootId, owner.nonce])
}

export function parseOwner(value: Uint8Array): Owner {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('owner record')
  const [pid, startTime, boot, nonce] = fields as readonly unknown[]
  if (!isCount(pid) || typeof startTime !== 'string') throw corrupt('owner record')
  if (typeof boot !== 'string' || typeof nonce !== 'string') throw corrupt('owner record')
  return { pid, startTime, bootId: boot, nonce }
}

/** Undefined: no such process, or one that has ended and was not yet reaped. */
function startTimeOf(pid: number): string | undefined {
  const stat = readProc(`/proc/${pid}/stat`)
  // The second field is the command in parentheses and may hold anything; `state` follows it.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (!fields || fields[0] === 'Z' || fields[0] === 'X') return undefined
  return fields[19]
}

function bootId(): string {
  return readProc('/proc/sys/kernel/random/boot_id')?.trim() ?? ''
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined // not Linux, or no such process
  }
}
