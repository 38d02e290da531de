/** Who holds a store directory: a process, told apart from later ones of the same pid. LMDB itself
 *  keeps nobody out. See rfc/4.
 *  Invariant: the record of a process that is gone never keeps a store closed. */

import { isDefunct, processStart } from '../base/process-start.js'
import { decode, encode } from '../blob/codec.js'
import { corrupt, isCount } from './record.js'

export type Owner = {
  readonly pid: number
  /** Boot and start time, see `processStart`; '' where the system does not say. */
  readonly start: string
  /** Random id of this opening. */
  readonly nonce: string
}

export function thisProcess(nonce: string): Owner {
  return { pid: process.pid, start: processStart(process.pid) ?? '', nonce }
}

/** Whether the process that took the store is still there. */
export function isAlive({ pid, start }: Owner): boolean {
  if (start !== '') return processStart(pid) === start && !isDefunct(pid)
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

export function encodeOwner({ pid, start, nonce }: Owner): Buffer {
  return encode([pid, start, nonce])
}

export function parseOwner(value: Uint8Array): Owner {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('owner record')
  const [pid, start, nonce] = fields as readonly unknown[]
  if (!isCount(pid) || typeof start !== 'string') throw corrupt('owner record')
  if (typeof nonce !== 'string') throw corrupt('owner record')
  return { pid, start, nonce }
}
