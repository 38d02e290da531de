/** The data directory of a local server: its files, and where its socket is. See rfc/13.
 *  Invariant: everything in it is readable by its owner only; a file is written whole (to another
 *  name, then renamed), so that a reader never sees half of one. Node built-ins only: the CLI starts
 *  with it. */

import { createHash, randomBytes } from 'node:crypto'
import {
  chmod,
  lstat,
  mkdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import {
  type FileIdentity,
  fileIdentity,
  isSameFile,
  parseFileIdentity,
} from '../base/file-identity.js'
import { makeDirectory } from '../base/make-directory.js'
import { assertOwnDirectory, assertOwnFile, assertOwnSecret } from '../base/own.js'
import { TailraceError } from '../error.js'

/** Bytes of a Unix socket's path: longer ones are cut silently by the system. */
export const socketPathMax = 100

/** `server.json`, while a server runs. */
export type ServerRecord = {
  readonly pid: number
  /** Of the process, as the system counts it (/proc/PID/stat): tells a pid from its next owner. */
  readonly startTime: string
  readonly socket: string
  /** `HOST:PORT` of each TCP address. */
  readonly listen: readonly string[]
  readonly version: string
  readonly storeId: string
  /** The data directory that the record is of: one that was copied has another. */
  readonly directory: FileIdentity
  /** ms since 1970. */
  readonly started: number
}

const socketFile = 'tailrace.sock'

type Variables = Readonly<Record<string, string | undefined>>

/** `$TAILRACE_DATA`, else the XDG state directory's `tailrace`. */
export function defaultDirectory(variables: Variables = process.env): string {
  const { TAILRACE_DATA: data, XDG_STATE_HOME: state } = variables
  if (data) return data
  return join(state?.startsWith('/') ? state : join(homedir(), '.local', 'state'), 'tailrace')
}

/** Makes the directory (0700) and its parents where they are missing; its real path. Throws EPERM (it is
 *  somebody else's, or others may write in it). */
export async function prepareDirectory(directory: string): Promise<string> {
  await makeDirectory(directory)
  await assertOwnDirectory(directory)
  return realpath(directory)
}

/** Whether a store is in the directory, or was: an open would not make one. */
export async function hasStore(directory: string): Promise<boolean> {
  for (const name of ['format.json', join('store', 'data.mdb')]) {
    try {
      await stat(join(directory, name))
      return true
    } catch (error) {
      if (!isSystemError(error, 'ENOENT') && !isSystemError(error, 'ENOTDIR')) throw error
    }
  }
  return false
}

/** The bearer token of the directory's server, made when it is first asked for: 64 hex digits. */
export async function ensureToken(directory: string): Promise<string> {
  const there = await readToken(directory)
  if (there) return there
  const path = join(directory, 'token')
  const token = randomBytes(32).toString('hex')
  try {
    await writeFile(path, `${token}\n`, { mode: 0o600, flag: 'wx' })
    return token
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error
    const made = await readToken(directory)
    if (made) return made
    throw new TailraceError(
      'EMISCONFIGURED',
      `${path} holds no token: remove it, a new one is made`,
    )
  }
}

/** Undefined where there is none (yet). Throws EPERM where others could have put it there, or can read it. */
export async function readToken(directory: string): Promise<string | undefined> {
  const path = join(directory, 'token')
  await assertOwnDirectory(directory)
  await assertOwnSecret(path, directory)
  const text = (await readIfThere(path))?.trim()
  return text && /^[0-9a-f]{64}$/.test(text) ? text : undefined
}

/** Reads `server.json`. It may be left by a server that did not end in order. Undefined where it is not there, or
 *  came with a copy of the directory from another server. Throws EPERM where others could have put it there. */
export async function readServerRecord(directory: string): Promise<ServerRecord | undefined> {
  const path = join(directory, 'server.json')
  await assertOwnDirectory(directory)
  await assertOwnFile(path)
  const there = await readJson(path)
  const of = parseFileIdentity(there?.['directory'])
  if (!of || typeof there?.['socket'] !== 'string' || typeof there['pid'] !== 'number') {
    return undefined
  }
  if (!isSameFile(of, await fileIdentity(directory))) return undefined
  return there as unknown as ServerRecord
}

export async function writeServerRecord(directory: string, record: ServerRecord): Promise<void> {
  await writeWhole(join(directory, 'server.json'), `${JSON.stringify(record)}\n`)
}

/** Removes the record if it is still this process's own, at the place where the directory was. */
export async function removeServerRecord(directory: string, record: ServerRecord): Promise<void> {
  const there = await readServerRecord(directory)
  if (there?.pid === record.pid && there.startTime === record.startTime) {
    await rm(join(directory, 'server.json'), { force: true })
  }
}

/** Path of the socket of a server whose directory may have been moved since it started. Throws EBUSY where the
 *  path is too long now. */
export function socketNow(directory: string, { socket, pid }: ServerRecord): string {
  const inside = join(directory, socketFile)
  if (basename(socket) !== socketFile) return socket // it stands elsewhere, and was not moved
  if (Buffer.byteLength(inside) <= socketPathMax) return inside
  const message = `the server of ${directory} (pid ${pid}) was started at ${dirname(socket)}, and its socket cannot be reached at the longer path: end that process, then try again`
  throw new TailraceError('EBUSY', message)
}

/** Where the server of a data directory listens. REQUIRES: `directory` is its real path. Makes the
 *  directory of a socket that stands elsewhere. Throws EPERM if that is somebody else's. */
export async function socketPathOf(
  directory: string,
  variables: Variables = process.env,
): Promise<string> {
  const inside = join(directory, socketFile)
  if (Buffer.byteLength(inside) <= socketPathMax) return inside
  const hash = createHash('sha256').update(directory).digest('hex').slice(0, 16)
  const { XDG_RUNTIME_DIR: runtime } = variables
  if (runtime?.startsWith('/')) {
    const path = join(runtime, `tailrace-${hash}.sock`)
    if (Buffer.byteLength(path) <= socketPathMax) return path
  }
  return join(await privateDirectory(), `${hash}.sock`)
}

/** Ticks since boot at which a process started; undefined where there is none, or no /proc. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readIfThere(`/proc/${pid}/stat`)
  // The command's name stands in brackets and may hold anything: fields are counted behind it.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

async function privateDirectory(): Promise<string> {
  const uid = process.getuid?.() ?? 0
  const path = `/tmp/tailrace-${uid}`
  await mkdir(path, { recursive: true, mode: 0o700 })
  const there = await lstat(path)
  if (!there.isDirectory() || there.uid !== uid) {
    throw new TailraceError('EPERM', `${path} is not yours: choose a shorter --data`)
  }
  if ((there.mode & 0o077) !== 0) await chmod(path, 0o700)
  return path
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.new`
  await writeFile(temporary, text, { mode: 0o600 })
  await rename(temporary, path)
}

async function readJson(path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // As below: a file that cannot be read.
  }
  throw new TailraceError('EMISCONFIGURED', `${path} is not JSON: remove it if no server runs`)
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined
    throw error
  }
}

function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code
}
