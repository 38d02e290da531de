/** A job's process: spawned in a group of its own, its pipes read into the output no faster than
 *  the store takes it. See rfc/11.
 *  Invariant: bytes are never looked at as text; a stream ends when its last writer is gone, or
 *  `heldMs` after the process, whichever is first. */

import assert from 'node:assert'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { access, constants, stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import { constants as system } from 'node:os'
import { resolve } from 'node:path'
import type { Writable } from 'node:stream'
import type { Spec } from '../api/job.js'
import { deferred } from '../base/deferred.js'
import type { TerminalSize } from '../base/posix.js'
import { processStart } from '../base/process-start.js'
import { spawnAlone } from '../base/spawn.js'
import { ProcessGroup } from './group.js'
import { Intake, type Reasons } from './intake.js'
import { launcherOf, systemProgram } from './launcher.js'
import type { OutputWriter } from './output.js'
import { closePipe, type Pipe, type PipePool } from './pipes.js'
import type { Exit, StartedProcess } from './state.js'
import { Terminal } from './terminal.js'

/** How long a stream may stay open after its process: then a grandchild holds it. */
export const heldMsDefault = 5_000

/** `env` is all of the environment. */
export type Launch = Omit<Spec, 'version' | 'envNames' | 'set'> & {
  readonly env: Readonly<Record<string, string>>
}

/** The process's end, and of each stream why it ended before its writers did. */
export type Ended = { readonly exit: Exit; readonly reasons: Reasons }

/** It could not be run. `status` is what a shell gives: 127 not found, 126 not to be run. */
export class ExecFailure extends Error {
  readonly status: number

  constructor(status: number, message: string, cause?: unknown) {
    super(message, { cause })
    this.status = status
  }
}

export type ProcessPorts = {
  /** `NAME=VALUE` of the environment, which no other job has. */
  readonly mark: string
  readonly output: OutputWriter
  readonly pipes: PipePool
  readonly heldMs: number
}

export class JobProcess {
  readonly started: StartedProcess
  /** Requested umask, limits and niceness that the process does not have. */
  readonly shortfalls: readonly string[]
  /** Resolves when the process has exited and both streams have ended. Never rejects. */
  readonly ended: Promise<Ended>
  readonly #wired: Wired
  readonly #group: ProcessGroup
  readonly #heldMs: number
  readonly #groupEnded = deferred<void>()

  /** Throws ExecFailure. */
  static async start(launch: Launch, ports: ProcessPorts): Promise<JobProcess> {
    await checkDirectory(launch.cwd)
    if (isLaunched(launch)) await checkProgram(launch)
    const wired = await spawnWired(launch, ports)
    if (wired.child.pid !== undefined) return new JobProcess(wired, wired.child.pid, ports)
    const [error] = (await once(wired.child, 'error')) as [unknown]
    wired.stdin?.destroy()
    wired.intake.destroy()
    wired.terminal?.close()
    throw execFailure(launch.command, error)
  }

  private constructor(wired: Wired, pid: number, { mark, heldMs }: ProcessPorts) {
    this.#wired = wired
    this.#group = new ProcessGroup(pid, mark)
    this.shortfalls = wired.shortfalls
    this.#heldMs = heldMs
    // Read before the next turn: until then the system keeps even a process that has ended.
    const startTime = processStart(pid)
    this.started = { pid, pgid: pid, ...(startTime === undefined ? {} : { startTime }) }
    // A failing kill or write is its caller's to notice, and no reason to end the server.
    wired.child.on('error', () => {})
    wired.stdin?.on('error', () => {})
    this.ended = this.#live()
  }

  resize(size: TerminalSize): void {
    this.#wired.terminal?.resize(size)
  }

  /** Whether the process itself has ended; others may still hold its streams. */
  get exited(): boolean {
    const { exitCode, signalCode } = this.#wired.child
    return exitCode !== null || signalCode !== null
  }

  /** Undefined where the process reads an empty stdin. */
  get stdin(): Writable | undefined {
    return this.#wired.stdin
  }

  /** To all of the group that is left. False where nobody is. */
  signal(name: string): boolean {
    return this.#group.signal(name)
  }

  /** SIGKILL to all that it started. */
  killAll(): void {
    this.#group.killAll()
  }

  /** Ends what the process left: SIGTERM now, SIGKILL after `killMs`. Undefined where nothing is left, else
   *  resolves when nothing can be. REQUIRES: `ended` has resolved. */
  endGroup(killMs: number): Promise<void> | undefined {
    if (!this.signal('SIGTERM')) return undefined
    const timer = setTimeout(() => {
      this.signal('SIGKILL')
      this.#groupEnded.resolve()
    }, killMs)
    void this.#groupEnded.promise.then(() => clearTimeout(timer))
    return this.#groupEnded.promise
  }

  /** Nobody tells when the group of a leader that has ended is empty: whoever waits for that may ask. */
  lookAtGroup(): void {
    if (this.#group.empty) this.#groupEnded.resolve()
  }

  async #live(): Promise<Ended> {
    const exited = deferred<Exit>()
    this.#wired.child.once('exit', (status, signal) => {
      this.#group.leaderEnded()
      exited.resolve(exitOf(status, signal))
    })
    const exit = await exited.promise
    const { terminal } = this.#wired
    if (terminal) {
      await this.#wired.intake.readRest('stdout', terminal.rest())
      terminal.close()
    }
    const reasons = await this.#wired.intake.drain(this.#heldMs)
    this.#wired.stdin?.destroy()
    return { exit, reasons }
  }
}

type StdioEnd = 'pipe' | 'ignore' | number

/** A child with our ends of its pipes. */
type Wired = {
  readonly child: ChildProcess
  readonly shortfalls: readonly string[]
  readonly stdin: Writable | undefined
  readonly intake: Intake
  readonly terminal?: Terminal
}

async function spawnWired(launch: Launch, ports: ProcessPorts): Promise<Wired> {
  try {
    if (launch.pty) return spawnOnTerminal(launch, launch.pty, new Intake(ports.output))
    const pipes = await ports.pipes.take((launch.merge ? 1 : 2) + (launch.stdin ? 1 : 0))
    const intake = new Intake(ports.output)
    return pipes ? spawnOnPipes(launch, intake, pipes) : spawnOnSockets(launch, intake)
  } catch (error) {
    if (error instanceof ExecFailure) throw error
    throw execFailure(launch.command, error)
  }
}

/** REQUIRES: a pipe for each of stdout, stderr where it is not merged, stdin where the job is given one. */
function spawnOnPipes(launch: Launch, intake: Intake, pipes: readonly Pipe[]): Wired {
  const [stdout, ...others] = pipes
  const stderr = launch.merge ? undefined : others.shift()
  const [stdin] = others
  assert(stdout, 'the pool gives as many pipes as it was asked for')
  let spawned: Spawned
  try {
    const errors = stderr?.write ?? stdout.write
    spawned = spawnChild(launch, [stdin?.read ?? 'ignore', stdout.write, errors])
  } catch (error) {
    for (const pipe of pipes) closePipe(pipe)
    throw error
  }
  // The job's ends are the job's alone: a stream ends when its last writer has gone.
  for (const end of [stdin?.read, stdout.write, stderr?.write]) {
    if (end !== undefined) closeSync(end)
  }
  intake.readDescriptor('stdout', stdout.read)
  if (stderr) intake.readDescriptor('stderr', stderr.read)
  else intake.merge()
  const writer = stdin && new Socket({ fd: stdin.write, readable: false, writable: true })
  return { ...spawned, stdin: writer, intake }
}

function spawnOnSockets(launch: Launch, intake: Intake): Wired {
  if (launch.merge) throw new ExecFailure(126, 'merge: this system gives the server no pipes')
  const { child, shortfalls } = spawnChild(launch, [
    launch.stdin ? 'pipe' : 'ignore',
    'pipe',
    'pipe',
  ])
  const { stdin, stdout, stderr } = child
  assert(stdout && stderr, 'a child that was given pipes has them, also where it failed to start')
  intake.readStream('stdout', stdout)
  intake.readStream('stderr', stderr)
  return { child, shortfalls, stdin: stdin ?? undefined, intake }
}

function spawnOnTerminal(launch: Launch, size: TerminalSize, intake: Intake): Wired {
  // It makes the session, with its stdin as the terminal, and becomes the program.
  const [setsid, cat] = ['setsid', 'cat'].map(systemProgram)
  const terminal = setsid && cat ? Terminal.open(size) : undefined
  if (!setsid || !cat || !terminal) {
    throw new ExecFailure(126, 'pty: a terminal needs Linux, and its setsid (util-linux)')
  }
  let spawned: Spawned
  try {
    const { slave } = terminal
    spawned = spawnChild(launch, [slave, slave, slave], [setsid, '-c', '--'])
  } catch (error) {
    terminal.close()
    throw error
  }
  intake.readStream('stdout', terminal.output)
  intake.merge()
  if (!launch.stdin) terminal.endInput()
  const stdin = launch.stdin ? terminal.openInput(cat) : undefined
  return { ...spawned, stdin, intake, terminal }
}

type Spawned = Pick<Wired, 'child' | 'shortfalls'>

/** A session and group of its own: a signal reaches all that the job started. `leader` is what makes them, else Node. */
function spawnChild(
  launch: Launch,
  stdio: readonly StdioEnd[],
  leader: readonly string[] = [],
): Spawned {
  const { prefix, shortfalls, around } = launcherOf(launch)
  const [program = '', ...args] = [...leader, ...prefix, ...launch.command]
  const { cwd, env } = launch
  const options = { cwd, env, detached: leader.length === 0, stdio: [...stdio] }
  return { child: around(() => spawnAlone(program, args, options)), shortfalls }
}

async function checkDirectory(cwd: string): Promise<void> {
  // The system answers a missing directory as it answers a missing program.
  const found = await stat(cwd).catch((cause: unknown) => {
    throw new ExecFailure(127, `the directory ${cwd} cannot be used: ${codeOf(cause)}`, cause)
  })
  if (!found.isDirectory()) throw new ExecFailure(127, `${cwd} is not a directory`)
}

/** Whether another program runs first and becomes the job's. */
function isLaunched(launch: Launch): boolean {
  return launch.pty !== undefined || launcherOf(launch).prefix.length > 0
}

/** Checks the program as the system would: with a launcher in between, only the launcher gets the error. */
async function checkProgram({ command, cwd, env }: Launch): Promise<void> {
  const [program = ''] = command
  const { PATH = pathDefault }: { readonly PATH?: string } = env
  const directories = program.includes('/') ? [''] : PATH.split(':')
  let failure: unknown
  for (const directory of directories) {
    const path = resolve(cwd, directory, program)
    try {
      await access(path, constants.X_OK)
      if ((await stat(path)).isFile()) return
      failure = Object.assign(new Error(`${path} is not a file`), { code: 'EACCES' })
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EACCES' || failure === undefined) failure = error
    }
  }
  throw execFailure(command, failure)
}

/** Search path for programs without PATH, as in the C library. */
const pathDefault = '/bin:/usr/bin'

function execFailure([program = '']: Launch['command'], error: unknown): ExecFailure {
  const code = codeOf(error)
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new ExecFailure(127, `${program}: command not found`, error)
    case 'EACCES':
      return new ExecFailure(126, `${program}: may not be run (permission denied)`, error)
    case 'E2BIG': {
      const why = 'command and environment are larger than the system takes'
      return new ExecFailure(126, `${program}: could not be run: ${code}: ${why}`, error)
    }
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
  return Object.hasOwn(system.signals, name)
}
