/** Real pipes for the stdin, stdout and stderr of jobs. Node gives a child sockets instead of
 *  pipes, and a script that opens `/dev/stderr` then fails with ENXIO. See rfc/11, rule 6. Node has
 *  no call that makes a pipe, but a shell makes one for each here-document. One idle shell makes
 *  them on demand, and this file opens them by way of /proc.
 *  Invariant: only the caller of `take` has a pipe open. If the system has no such shell or no
 *  /proc, there are no pipes, and jobs get sockets. */

import assert from 'node:assert'
import type { ChildProcess } from 'node:child_process'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { deferred } from '../base/deferred.js'
import { enlargePipe } from '../base/posix.js'
import { spawnAlone } from '../base/spawn.js'

/** The descriptors that a script of a POSIX shell can name, but 0 to 2. */
const descriptors = [3, 4, 5, 6, 7, 8, 9]
/** The content of each here-document. An empty one need not be a pipe. It is read before the pipe
 *  is used. */
const filling = 'x\n'

/** A script that makes pipes when it reads a line, and closes them when it reads the next. It ends
 *  with its stdin. */
const script = [
  'while read -r line; do',
  `exec ${descriptors.map((fd) => `${fd}<<E`).join(' ')}`,
  ...descriptors.map(() => `${filling}E`),
  'echo made; read -r line',
  `exec ${descriptors.map((fd) => `${fd}<&-`).join(' ')}`,
  'echo forgotten',
  'done',
].join('\n')

/** The largest size of a pipe, and of a read from it, in bytes: Linux gives so much to everybody. */
export const floodSize = 1024 * 1024
/** The number of pipes that are larger than others at once. Linux gives all pipes of a user together
 *  64 MiB; beyond that, new ones of all the user's programs hold one or two pages. */
export const floodsMax = 16

type Shell = {
  readonly child: ChildProcess
  readonly stdin: Writable
  readonly stdout: Readable
}

/** The two descriptors of a pipe. The caller of `take` closes both. */
export type Pipe = { readonly read: number; readonly write: number }

export class PipePool {
  readonly #program: string
  readonly #spare: Pipe[] = []
  #readBuffer: Buffer | undefined
  /** The number of pipes that `enlarge` made larger, and that are not closed yet. */
  #floods = 0
  #shell: Shell | undefined
  #making: Promise<void> | undefined
  #missing = false
  #closed = false

  /** Takes the path of a POSIX shell. */
  constructor(program = '/bin/sh') {
    this.#program = program
  }

  /** Returns the buffer of `floodSize` bytes for large reads. All readers share it: each copies what a
   *  read brought before it returns to the event loop. */
  get readBuffer(): Buffer {
    this.#readBuffer ??= Buffer.allocUnsafeSlow(floodSize)
    return this.#readBuffer
  }

  /** Makes a pipe hold `size` bytes. False where the system does not let it, or if `floodsMax` pipes are
   *  larger already. Call `enlargedClosed` when a pipe that became larger is closed. */
  enlarge(fd: number, size: number): boolean {
    if (this.#floods >= floodsMax || !enlargePipe(fd, size)) return false
    this.#floods++
    return true
  }

  /** Counts a pipe less that `enlarge` made larger. */
  enlargedClosed(): void {
    this.#floods--
  }

  /** Returns `count` pipes, at most 7. Returns undefined if pipes cannot be made here. Throws
   *  EMFILE or ENFILE (of the system) if there are no descriptors left. */
  async take(count: number): Promise<Pipe[] | undefined> {
    while (this.#spare.length < count && !this.#missing && !this.#closed) {
      this.#making ??= this.#make().finally(() => {
        this.#making = undefined
      })
      await this.#making
    }
    return this.#spare.length < count ? undefined : this.#spare.splice(0, count)
  }

  /** Closes the spare pipes, and waits for the end of the shell. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#making?.catch(() => {})
    for (const pipe of this.#spare.splice(0)) closePipe(pipe)
    const shell = this.#shell
    if (!shell || !lives(shell.child)) return
    const ended = deferred<void>()
    shell.child.once('close', ended.resolve)
    shell.stdin.end()
    await ended.promise
  }

  async #make(): Promise<void> {
    this.#shell ??= startShell(this.#program)
    const shell = this.#shell
    const made = await ask(shell)
    const pipes = made ? openAll(`/proc/${shell.child.pid}/fd`) : undefined
    // The shell must close the pipes: a pipe ends when its last writer has closed it.
    const forgotten = made && (await ask(shell))
    if (pipes && forgotten) this.#spare.push(...pipes)
    else {
      for (const pipe of pipes ?? []) closePipe(pipe)
      this.#missing = true
    }
  }
}

/** Closes both ends of a pipe. */
export function closePipe(pipe: Pipe): void {
  closeSync(pipe.read)
  closeSync(pipe.write)
}

function startShell(program: string): Shell {
  // The shell gets a session of its own, so that Ctrl-C in the server's terminal does not end it.
  const child = spawnAlone(program, ['-c', script], {
    detached: true,
    env: {},
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const { stdin, stdout } = child
  assert(stdin && stdout, 'a child that was given pipes has them, also where it failed to start')
  child.on('error', () => {})
  stdin.on('error', () => {})
  return { child, stdin, stdout }
}

function lives(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

/** Sends a line to the shell, and waits for its answer. Returns false if the shell has ended. */
async function ask(shell: Shell): Promise<boolean> {
  if (!lives(shell.child)) return false
  const answered = deferred<boolean>()
  const yes = () => answered.resolve(true)
  const no = () => answered.resolve(false)
  shell.stdout.once('data', yes)
  shell.child.once('close', no)
  shell.stdin.write('\n')
  const answer = await answered.promise
  shell.stdout.off('data', yes)
  shell.child.off('close', no)
  return answer
}

/** Opens the pipes of the shell. Returns undefined if they are not pipes, or cannot be opened.
 *  Throws EMFILE, ENFILE. */
function openAll(directory: string): Pipe[] | undefined {
  const pipes: Pipe[] = []
  try {
    for (const fd of descriptors) pipes.push(openPipe(`${directory}/${fd}`))
    return pipes
  } catch (error) {
    for (const pipe of pipes) closePipe(pipe)
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EMFILE' || code === 'ENFILE') throw error
    return undefined
  }
}

/** Opens both ends of a pipe. Each is an open file of its own, so that our end can be non-blocking
 *  while the job's end is blocking. */
function openPipe(path: string): Pipe {
  const read = openSync(path, constants.O_RDONLY)
  try {
    if (!fstatSync(read).isFIFO()) throw new Error('not a pipe')
    if (readSync(read, Buffer.alloc(filling.length)) !== filling.length) throw new Error('not full')
    return { read, write: openSync(path, constants.O_WRONLY) }
  } catch (error) {
    closeSync(read)
    throw error
  }
}
