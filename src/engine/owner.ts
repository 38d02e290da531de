/** The lock of a store directory: a lock of the operating system on a file in it, which lasts as
 *  long as the store is open. The file names the process that has it, for the message to others.
 *  See rfc/4, rule 21.
 *  Invariant: only the lock decides who may open the store. It ends with its process, however that
 *  ends. The text of the file is for people. */

import {
  closeSync,
  ftruncateSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  writeSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openLocked } from '../base/posix.js'
import { isDefunct, processStart } from '../base/processes.js'
import { corrupt, isCount } from '../base/stored.js'
import { decode } from '../blob/codec.js'
import { hasSystemCode, TailraceError } from '../error.js'

const ownerFile = 'owner.lock'

/** The time, in ms, by which a process that took the lock has written its record. */
const recordMs = 100

/** The process that has the lock. */
type Owner = {
  readonly pid: number
  /** The boot and the start time, see `processStart`; '' where the system does not tell. */
  readonly start: string
  readonly host: string
}

/** Describes this process. */
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

  /** Takes the lock. REQUIRES: the directory is there. Throws EBUSY (the message has the path and
   *  the process that has the lock), EMISCONFIGURED (no native build), EIO (a file system without
   *  locks), and what node:fs throws. */
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

  /** Releases the lock. Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    closeSync(this.#descriptor)
  }
}

/** Returns true if the process lives, and can be seen from here: a process of another
 *  container cannot. */
export function isAlive({ pid, start }: Pick<Owner, 'pid' | 'start'>): boolean {
  if (start !== '') return processStart(pid) === start && !isDefunct(pid)
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return hasSystemCode(error, 'EPERM')
  }
}

/** Decodes the record `[pid, start, nonce]` that versions without the lock kept in the table
 *  `meta`. Throws ECORRUPT. */
export function parseOldOwner(value: Uint8Array): Pick<Owner, 'pid' | 'start'> {
  const fields = decode(value)
  if (!Array.isArray(fields)) throw corrupt('a stored owner record')
  const [pid, start] = fields as readonly unknown[]
  if (!isCount(pid) || typeof start !== 'string') throw corrupt('a stored owner record')
  return { pid, start }
}

/** Makes the error for a store that another process has open. */
export function heldBy(directory: string, pid: number): TailraceError {
  return new TailraceError(
    'EBUSY',
    `${directory} is in use by process ${pid}: use that one, or end it first`,
  )
}

async function busy(directory: string): Promise<TailraceError> {
  let owner = readOwner(directory)
  if (!owner || !isAlive(owner)) {
    // The process took the lock just now, and the file still names the one before; or it cannot be
    // seen from here.
    await delay(recordMs)
    owner = readOwner(directory)
  }
  if (owner && isAlive(owner)) return heldBy(directory, owner.pid)
  const who = owner ? `process ${owner.pid} on ${owner.host}` : 'another process'
  const message = `${directory} is in use by ${who}, which cannot be seen from here (another container?): use that one, or end it first`
  return new TailraceError('EBUSY', message)
}

/** Returns the process that the file of the lock names, and whether it has that file open still, as far
 *  as can be seen from here. The lock is not tried: that could take it from a server that starts.
 *  Undefined where there is none. */
export function ownerOf(directory: string): (Owner & { readonly holds: boolean }) | undefined {
  const owner = readOwner(directory)
  return owner && { ...owner, holds: isAlive(owner) && hasOpen(owner.pid, directory) }
}

/** Returns false if a process certainly does not have the file of the lock open: it may live on after it
 *  has closed the store. */
function hasOpen(pid: number, directory: string): boolean {
  try {
    const path = realpathSync(join(directory, ownerFile))
    const descriptors = `/proc/${pid}/fd`
    return readdirSync(descriptors).some((name) => isLinkTo(join(descriptors, name), path))
  } catch {
    return true // another user's process, or a system that does not tell
  }
}

function isLinkTo(link: string, path: string): boolean {
  try {
    return readlinkSync(link) === path
  } catch {
    return false // it was closed meanwhile
  }
}

function readOwner(directory: string): Owner | undefined {
  try {
    const { pid, start, host } = JSON.parse(readFileSync(join(directory, ownerFile), 'utf8'))
    if (!isCount(pid) || typeof start !== 'string' || typeof host !== 'string') return undefined
    return { pid, start, host }
  } catch {
    return undefined // the file is being written
  }
}
