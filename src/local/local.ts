/** The server of a data directory: found, or started in the background, for the command and for programs alike. See
 *  rfc/13, rules 8, 9 and 29.
 *  Invariant: a record whose process has gone is no server; of many that start one at once, all end
 *  up with the same. A start is waited for at most `startMs`. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { idVariable, storeVariable } from '../api/job.js'
import type { Store } from '../api/store.js'
import { joinAbort } from '../base/join-abort.js'
import { assertOwnSecret } from '../base/own.js'
import { isDefunct, processStart } from '../base/process-start.js'
import { spawnAlone } from '../base/spawn.js'
import { isCode, parseCode, TailraceError } from '../error.js'
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

/** A server that does not listen after this time is given up. */
const startMs = 10_000
/** Starts of one command: a second and third only where a server was just ending. */
const startsMax = 3
/** After our start lost against another's, that one has this long before we try again. */
const otherStartMs = 1_500
const otherLookMs = 25
/** Connects to one server that was found, at most: it may be ending just then. */
const connectsMax = 3
/** A server that stops ends its connections in less. */
const endMs = 5_000
/** The server that we start closes this descriptor when it listens; one that fails says why on it. */
const readyDescriptor = 3
/** Bytes of the log's end that an error quotes. */
const logTailMax = 2_000
/** `serve --background` ends with this where another process holds the directory. */
export const busyExitCode = 75

/** The server that runs on the directory, if one does; its socket is where the directory is now. Throws EBUSY
 *  where the directory was moved to a path too long for that, EPERM where directory, record or socket are not the
 *  user's own. */
export async function findServer(directory: string): Promise<ServerRecord | undefined> {
  const record = await readServerRecord(directory)
  if (!record || !isAlive(record)) return undefined
  const socket = socketNow(directory, record)
  await assertOwnSecret(socket, dirname(socket))
  return { ...record, socket }
}

/** Finds the server or starts it; with `existing` not where there is no store. Throws ENOENT (no store), EBUSY (a
 *  process that is no server holds the directory), ETIMEDOUT, or what the server said when it ended. */
export async function ensureServer(
  directory: string,
  options: { readonly existing?: boolean } = {},
): Promise<ServerRecord> {
  const found = await findServer(directory)
  if (found) return found
  if (options.existing && !(await hasStore(directory))) throw noStore(directory)
  await prepareDirectory(directory)
  const deadline = AbortSignal.timeout(startMs)
  for (let starts = 1; ; starts++) {
    try {
      return await startServer(directory, deadline)
    } catch (error) {
      if (!isCode(error, 'EBUSY') || starts === startsMax) throw error
      const other = await otherServer(directory)
      if (other) return other
    }
  }
}

/** Connects to the server of a data directory with `connect`, and starts one where none runs. One that was found and is
 *  just ending is waited for, and another is started. Throws what `ensureServer` and `connect` throw; EMISCONFIGURED
 *  where the server is of another version, or of another store. */
export async function reachServer<S extends Pick<Store, 'storeId'> & AsyncDisposable>(
  directory: string,
  options: { readonly existing?: boolean },
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

export function urlOf({ socket }: ServerRecord): string {
  return `unix:${socket}`
}

/** The token of a data directory, for the address of a server of this machine; undefined for any other address. Throws
 *  EPERM. */
export async function tokenFor(url: string, directory: string): Promise<string | undefined> {
  return isLoopback(url) ? readToken(directory) : undefined
}

/** Throws EMISCONFIGURED: one that was started before an upgrade still runs. */
function checkVersion(record: ServerRecord, directory: string): void {
  const version = programVersion()
  if (record.version === version) return
  throw new TailraceError(
    'EMISCONFIGURED',
    `the server on ${directory} is version ${record.version}, this program ${version}: run "tailrace stop", the next command starts one of its own`,
  )
}

/** Throws EMISCONFIGURED: another server listens on that socket. */
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

/** Nothing is made where somebody only looks: the directory may be the wrong one. */
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
  const ended = once(child, 'exit') // rejects where the process could not be made
  ended.catch(() => {})
  const ready = child.stdio[readyDescriptor] as Readable
  const said = textOf(ready)
  try {
    // It closes its end when it listens; where it ends before, the system does.
    await Promise.race([once(ready, 'close', { signal: deadline }), ended])
    const found = await findServer(directory)
    if (found) return found
    await joinAbort(ended, deadline)
    if (!ready.closed) await once(ready, 'close', { signal: deadline })
    // What it says itself comes through the pipe: the log may be full, and may have another start's words.
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

/** Node's option for the memory of young objects, MiB, with which every server starts: also in the first line of
 *  `cli/main.ts`. At V8's own choice, 16, twice as many bytes of buffers wait for a collection: 40 MB more of
 *  memory, and no more throughput. It can be said only as a process starts. */
export const youngHeap = '--max-semi-space-size=8'

/** Collects what comes, up to `logTailMax` bytes, and gives it as text. */
function textOf(readable: Readable): () => string {
  let text = ''
  readable.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-logTailMax)
  })
  return () => text
}

function spawnServer(directory: string, log: number | 'ignore'): ChildProcess {
  const serve = ['serve', '--data', directory, '--background', '--idle-exit']
  const args = [youngHeap, mainFile, ...serve, '--ready-fd', String(readyDescriptor)]
  // The server lives longer than whoever waits for a pipe, or for a lock, that we have from our caller.
  return spawnAlone(process.execPath, args, {
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
    // A server started within a job is not part of the job, and does not carry its id.
    env: { ...process.env, [idVariable]: undefined, [storeVariable]: undefined },
    // Not the caller's directory, which could then not be unmounted.
    cwd: directory,
  })
}

/** The server whose start was faster than ours, once it listens. It is looked for: a watch of the directory
 *  takes one of the few inotify instances that a user has. */
async function otherServer(directory: string): Promise<ServerRecord | undefined> {
  const deadline = AbortSignal.timeout(otherStartMs)
  for (;;) {
    const found = await findServer(directory)
    if (found || deadline.aborted) return found
    await delay(otherLookMs, undefined, { signal: deadline }).catch(() => {})
  }
}

/** Waits until a server that is ending has ended; after `endMs` it is taken as it is. */
async function untilEnded(directory: string, { started }: ServerRecord): Promise<void> {
  const deadline = AbortSignal.timeout(endMs)
  while (!deadline.aborted && (await findServer(directory))?.started === started) {
    await delay(otherLookMs, undefined, { signal: deadline }).catch(() => {})
  }
}

/** Signals by which a library's code ends the process that reads a damaged file. */
const damageSignals: ReadonlySet<string> = new Set([
  'SIGBUS',
  'SIGSEGV',
  'SIGABRT',
  'SIGILL',
  'SIGFPE',
])

/** Error from the last message of the server. It names `fsck` where the store is damaged. */
function startError(child: ChildProcess, directory: string, tail: string): TailraceError {
  const [, said, message = ''] = [...tail.matchAll(/^tailrace: ([A-Z0-9]+): (.*)$/gm)].at(-1) ?? []
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

/** Empty where the log cannot be read. */
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

/** The very process that wrote the record lives, not a later one of the same pid. */
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
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
