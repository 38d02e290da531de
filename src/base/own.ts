/** Checks that a path belongs to the user and is closed to others. A token, a socket or a record
 *  that is found there is only as trustworthy as everybody who could have put it there. See rfc/13.
 *  Invariant: nothing is changed but the mode of what belongs to the user. */

import type { Stats } from 'node:fs'
import { chmod, lstat, stat } from 'node:fs/promises'
import { TailraceError } from '../error.js'

const groupWrite = 0o020
const othersWrite = 0o002
const others = 0o007
const groupAndOthers = 0o077

/** Throws EPERM if a directory belongs to another user, or if others may write in it. Others may
 *  read it. Does nothing where it is missing. */
export async function assertOwnDirectory(path: string): Promise<void> {
  const there = await ifThere(stat(path))
  if (!there) return
  assertOwner(path, there)
  if ((there.mode & othersWrite) === 0 && ((there.mode & groupWrite) === 0 || isOwnGroup(there)))
    return
  throw new TailraceError(
    'EPERM',
    `others may write in ${path} (mode ${modeText(there)}), so what is in it cannot be trusted: chmod go-w it, once you know that all in it is yours`,
  )
}

/** Closes a directory to all other users. Does nothing where it is missing. Throws EPERM if it
 *  belongs to another user, or if others could have written in it. */
export async function closeOwnDirectory(path: string): Promise<void> {
  await assertOwnDirectory(path)
  const there = await ifThere(stat(path))
  if (there && (there.mode & groupAndOthers) !== 0) await chmod(path, there.mode & 0o700)
}

/** Throws EPERM if a file or socket belongs to another user, or if others may open it. Where
 *  `directory`, which holds it, is closed to all others, nobody could have reached it: then its
 *  mode is mended, since a copy may have got a wider one. Does nothing where it is missing. */
export async function assertOwnSecret(path: string, directory: string): Promise<void> {
  const there = await ifThere(lstat(path))
  if (!there) return
  assertOwner(path, there)
  if (there.isSymbolicLink() || (there.mode & groupAndOthers) === 0) return
  if (((await stat(directory)).mode & groupAndOthers) === 0) {
    await chmod(path, there.mode & 0o700)
    return
  }
  throw new TailraceError(
    'EPERM',
    `others may use ${path} (mode ${modeText(there)}): chmod go= it, or, if they may have done so, remove it`,
  )
}

/** Throws EPERM if a file that holds a secret belongs to another user than this one or root, or if others
 *  may open it. A file of root's may be open to its group, since nobody else can give it to a service that
 *  is not root's. `there` is the file that was opened. */
export function assertSecretStats(path: string, there: Stats): void {
  const user = assertOwnOrRoots(path, there)
  if (user === undefined) return
  const { uid, mode } = there
  const closedTo = uid === user ? groupAndOthers : groupWrite | others
  if ((mode & closedTo) === 0) return
  const message = `others may use ${path} (mode ${modeText(there)}): chmod 600 it`
  throw new TailraceError('EPERM', message)
}

/** Throws EPERM if a file that is obeyed belongs to another user than this one or root, or if others may
 *  write it. `there` is the file that was opened. */
export function assertObeyedStats(path: string, there: Stats): void {
  if (assertOwnOrRoots(path, there) === undefined) return
  const { mode } = there
  const isOpen = (mode & othersWrite) !== 0 || ((mode & groupWrite) !== 0 && !isOwnGroup(there))
  if (!isOpen) return
  const message = `others may write ${path} (mode ${modeText(there)}): chmod go-w it, once you know that all in it is yours`
  throw new TailraceError('EPERM', message)
}

/** Returns the user of this process; undefined where the system has none. Throws EPERM if a file belongs to
 *  another user than this one or root. */
function assertOwnOrRoots(path: string, { uid }: Stats): number | undefined {
  const user = process.geteuid?.()
  if (user === undefined || uid === 0 || uid === user) return user
  const message = `${path} belongs to user ${uid}: give it to user ${user} or to root (chown)`
  throw new TailraceError('EPERM', message)
}

/** Throws EPERM if a file belongs to another user. Use it for a file that is obeyed but holds no
 *  secret. Does nothing where it is missing. */
export async function assertOwnFile(path: string): Promise<void> {
  const there = await ifThere(lstat(path))
  if (there) assertOwner(path, there)
}

function assertOwner(path: string, { uid }: Stats): void {
  const user = process.geteuid?.()
  if (user === undefined || uid === user) return
  throw new TailraceError(
    'EPERM',
    `${path} belongs to user ${uid}, and this is user ${user}: run the command as that user (without sudo), name a directory of your own (--data, TAILRACE_DATA), or give it to yourself (chown -R)`,
  )
}

/** True if the group is the owner's own: many systems give each user a group with the user's
 *  number, and with no other member. */
function isOwnGroup({ uid, gid }: Stats): boolean {
  return gid === uid
}

function modeText({ mode }: Stats): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

async function ifThere(asked: Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof Error && 'code' in error) {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
      if (error.code === 'EACCES') throw new TailraceError('EPERM', error.message, { cause: error })
    }
    throw error
  }
}
