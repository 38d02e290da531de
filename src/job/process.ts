/** A job's process. It is spawned in a group of its own, and its pipes are read into the output, no
 *  faster than the store takes it. See rfc/11, rules 6 to 10.
 *  Invariant: bytes are never decoded as text. A stream ends when its last writer is gone, or
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
import { lowerSession, processStart } from '../base/processes.js'
import { spawnAlone } from '../base/spawn.js'
import { startTimer } from '../base/timer.js'
import { reasonOf } from '../error.js'
import { ProcessGroup } from './group.js'
import { Intake, type Reasons } from './intake.js'
import { launcherOf, systemProgram } from './launcher.js'
import type { OutputWriter } from './output.js'
import { closePipe, type Pipe, type PipePool } from './pipes.js'
import type { Exit, StartedProcess } from './state.js'
import { Terminal } from './terminal.js'

/** The time that a stream may stay open after the end of its process, in ms. A stream that is open
 *  longer is held by another process. */
export const heldMsDefault = 5_000

/** The levels of niceness by which a job's session yields to that of the server: it then has a tenth
 *  of its weight. */
export const yieldedLevels = 10
/** The time that a job runs before its session yields, in ms: short jobs need not yield. Linux lets an
 *  ordinary user change one session in 100 ms, so that it may have to be tried again: each wait is longer
 *  by this time than the one before. */
const yieldMs = 150
const yieldTriesMax = 20

/** A command to spawn. `env` is the whole environment of the process. */
export type Launch = Omit<Spec, 'version' | 'envNames' | 'set'> & {
  readonly env: Readonly<Record<string, string>>
}

/** The end of a process, and the reason for each stream that ended before its writers did. */
export type Ended = { readonly exit: Exit; readonly reasons: Reasons }

/** The error of a command that could not be run. `status` is that of a shell: 127 if the command
 *  was not found, 126 if it could not be run. */
export class ExecFailure extends Error {
  readonly status: number

  constructor(status: number, message: string, cause?: unknown) {
    super(message, { cause })
    this.status = status
  }
}

type ProcessPorts = {
  /** A variable of the environment, `NAME=VALUE`, that no other job has. */
  readonly mark: string
  readonly output: OutputWriter
  readonly pipes: PipePool
  readonly heldMs: number
}

export class JobProcess {
  readonly started: StartedProcess
  /** The requested settings (umask, limits, niceness) that the process does not have, as text for
   *  people. */
  readonly shortfalls: readonly string[]
  /** Resolves when the process has exited and both streams have ended. Never rejects. */
  readonly ended: Promise<Ended>
  readonly #wired: Wired
  readonly #group: ProcessGroup
  readonly #heldMs: number
  readonly #groupEnded = deferred<void>()
  #stopYieldTimer: (() => void) | undefined

  /** Starts the process of a job. Throws ExecFailure. */
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
    // Read this in the turn of the spawn: until it is over, a process that has ended is not reaped.
    const startTime = processStart(pid)
    this.started = { pid, pgid: pid, ...(startTime === undefined ? {} : { startTime }) }
    // A kill or a write that fails must not end the server; its caller notices.
    wired.child.on('error', () => {})
    wired.stdin?.on('error', () => {})
    this.#yieldLater(1)
    this.ended = this.#live()
  }

  /** Sets the size of the terminal, if there is one. */
  resize(size: TerminalSize): void {
    this.#wired.terminal?.resize(size)
  }

  /** True once the process itself has ended. Others may still hold its streams. */
  get exited(): boolean {
    const { exitCode, signalCode } = this.#wired.child
    return exitCode !== null || signalCode !== null
  }

  /** The stdin of the process. Undefined if the process reads an empty one. */
  get stdin(): Writable | undefined {
    return this.#wired.stdin
  }

  /** Sends a signal to the process group. Returns false if no process is left. */
  signal(name: string): boolean {
    return this.#group.signal(name)
  }

  /** Sends SIGKILL to all processes that the process started. */
  killAll(): void {
    this.#group.killAll()
  }

  /** Ends the processes that are left of the group: SIGTERM now, SIGKILL after `killMs`. Returns
   *  undefined if none is left. Otherwise the promise resolves when SIGKILL was sent, or when
   *  `lookAtGroup` finds none.
   *  REQUIRES: `ended` has resolved. */
  endGroup(killMs: number): Promise<void> | undefined {
    if (!this.signal('SIGTERM')) return undefined
    const timer = setTimeout(() => {
      this.signal('SIGKILL')
      this.#groupEnded.resolve()
    }, killMs)
    void this.#groupEnded.promise.then(() => clearTimeout(timer))
    return this.#groupEnded.promise
  }

  /** Looks whether the group is empty, and if so resolves the promise of `endGroup`. The system
   *  sends no event for that. */
  lookAtGroup(): void {
    if (this.#group.empty) this.#groupEnded.resolve()
  }

  /** Lets the session yield to the server once the process has run for a while: it would else have as
   *  much of a busy processor as the server and all of its session. */
  #yieldLater(tries: number): void {
    this.#stopYieldTimer = startTimer(yieldMs * tries, () => {
      const isOver = lowerSession(this.started.pid, yieldedLevels) || tries === yieldTriesMax
      if (!isOver) this.#yieldLater(tries + 1)
    })
  }

  async #live(): Promise<Ended> {
    const exited = deferred<Exit>()
    this.#wired.child.once('exit', (status, signal) => {
      this.#stopYieldTimer?.()
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
    return pipes
      ? spawnOnPipes(launch, intake, { pipes, pool: ports.pipes })
      : spawnOnSockets(launch, intake)
  } catch (error) {
    if (error instanceof ExecFailure) throw error
    throw execFailure(launch.command, error)
  }
}

/** Spawns the process on pipes. REQUIRES: `pipes` has one for stdout, one for stderr unless it is
 *  merged, and one for stdin if the job has one. */
function spawnOnPipes(
  launch: Launch,
  intake: Intake,
  { pipes, pool }: { readonly pipes: readonly Pipe[]; readonly pool: PipePool },
): Wired {
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
  // Close the job's ends in this process: a stream ends when its last writer has closed it.
  for (const end of [stdin?.read, stdout.write, stderr?.write]) {
    if (end !== undefined) closeSync(end)
  }
  intake.readPipe('stdout', stdout.read, pool)
  if (stderr) intake.readPipe('stderr', stderr.read, pool)
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
  // setsid(1) makes the session, takes its stdin as the terminal, and becomes the program.
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

/** Spawns the process in a session and group of its own, so that a signal reaches all processes of
 *  the job. `leader` is the command that makes them; without it Node does. */
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
  // spawn() gives ENOENT for a missing directory as for a missing program: tell them apart here.
  const found = await stat(cwd).catch((cause: unknown) => {
    throw new ExecFailure(127, `the directory ${cwd} cannot be used: ${codeOf(cause)}`, cause)
  })
  if (!found.isDirectory()) throw new ExecFailure(127, `${cwd} is not a directory`)
}

/** Returns true if another program (setsid, prlimit, nice) runs first and becomes the job's. */
function isLaunched(launch: Launch): boolean {
  return launch.pty !== undefined || launcherOf(launch).prefix.length > 0
}

/** Looks for the program as the system would, and throws ExecFailure. With a launcher in between,
 *  only the launcher would get the error. */
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

/** The search path of a job without PATH, as in the C library. */
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
  return reasonOf(error)
}

function exitOf(status: number | null, signal: string | null): Exit {
  return signal === null ? { status: status ?? 0 } : { signal }
}

/** Returns true if the system has a signal of this name. */
export function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(system.signals, name)
}
