/** The data directory of a local server: its files, and the path of its socket. See rfc/13, rules 1
 *  to 4 and 23.
 *  Invariant: only the owner can read the files. A file is written whole (to another name, then
 *  renamed), so that a reader never sees half of one. This file imports no package, since each
 *  start of the CLI loads it. */

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

/** The largest path of a Unix socket, in bytes. The system cuts a longer one silently. */
export const socketPathMax = 100

/** The content of `server.json`, which is there while a server runs. */
export type ServerRecord = {
  readonly pid: number
  /** The start of the process in clock ticks since boot (/proc/PID/stat). With the pid it names the
   *  process. Empty if the system does not tell it. */
  readonly startTime: string
  /** The path of the socket. */
  readonly socket: string
  /** `HOST:PORT` of each TCP address. */
  readonly listen: readonly string[]
  /** The addresses besides that socket, as `connect` takes them: `http://HOST:PORT`,
   *  `https://HOST:PORT`, `unix:/path`. */
  readonly urls: readonly string[]
  readonly version: string
  readonly storeId: string
  /** The identity of the data directory. A copy of the directory has another one. */
  readonly directory: FileIdentity
  /** The start of the server, in ms since 1970. */
  readonly started: number
}

const socketFile = 'tailrace.sock'

type Variables = Readonly<Record<string, string | undefined>>

/** Returns `$TAILRACE_DATA`, else `tailrace` in the XDG state directory. */
export function defaultDirectory(variables: Variables = process.env): string {
  const { TAILRACE_DATA: data, XDG_STATE_HOME: state } = variables
  if (data) return data
  return join(state?.startsWith('/') ? state : join(homedir(), '.local', 'state'), 'tailrace')
}

/** Makes the directory (0700) and its parents if they are missing, and returns its real path.
 *  Throws EPERM if it is somebody else's, or if others may write in it. */
export async function prepareDirectory(directory: string): Promise<string> {
  await makeDirectory(directory)
  await assertOwnDirectory(directory)
  return realpath(directory)
}

/** Returns true if the directory has a store, or had one. An open would then not make a new one. */
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

/** Returns the bearer token of the directory's server, 64 hex digits. The first call makes it.
 *  Throws EPERM, EMISCONFIGURED (the file holds no token). */
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

/** Reads the bearer token. Returns undefined if there is none yet. Throws EPERM if others could
 *  have put it there, or can read it. */
export async function readToken(directory: string): Promise<string | undefined> {
  const path = join(directory, 'token')
  await assertOwnDirectory(directory)
  await assertOwnSecret(path, directory)
  const text = (await readIfThere(path))?.trim()
  return text && /^[0-9a-f]{64}$/.test(text) ? text : undefined
}

/** Reads `server.json`, which may be left from a server that crashed. Returns undefined if it is
 *  not there, or belongs to the directory of which this one is a copy. Throws EPERM if others could
 *  have put it there, EMISCONFIGURED if it is not JSON. */
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

/** Writes `server.json`. */
export async function writeServerRecord(directory: string, record: ServerRecord): Promise<void> {
  await writeWhole(join(directory, 'server.json'), `${JSON.stringify(record)}\n`)
}

/** Removes `server.json` if it still is this record, at the place where the directory was. */
export async function removeServerRecord(directory: string, record: ServerRecord): Promise<void> {
  const there = await readServerRecord(directory)
  if (there?.pid === record.pid && there.startTime === record.startTime) {
    await rm(join(directory, 'server.json'), { force: true })
  }
}

/** Returns the path of a server's socket, although the directory may have been moved since the
 *  server started. Throws EBUSY if that path is too long now. */
export function socketNow(directory: string, { socket, pid }: ServerRecord): string {
  const inside = join(directory, socketFile)
  if (basename(socket) !== socketFile) return socket // outside the directory, and so not moved
  if (Buffer.byteLength(inside) <= socketPathMax) return inside
  const message = `the server of ${directory} (pid ${pid}) was started at ${dirname(socket)}, and its socket cannot be reached at the longer path: end that process, then try again`
  throw new TailraceError('EBUSY', message)
}

/** Returns the path at which the server of a data directory listens. If the socket is in `/tmp`,
 *  makes its directory. Throws EPERM if that is somebody else's. REQUIRES: `directory` is a real
 *  path. */
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
    // The text is not JSON: thrown below.
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
