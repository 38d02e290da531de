/** The handle that a test has of a process that runs acting.ts. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import type { CallCommand, Command, Line, OpenCommand } from './acting.js'
import type { Outcome } from './judge.js'

/** A command that a process carries out. */
export type Running = {
  /** The versions that its function has made so far. */
  readonly made: readonly string[]
  /** Resolves once its function runs. */
  readonly computing: Promise<void>
  /** Resolves to its outcome; never if the process is killed before. */
  readonly ended: Promise<Outcome>
  /** Lets its function go on that pauses. */
  readonly go: () => void
}

type Kept = {
  readonly made: string[]
  readonly computing: Deferred<void>
  readonly ended: Deferred<Outcome>
}

export class Actor {
  readonly #process: ChildProcess
  readonly #kept = new Map<number, Kept>()
  readonly #opened = new Map<string, Promise<void>>()
  #lastId = 0

  /** Starts the program. `name` is a part of the versions that it makes. */
  constructor(program: string, name: string) {
    const child = spawn(process.execPath, ['--no-warnings', program, name], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#process = child
    child.stdin.on('error', () => {}) // it was killed
    createInterface({ input: child.stdout }).on('line', (line) => this.#take(JSON.parse(line)))
  }

  /** Opens a client for the calls that name it, unless it is open. */
  async open(opening: Omit<OpenCommand, 'do' | 'id'>): Promise<void> {
    const opened = this.#opened.get(opening.client) ?? this.#open(opening)
    this.#opened.set(opening.client, opened)
    await opened
  }

  async #open(opening: Omit<OpenCommand, 'do' | 'id'>): Promise<void> {
    const outcome = await this.#run((id) => ({ ...opening, do: 'open', id })).ended
    if ('failed' in outcome) throw new Error(outcome.message)
  }

  call(command: Omit<CallCommand, 'id'>): Running {
    return this.#run((id) => ({ ...command, id }))
  }

  async kill(): Promise<void> {
    const { exitCode, signalCode } = this.#process
    if (exitCode !== null || signalCode !== null) return
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
  }

  stop(): void {
    this.#process.kill('SIGSTOP')
  }

  goOn(): void {
    this.#process.kill('SIGCONT')
  }

  #run(commandOf: (id: number) => Command): Running {
    const id = ++this.#lastId
    const kept = { made: [], computing: deferred<void>(), ended: deferred<Outcome>() }
    this.#kept.set(id, kept)
    this.#tell(commandOf(id))
    return {
      made: kept.made,
      computing: kept.computing.promise,
      ended: kept.ended.promise,
      go: () => this.#tell({ do: 'go', id }),
    }
  }

  #tell(command: Command): void {
    this.#process.stdin?.write(`${JSON.stringify(command)}\n`)
  }

  #take(line: Line): void {
    const kept = this.#kept.get(line.id)
    if ('made' in line) {
      kept?.made.push(line.made)
      kept?.computing.resolve()
      return
    }
    this.#kept.delete(line.id)
    kept?.ended.resolve(line.ended)
  }
}
