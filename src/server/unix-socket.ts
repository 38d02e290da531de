/** The files of a server's Unix sockets: that of the data directory, and one that `--socket` names. See
 *  rfc/13, rules 1, 4 and 36.
 *  Invariant: nobody can open a socket before it has its mode. At its end a server removes its own socket
 *  only. */

import { once } from 'node:events'
import type { Stats } from 'node:fs'
import { chmod, lstat, mkdtemp, realpath, rename, rm, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, isAbsolute, join } from 'node:path'
import { type FileIdentity, fileIdentity, isSameFile } from '../base/file-identity.js'
import { invalid } from '../base/shape.js'
import { hasSystemCode, reasonOf, TailraceError } from '../error.js'
import { socketPathMax } from '../local/directory.js'

/** The mode of a socket that only its owner may open. */
export const ownSocketMode = 0o600

const groupWrite = 0o020
const othersWrite = 0o002
const groupPass = 0o010
const othersPass = 0o001
const setGroup = 0o2000
const sticky = 0o1000

/** A place for a socket besides that of the data directory. */
export type SocketPlace = {
  /** The absolute path. Its directory must exist. */
  readonly path: string
  /** The mode: who may write to a socket may open it. Default: 0600. */
  readonly mode?: number
}

/** The file of a socket that listens. */
export class SocketFile {
  readonly path: string
  readonly #identity: FileIdentity

  private constructor(path: string, identity: FileIdentity) {
    this.path = path
    this.#identity = identity
  }

  /** Listens at `bound`, a path that nobody else can reach, and then gives the socket its mode and its
   *  final path, where it replaces the socket that a killed server has left. When Node closes a socket, it
   *  removes the file of the name that it was bound to: under the final name that could be the socket of
   *  another server. */
  static async make(
    { path, mode = ownSocketMode }: SocketPlace,
    { bound, listen }: { readonly bound: string; readonly listen: () => Promise<void> },
  ): Promise<SocketFile> {
    await listen()
    await chmod(bound, mode)
    const made = new SocketFile(path, await fileIdentity(bound))
    await rename(bound, path)
    return made
  }

  /** Removes the socket, unless it is another server's: a directory may have been moved or replaced. */
  async remove(): Promise<void> {
    const there = await fileIdentity(this.path).catch(() => undefined)
    if (there && isSameFile(there, this.#identity)) await rm(this.path, { force: true })
  }
}

/** Calls `use` with a path below a socket's directory, whose group it inherits, in a directory that only
 *  this user can reach, and removes that one. Throws EINVAL (the path is too long), EPERM, and what `use` throws. */
export async function withPrivatePath<T>(
  { path }: SocketPlace,
  use: (bound: string) => Promise<T>,
): Promise<T> {
  const directory = dirname(path)
  const added = Buffer.byteLength('/.XXXXXX/s')
  if (Math.max(Buffer.byteLength(path), Buffer.byteLength(directory) + added) > socketPathMax) {
    throw invalid(`${path} is too long for a socket: choose a shorter path`)
  }
  const made = await mkdtemp(`${directory}/.`).catch((cause: unknown) => {
    throw new TailraceError('EPERM', `no socket can be made: ${reasonOf(cause)}`, { cause })
  })
  try {
    return await use(join(made, 's'))
  } finally {
    await rm(made, { recursive: true, force: true })
  }
}

/** Checks that a socket can be made at a place, and be opened by all that its mode allows. Throws EINVAL
 *  (no absolute path), EMISCONFIGURED (no directory, something else is there, or others cannot reach it),
 *  EBUSY (another server listens there), EPERM (others could replace it). */
export async function checkSocketPlace(place: SocketPlace): Promise<void> {
  const { path } = place
  if (!isAbsolute(path)) throw invalid(`${path} is no absolute path`)
  const directory = await realpath(dirname(path)).catch((cause: unknown) => {
    throw misconfigured(`the directory of the socket is missing: ${reasonOf(cause)}`)
  })
  await checkReach(place, directory)
  await checkFree(path)
}

/** Checks all directories above a socket. */
async function checkReach({ path, mode = ownSocketMode }: SocketPlace, directory: string) {
  const there = await stat(directory)
  if (!there.isDirectory()) throw misconfigured(`${directory} is no directory`)
  if ((there.mode & othersWrite) !== 0 && (there.mode & sticky) === 0) {
    const message = `others may write in ${directory}, and could replace the socket: chmod o-w it`
    throw new TailraceError('EPERM', message)
  }
  const group = (there.mode & setGroup) === 0 ? (process.getegid?.() ?? there.gid) : there.gid
  const groupPasses = (of: Stats) => (of.mode & (of.gid === group ? groupPass : othersPass)) !== 0
  const othersPasses = (of: Stats) => (of.mode & othersPass) !== 0
  for (let at = directory; ; at = dirname(at)) {
    const above = await stat(at)
    if ((mode & groupWrite) !== 0 && !groupPasses(above))
      throw unreached(at, `group ${group}`, path)
    if ((mode & othersWrite) !== 0 && !othersPasses(above)) throw unreached(at, 'others', path)
    if (at === dirname(at)) return
  }
}

function unreached(directory: string, who: string, path: string): TailraceError {
  return misconfigured(
    `${who} cannot open ${path}, since ${directory} is closed to them: choose another directory, or let them pass (chmod g+x or o+x)`,
  )
}

/** Checks that nothing is at the path, or a socket on which nobody listens any more. */
async function checkFree(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined)
  if (!there) return
  if (!there.isSocket()) throw misconfigured(`${path} is there, and no socket: choose another path`)
  const socket = connect(path)
  try {
    await once(socket, 'connect')
  } catch (error) {
    if (hasSystemCode(error, 'ECONNREFUSED')) return
    throw misconfigured(`${path} is a socket of somebody else: ${reasonOf(error)}`)
  } finally {
    socket.destroy()
  }
  throw new TailraceError('EBUSY', `a server listens at ${path}: choose another path`)
}

function misconfigured(message: string): TailraceError {
  return new TailraceError('EMISCONFIGURED', message)
}
