/** Who holds a store directory: an operating system's lock on a file in it, which lasts as long as
 *  the store is open in the process that took it. The file says who that is, for those who are
 *  refused. See rfc/4.
 *  Invariant: the lock alone decides. It goes with its process, however that ends; what the file
 *  says is for people. */

import { closeSync, ftruncateSync, readFileSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openLocked } from '../base/posix.js'
import { isDefunct, processStart } from '../base/process-start.js'
import { corrupt, isCount } from '../base/stored.js'
import { decode } from '../blob/codec.js'
import { TailraceError } from '../error.js'

export const ownerFile = 'owner.lock'

/** Who took the lock has written who it is by then. */
const recordMs = 100

export type Owner = {
  readonly pid: number
  /** Boot and start time, see `processStart`; '' where the system does not say. */
  readonly start: string
  readonly host: string
}

export function thisProcess(): Owner {
  return { pid: process.pid, start: processStart(process.pid) ?? '', host: hostname() }
}

/** The lock of a store directory, held until `release`. */
export class StoreLock {
  readonly #descriptor: number
  #released = false

  private constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  /** REQUIRES: the directory is there. Throws EBUSY (the message has the path and who holds it),
   *  EMISCONFIGURED (no native build), EIO (a file system without locks), and what node:fs does. */
  static async take(directory: string): Promise<StoreLock> {
    const path = join(directory, ownerFile)
    const descriptor = openLocked(path)
    if (descriptor === undefined) throw await busy(directory)
    try {
      ftruncateSync(descriptor)
      writeSync(descriptor, `${JSON.stringify(thisProcess())}\n`)
    } catch (error) {
      closeSync(descriptor)
      throw error
    }
    return new StoreLock(descriptor)
  }

  /** Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    closeSync(this.#descriptor)
  }
}

/** Whether the process is there and visible from here: a process of another container is not. */
export function isAlive({ pid, start }: Pick<Owner, 'pid' | 'start'>): boolean {
  if (start !== '') return processStart(pid) === start && !isDefunct(pid)
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** The owner record that versions without the lock kept in the table `meta`: `[pid, start,
 *  nonce]`. */
export function parseOldOwner(value: Uint8Array): Pick<Owner, 'pid' | 'start'> {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('a stored owner record')
  const [pid, start] = fields as readonly unknown[]
  if (!isCount(pid) || typeof start !== 'string') throw corrupt('a stored owner record')
  return { pid, start }
}

export function heldBy(directory: string, pid: number): TailraceError {
  return new TailraceError(
    'EBUSY',
    `${directory} is in use by process ${pid}: use that one, or end it first`,
  )
}

async function busy(directory: string): Promise<TailraceError> {
  let owner = readOwner(directory)
  if (!owner || !isAlive(owner)) {
    // It took the lock just now, and the file still says who had it before; or it cannot be seen
    // from here.
    await delay(recordMs)
    owner = readOwner(directory)
  }
  if (owner && isAlive(owner)) return heldBy(directory, owner.pid)
  const who = owner ? `process ${owner.pid} on ${owner.host}` : 'another process'
  const message = `${directory} is in use by ${who}, which cannot be seen from here (another container?): use that one, or end it first`
  return new TailraceError('EBUSY', message)
}

function readOwner(directory: string): Owner | undefined {
  try {
    const { pid, start, host } = JSON.parse(readFileSync(join(directory, ownerFile), 'utf8'))
    if (!isCount(pid) || typeof start !== 'string' || typeof host !== 'string') return undefined
    return { pid, start, host }
  } catch {
    return undefined // being written just now
  }
}
