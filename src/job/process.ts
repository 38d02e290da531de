/** A job's process: spawned in a group of its own, its pipes read into the output no faster than
 *  the store takes it. See rfc/11.
 *  Invariant: bytes are never looked at as text; a stream ends when its last writer is gone, or
 *  `heldMs` after the process, whichever is first. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { deferred } from '../base/deferred.js'
import { processStart } from '../base/process-start.js'
import { type Stream, streams } from '../eventlog/stdio.js'
import type { OutputWriter } from './output.js'
import type { Exit, StartedProcess } from './state.js'

/** How long a stream may stay open after its process: then a grandchild holds it. */
export const heldMsDefault = 5_000

export type Launch = {
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly stdin: boolean
}

/** The process's end, and of each stream why it ended before its writers did. */
export type Ended = { readonly exit: Exit; readonly reasons: { [stream in Stream]?: string } }

/** It could not be run. `status` is what a shell gives: 127 not found, 126 not to be run. */
export class ExecFailure extends Error {
  readonly status: number

  constructor(status: number, message: string, cause?: unknown) {
    super(message, { cause })
    this.status = status
  }
}

export class JobProcess {
  readonly started: StartedProcess
  /** Resolves when the process has exited and both streams have ended. Never rejects. */
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess
  readonly #pid: number
  readonly #output: OutputWriter
  readonly #heldMs: number
  #paused = false
  #over = false

  /** Throws ExecFailure. */
  static async start(launch: Launch, output: OutputWriter, heldMs: number): Promise<JobProcess> {
    await checkDirectory(launch.cwd)
    const child = spawnChild(launch)
    if (child.pid !== undefined) return new JobProcess(child, child.pid, output, heldMs)
    const [error] = (await once(child, 'error')) as [unknown]
    throw execFailure(launch, error)
  }

  private constructor(child: ChildProcess, pid: number, output: OutputWriter, heldMs: number) {
    this.#child = child
    this.#pid = pid
    this.#output = output
    this.#heldMs = heldMs
    // Read before the next turn: until then the system keeps even a process that has ended.
    const startTime = processStart(pid)
    this.started = { pid, pgid: pid, ...(startTime === undefined ? {} : { startTime }) }
    // A failing kill or write is its caller's to notice, and no reason to end the server.
    child.on('error', () => {})
    child.stdin?.on('error', () => {})
    this.ended = this.#live()
  }

  /** Undefined where the process reads an empty stdin. */
  get stdin(): Writable | undefined {
    return this.#child.stdin ?? undefined
  }

  /** To all of the group that is left. False where nobody is. */
  signal(name: string): boolean {
    if (this.#over) return false
    try {
      return process.kill(-this.#pid, name)
    } catch {
      return false
    }
  }

  async #live(): Promise<Ended> {
    const exited = deferred<Exit>()
    this.#child.once('exit', (status, signal) => exited.resolve(exitOf(status, signal)))
    const open = new Map<Stream, Readable>()
    const closing: Promise<unknown>[] = []
    for (const stream of streams) {
      const pipe = this.#child[stream]
      if (!pipe) continue
      open.set(stream, pipe)
      closing.push(this.#readPipe(stream, pipe).finally(() => open.delete(stream)))
    }
    const exit = await exited.promise
    const reasons = await this.#drain(open, Promise.all(closing))
    this.#over = true
    this.#child.stdin?.destroy()
    return { exit, reasons }
  }

  /** Resolves when the stream has ended. */
  async #readPipe(stream: Stream, pipe: Readable): Promise<void> {
    const closed = deferred<void>()
    pipe.on('data', (chunk: Uint8Array) => {
      this.#output.write(stream, chunk)
      if (this.#output.full) void this.#pauseUntilRoom()
    })
    pipe.on('error', () => {})
    pipe.once('close', closed.resolve)
    await closed.promise
  }

  /** Waits for the ends of the streams, `heldMs` at most in which they could be read. */
  async #drain(
    open: ReadonlyMap<Stream, Readable>,
    closed: Promise<unknown>,
  ): Promise<Ended['reasons']> {
    const reasons: Ended['reasons'] = {}
    const give = () => {
      // Nobody read while the store was behind: what stands in the pipe may be the process's own.
      if (this.#paused) {
        timer.refresh()
        return
      }
      for (const [stream, pipe] of open) {
        reasons[stream] = 'held'
        pipe.destroy()
      }
    }
    const timer = setTimeout(give, this.#heldMs)
    await closed
    clearTimeout(timer)
    return reasons
  }

  async #pauseUntilRoom(): Promise<void> {
    if (this.#paused) return
    this.#paused = true
    for (const stream of streams) this.#child[stream]?.pause()
    while (this.#output.full) await this.#output.moved.wait(this.#output.moved.count)
    this.#paused = false
    for (const stream of streams) this.#child[stream]?.resume()
  }
}

function spawnChild(launch: Launch): ChildProcess {
  const [program = '', ...args] = launch.command
  try {
    return spawn(program, args, {
      cwd: launch.cwd,
      env: launch.env,
      // A group (and session) of its own: a signal reaches all that the job started.
      detached: true,
      stdio: [launch.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    })
  } catch (error) {
    throw execFailure(launch, error)
  }
}

async function checkDirectory(cwd: string): Promise<void> {
  // The system answers a missing directory as it answers a missing program.
  const found = await stat(cwd).catch((cause: unknown) => {
    throw new ExecFailure(127, `the directory ${cwd} cannot be used: ${codeOf(cause)}`, cause)
  })
  if (!found.isDirectory()) throw new ExecFailure(127, `${cwd} is not a directory`)
}

function execFailure(launch: Launch, error: unknown): ExecFailure {
  const [program = ''] = launch.command
  const code = codeOf(error)
  switch (code) {
    case 'ENOENT':
      return new ExecFailure(127, `${program}: command not found`, error)
    case 'EACCES':
      return new ExecFailure(126, `${program}: may not be run (permission denied)`, error)
    default:
      return new ExecFailure(126, `${program}: could not be run: ${code}`, error)
  }
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? error.message : String(error)
}

function exitOf(status: number | null, signal: string | null): Exit {
  return signal === null ? { status: status ?? 0 } : { signal }
}

/** Whether the system knows such a signal. */
export function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name)
}
