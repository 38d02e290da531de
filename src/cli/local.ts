/** The server of a data directory: found, or started in the background. See rfc/13.
 *  Invariant: a record whose process has gone is no server; of many that start one at once, all end
 *  up with the same. Waiting is for file-system events, at most `startMs`. */

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'
import { isDefunct, processStart } from '../base/process-start.js'
import { Wakeup } from '../base/wakeup.js'
import { isCode, parseCode, TailraceError } from '../error.js'
import {
  defaultDirectory,
  prepareDirectory,
  readServerRecord,
  type ServerRecord,
  socketNow,
} from '../server/local.js'
import { mainFile } from './entry.js'
import type { Variables } from './invocation.js'
import { absolutePath } from './utf8.js'

/** A server that does not listen after this time is given up. */
const startMs = 10_000
/** Starts of one command: a second and third only where a server was just ending. */
const startsMax = 3
/** After our start lost against another's, that one has this long before we try again. */
const otherStartMs = 1_500
/** Bytes of the log's end that an error quotes. */
const logTailMax = 2_000
/** `serve --background` ends with this where another process holds the directory. */
export const busyExitCode = 75

/** Absolute (rfc/13, rule 2). */
export function dataDirectory(option: string | undefined, variables: Variables): string {
  return absolutePath(option ?? defaultDirectory(variables))
}

/** The server that runs on the directory, if one does; its socket is where the directory is now. Throws EBUSY
 *  where the directory was moved to a path too long for that. */
export async function findServer(directory: string): Promise<ServerRecord | undefined> {
  const record = await readServerRecord(directory)
  if (!record || !isAlive(record)) return undefined
  return { ...record, socket: socketNow(directory, record) }
}

/** Finds the server or starts it. Throws EBUSY (a process that is no server holds the directory),
 *  ETIMEDOUT, or what the server said when it ended. */
export async function ensureServer(directory: string): Promise<ServerRecord> {
  const found = await findServer(directory)
  if (found) return found
  await prepareDirectory(directory)
  const changed = new Wakeup()
  const watcher = watch(directory, () => changed.wake())
  try {
    const deadline = AbortSignal.timeout(startMs)
    for (let starts = 1; ; starts++) {
      try {
        return await startServer(directory, changed, deadline)
      } catch (error) {
        if (!isCode(error, 'EBUSY') || starts === startsMax) throw error
        const other = await otherServer(directory, changed)
        if (other) return other
      }
    }
  } finally {
    watcher.close()
  }
}

async function startServer(
  directory: string,
  changed: Wakeup,
  deadline: AbortSignal,
): Promise<ServerRecord> {
  const logFile = join(directory, 'server.log')
  const log = openSync(logFile, 'a', 0o600)
  const logStart = statSync(logFile).size
  const child = spawnServer(directory, log)
  closeSync(log)
  child.on('exit', () => changed.wake())
  child.on('error', () => changed.wake())
  try {
    for (;;) {
      const seen = changed.count // before the look, or an event between the two is lost
      const found = await findServer(directory)
      if (found) return found
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
        throw startError(child, logTail(logFile, logStart))
      }
      await changed.wait(seen, deadline)
    }
  } catch (error) {
    if (!deadline.aborted) throw error
    const tail = logTail(logFile, logStart)
    const said = tail ? `; ${logFile} ends with: ${tail}` : ''
    throw new TailraceError('ETIMEDOUT', `no server listened within ${startMs} ms${said}`)
  } finally {
    child.removeAllListeners()
    child.on('error', () => {})
    child.unref()
  }
}

/** MiB of young objects. At V8's own choice, 16, twice as many bytes of buffers wait for a collection: 40 MB more
 *  of memory, and no more throughput. It can be said only as a process starts. */
const youngHeap = '--max-semi-space-size=8'

function spawnServer(directory: string, log: number): ChildProcess {
  const serve = ['serve', '--data', directory, '--background', '--idle-exit']
  return spawn(process.execPath, [youngHeap, mainFile, ...serve], {
    detached: true,
    stdio: ['ignore', log, log],
    // Not the caller's directory, which could then not be unmounted.
    cwd: directory,
  })
}

/** The server whose start was faster than ours, once it listens. */
async function otherServer(directory: string, changed: Wakeup): Promise<ServerRecord | undefined> {
  const deadline = AbortSignal.timeout(otherStartMs)
  for (;;) {
    const seen = changed.count
    const found = await findServer(directory)
    if (found) return found
    try {
      await changed.wait(seen, deadline)
    } catch {
      return undefined
    }
  }
}

/** What the server said last, as the error that it was. */
function startError(child: ChildProcess, tail: string): TailraceError {
  const said = /tailrace: ([A-Z0-9]+): (.*)$/.exec(tail.split('\n').at(-1) ?? '')
  const message = said?.[2] ?? `the server ended at its start${tail ? `: ${tail}` : ''}`
  if (child.exitCode === busyExitCode) return new TailraceError('EBUSY', message)
  return new TailraceError(parseCode(said?.[1]) ?? 'EIO', message)
}

function logTail(file: string, start: number): string {
  const bytes = readFileSync(file)
  return bytes
    .subarray(Math.max(start, bytes.length - logTailMax))
    .toString()
    .trim()
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
