/** Finds the server of a data directory, or starts one in the background, for the command and for
 *  programs. See rfc/13, rules 3, 8, 15 and 29.
 *  Invariant: a record whose process has ended is no server. If several processes start a server at
 *  once, all get the same one. A start takes at most `startMs`, and as long as a migration of the store
 *  moves on. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { idVariable, storeVariable } from '../api/job.js'
import type { Store } from '../api/store.js'
import { joinAbort } from '../base/abort.js'
import { assertOwnSecret } from '../base/own.js'
import { isDefunct, processStart } from '../base/processes.js'
import { spawnAlone } from '../base/spawn.js'
import { hasSystemCode, isCode, parseCode, reasonOf, TailraceError } from '../error.js'
import {
  hasStore,
  prepareDirectory,
  readServerRecord,
  readToken,
  type ServerRecord,
  socketNow,
} from './directory.js'
import { mainFile, programVersion } from './installation.js'
import { openLog } from './log-file.js'
import { type PatienceOptions, StartPatience } from './patience.js'

/** The time after which a server that does not listen is given up, in ms. */
const startMs = 10_000
/** The number of starts. A further start is tried only if another process held the directory. */
const startsMax = 3
/** The time that another process's server gets to listen after our start lost against it, in ms. */
const otherStartMs = 1_500
/** The time between two looks for another server, in ms. */
const otherLookMs = 25
/** The number of tries to connect. A try fails if the server that was found is ending. */
const connectsMax = 3
/** The time that an ending server gets to end, in ms. */
const endMs = 5_000
/** The descriptor that a started server closes when it listens. If the start fails, it writes the
 *  reason there. */
const readyDescriptor = 3
/** The number of characters of a message or of the log's end that an error quotes. */
const logTailMax = 2_000
/** The exit code of `serve --background` if another process holds the directory. */
export const busyExitCode = 75

/** Returns the server that runs on the directory, or undefined. The path of its socket is that of
 *  the directory now. Throws EBUSY if the directory was moved to a path that is too long for a
 *  socket, EPERM if the directory, the record or the socket is not the user's own. */
export async function findServer(directory: string): Promise<ServerRecord | undefined> {
  const record = await readServerRecord(directory)
  if (!record || !isAlive(record)) return undefined
  const socket = socketNow(directory, record)
  await assertOwnSecret(socket, dirname(socket))
  return { ...record, socket }
}

/** Options of `ensureServer`. */
export type EnsureOptions = {
  /** True if no server is started for a directory without a store. */
  readonly existing?: boolean
  /** Called now and then while the store is brought up to this version's format. */
  readonly onMigration?: PatienceOptions['onMigration']
}

/** Finds the server, or starts one. With `existing` it does not start one for a directory without a
 *  store. Throws ENOENT (no store), EBUSY (a process that is no server holds the directory),
 *  ETIMEDOUT, the error with which the server ended, and what `findServer` and `prepareDirectory`
 *  throw. */
export async function ensureServer(
  directory: string,
  options: EnsureOptions = {},
): Promise<ServerRecord> {
  const found = await findServer(directory)
  if (found) return found
  if (options.existing && !(await hasStore(directory))) throw noStore(directory)
  await prepareDirectory(directory)
  const { onMigration } = options
  using patience = new StartPatience(directory, { ms: startMs, migratingMs: startMs, onMigration })
  for (let starts = 1; ; starts++) {
    try {
      return await startServer(directory, patience.signal)
    } catch (error) {
      if (!isCode(error, 'EBUSY') || starts === startsMax) throw error
      const other = await otherServer(directory)
      if (other) return other
    }
  }
}

/** Connects to the server of a data directory with `connect`, and starts one if none runs. If the
 *  server is ending, waits for its end and starts another. Throws what `ensureServer` and `connect`
 *  throw, and EMISCONFIGURED if the server has another version or another store. */
export async function reachServer<S extends Pick<Store, 'storeId'> & AsyncDisposable>(
  directory: string,
  options: EnsureOptions,
  connect: (url: string) => Promise<S>,
): Promise<S> {
  for (let connects = 1; ; connects++) {
    const record = await ensureServer(directory, options)
    checkVersion(record, directory)
    try {
      const store = await connect(urlOf(record))
      await checkStore(store, record)
      return store
    } catch (error) {
      if (!isCode(error, 'ECLOSED') || connects === connectsMax) throw error
      await untilEnded(directory, record)
    }
  }
}

/** Returns the address of a server, `unix:/path`. */
export function urlOf({ socket }: ServerRecord): string {
  return `unix:${socket}`
}

/** Returns the token of a data directory if `url` is an address of this machine. Returns undefined
 *  for any other address. Throws EPERM. */
export async function tokenFor(url: string, directory: string): Promise<string | undefined> {
  return isLoopback(url) ? readToken(directory) : undefined
}

/** Returns the certificates in the file that TAILRACE_CA names if `url` is of TLS. Returns undefined for
 *  any other address. Throws EMISCONFIGURED (the file cannot be read). */
export async function caFor(url: string, file: string | undefined): Promise<Buffer | undefined> {
  if (!file || !/^https:/i.test(url)) return undefined
  try {
    return await readFile(file)
  } catch (cause) {
    const message = `the file of TAILRACE_CA cannot be read: ${reasonOf(cause)}`
    throw new TailraceError('EMISCONFIGURED', message, { cause })
  }
}

/** Throws EMISCONFIGURED if the server has another version: it was started before an upgrade. */
function checkVersion(record: ServerRecord, directory: string): void {
  const version = programVersion()
  if (record.version === version) return
  throw new TailraceError(
    'EMISCONFIGURED',
    `the server on ${directory} is version ${record.version}, this program ${version}: run "tailrace stop", the next command starts one of its own`,
  )
}

/** Throws EMISCONFIGURED if the server has another store than its record says. */
async function checkStore(
  store: Pick<Store, 'storeId'> & AsyncDisposable,
  record: ServerRecord,
): Promise<void> {
  if (store.storeId === record.storeId) return
  await store[Symbol.asyncDispose]()
  throw new TailraceError(
    'EMISCONFIGURED',
    `${record.socket} is the socket of another store (${store.storeId}): run "tailrace stop"`,
  )
}

function isLoopback(url: string): boolean {
  try {
    const { hostname } = new URL(url)
    return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
  } catch {
    return false
  }
}

/** Makes the ENOENT of a directory without a store. Commands that only read make no store there,
 *  since the directory may be the wrong one. */
export function noStore(directory: string): TailraceError {
  const message = `there is no store in ${directory}: "tailrace put" or "tailrace serve" makes one, --data or TAILRACE_DATA names another directory`
  return new TailraceError('ENOENT', message)
}

async function startServer(directory: string, deadline: AbortSignal): Promise<ServerRecord> {
  const logFile = join(directory, 'server.log')
  const log = openLog(logFile)
  const logStart = log === undefined ? 0 : fstatSync(log).size
  const child = spawnServer(directory, log ?? 'ignore')
  if (log !== undefined) closeSync(log)
  const ended = once(child, 'exit') // rejects if the process could not be started
  ended.catch(() => {})
  const ready = child.stdio[readyDescriptor] as Readable
  const said = textOf(ready)
  try {
    // The server closes its end when it listens. If it ends before, the system closes it.
    await Promise.race([once(ready, 'close', { signal: deadline }), ended])
    const found = await findServer(directory)
    if (found) return found
    await joinAbort(ended, deadline)
    if (!ready.closed) await once(ready, 'close', { signal: deadline })
    // The server's own message comes through the pipe. The log may be full, or have that of another
    // start.
    throw startError(child, directory, said() || logTail(logFile, logStart))
  } catch (error) {
    if (!deadline.aborted) throw error
    const tail = logTail(logFile, logStart)
    const ends = tail ? `; ${logFile} ends with: ${tail}` : ''
    throw new TailraceError('ETIMEDOUT', `no server listened within ${startMs} ms${ends}`)
  } finally {
    ready.destroy()
    child.on('error', () => {})
    child.unref()
  }
}

/** The option of Node that bounds a semi-space of V8's young generation, in MiB. Every server
 *  starts with it; it stands in the first line of `cli/main.ts`, too. With V8's own 16 the server
 *  needs 40 MB more, for buffers that wait for a collection, and has the same throughput. It must
 *  be set when the process starts. */
export const youngHeap = '--max-semi-space-size=8'

/** Collects the text of a stream, and returns a function that gives its last `logTailMax`
 *  characters. */
function textOf(readable: Readable): () => string {
  let text = ''
  readable.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-logTailMax)
  })
  return () => text
}

function spawnServer(directory: string, log: number | 'ignore'): ChildProcess {
  const serve = ['serve', '--data', directory, '--background', '--ready-fd']
  const args = [youngHeap, mainFile, ...serve, String(readyDescriptor)]
  // The server must not inherit our descriptors: it outlives us, and would hold the pipes and locks
  // of our caller open.
  return spawnAlone(process.execPath, args, {
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
    // A server that is started within a job does not belong to the job.
    env: { ...process.env, [idVariable]: undefined, [storeVariable]: undefined },
    // In the caller's directory the server would keep it from being unmounted.
    cwd: directory,
  })
}

/** Waits for the server whose start was faster than ours, also while it brings the store up to this
 *  version's format. Returns undefined if none listens in time. It polls, since a watch of the
 *  directory takes one of the few inotify instances that a user has. */
async function otherServer(directory: string): Promise<ServerRecord | undefined> {
  using patience = new StartPatience(directory, { ms: otherStartMs, migratingMs: startMs })
  const { signal } = patience
  for (;;) {
    const found = await findServer(directory)
    if (found || signal.aborted) return found
    await delay(otherLookMs, undefined, { signal }).catch(() => {})
  }
}

/** Waits until a server has ended, at most `endMs`. */
async function untilEnded(directory: string, { started }: ServerRecord): Promise<void> {
  const deadline = AbortSignal.timeout(endMs)
  while (!deadline.aborted && (await findServer(directory))?.started === started) {
    await delay(otherLookMs, undefined, { signal: deadline }).catch(() => {})
  }
}

/** The signals that end a process when a library reads a damaged file. */
const damageSignals: ReadonlySet<string> = new Set([
  'SIGBUS',
  'SIGSEGV',
  'SIGABRT',
  'SIGILL',
  'SIGFPE',
])

/** Makes the error of a failed start from the last message of the server. If the store is damaged,
 *  it names `fsck`. */
function startError(child: ChildProcess, directory: string, tail: string): TailraceError {
  const lines = [...tail.matchAll(/^tailrace: ([A-Z0-9]+): (.*)$/gm)]
  const [, said] = lines.at(-1) ?? []
  // A configuration may have several mistakes, each in a line.
  const last = said === 'EMISCONFIGURED' ? lines : lines.slice(-1)
  const message = last.flatMap(([, code, text]) => (code === said ? (text ?? '') : [])).join('; ')
  if (child.exitCode === busyExitCode) return new TailraceError('EBUSY', message)
  const code = parseCode(said)
  const fsck = `"tailrace fsck --data ${directory}" tells what can be read`
  if (code) return new TailraceError(code, code === 'ECORRUPT' ? `${message}; ${fsck}` : message)
  const { signalCode, exitCode } = child
  if (signalCode && damageSignals.has(signalCode)) {
    const text = `the server ended at its start (${signalCode}), as it does where the file of the store is damaged: ${fsck}; then restore a copy`
    return new TailraceError('ECORRUPT', text)
  }
  const how = signalCode ?? `code ${exitCode}`
  return new TailraceError(
    'EIO',
    `the server ended at its start (${how})${tail ? `: ${tail}` : ''}`,
  )
}

/** Reads the end of the log from the byte `start` on. Returns empty text if the log cannot be
 *  read. */
function logTail(file: string, start: number): string {
  try {
    const bytes = readFileSync(file)
    return bytes
      .subarray(Math.max(start, bytes.length - logTailMax))
      .toString()
      .trim()
  } catch {
    return ''
  }
}

/** Returns true if the process that wrote the record runs. A later process with the same pid does
 *  not count. */
export function isAlive(record: ServerRecord): boolean {
  const start = processStart(record.pid)
  if (start === undefined) return canBeSignalled(record.pid) // no such process, or no /proc
  if (isDefunct(record.pid)) return false
  return record.startTime === '' || start.split('.').includes(record.startTime)
}

function canBeSignalled(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return hasSystemCode(error, 'EPERM')
  }
}
