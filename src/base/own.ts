/** Whether a path is the user's own and closed to others: what is kept there, and what is done by its word
 *  (a token, a socket, a record), is as trustworthy as whoever could have put it there. See rfc/13.
 *  Invariant: nothing is changed but the mode of what is the user's own. */

import type { Stats } from 'node:fs'
import { chmod, lstat, stat } from 'node:fs/promises'
import { TailraceError } from '../error.js'

const groupWrite = 0o020
const othersWrite = 0o002
const groupAndOthers = 0o077

/** A directory that others may look into, but not change. Nothing where it is missing. Throws EPERM. */
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

/** A directory of which others need nothing: it is closed to them. Nothing where it is missing. Throws EPERM where
 *  it is not the user's own, or others could have changed what is in it. */
export async function closeOwnDirectory(path: string): Promise<void> {
  await assertOwnDirectory(path)
  const there = await ifThere(stat(path))
  if (there && (there.mode & groupAndOthers) !== 0) await chmod(path, there.mode & 0o700)
}

/** A file (socket) that nobody else may open. Where its directory is closed to all others its mode is
 *  made so, since nobody could reach it: a copy's may have got wider. Nothing where it is missing. Throws EPERM. */
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

/** A file that is obeyed, but holds no secret. Nothing where it is missing. Throws EPERM. */
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

/** Many systems give each user a group of the same number, which has nobody else in it. */
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
