/** One job from submit to finish, as this server runs it. See rfc/11.
 *  Invariant: the view is the fold of the job's events. The finish is the last event, and is
 *  durable before `run` resolves; or the store was given up, and the view says so. */

import { idVariable, type JobView, type Spec } from '../api/job.js'
import type { Kvs } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Op } from '../api/transaction.js'
import type { Environment } from '../base/environment.js'
import type { TerminalSize } from '../base/posix.js'
import { Wakeup } from '../base/wakeup.js'
import { TailraceError, toTailraceError } from '../error.js'
import { appendOps } from '../eventlog/eventlog.js'
import { eventsKey, outputKey } from './keys.js'
import { type OutputRest, OutputWriter } from './output.js'
import type { PipePool } from './pipes.js'
import { type Ended, ExecFailure, JobProcess, type Launch } from './process.js'
import { cutOutputOps, finishOps, sealOutputOps } from './records.js'
import { type Exception, eventOf, fold, type JobEvent, submitted } from './state.js'
import type { Surely } from './surely.js'

/** The time between SIGTERM and SIGKILL for a process group, in ms. */
export const killMsDefault = 2_000

export type JobPorts = {
  readonly kvs: Kvs
  readonly environment: Environment
  readonly surely: Surely
  readonly pipes: PipePool
  readonly heldMax: number
  readonly heldMs: number
  readonly killMs: number
}

export class ActiveJob {
  readonly id: string
  /** Wakes when the view changes, and when the process was started. */
  readonly changed = new Wakeup()
  readonly output: OutputWriter
  readonly #ports: JobPorts
  #launch: Launch
  #view: JobView
  #process: JobProcess | undefined
  /** Signals that were sent before the process was started. */
  readonly #signals: string[] = []
  /** Exceptions that are not stored yet. They are stored with the finish. */
  readonly #exceptions: JobEvent[] = []
  /** Resolves when the start event is stored, or storing it was given up. Never rejects. */
  #startStored: Promise<void> | undefined
  #startAppends = 0
  #storeError: TailraceError | undefined
  #killer: NodeJS.Timeout | undefined
  #limiter: NodeJS.Timeout | undefined
  #stdinTaken = false
  #groupEnded: Promise<void> | undefined
  /** waiting: `run` was not called yet. finishing: signals no longer reach the job. */
  #phase: 'waiting' | 'running' | 'finishing' = 'waiting'
  #done = false
  #stored = false

  /** REQUIRES: `submitOps` of this job are stored before `run` or `cancel`. */
  constructor(ports: JobPorts, id: string, spec: Spec, launch: Launch, at: number) {
    this.#ports = ports
    this.id = id
    this.#launch = launch
    this.#view = submitted(id, spec, at)
    const { surely, environment, heldMax } = ports
    // The submit has stored the header of the output, which is its first blob.
    this.output = new OutputWriter({ surely, environment, heldMax, key: outputKey(id), count: 1 })
  }

  get view(): JobView {
    return this.#view
  }

  /** True once the view changes no more. */
  get done(): boolean {
    return this.#done
  }

  /** True once the finish is stored. */
  get stored(): boolean {
    return this.#stored
  }

  /** Resolves when the processes that the job left in its group have been ended. Undefined if there
   *  are none. */
  get groupEnded(): Promise<void> | undefined {
    return this.#groupEnded
  }

  get process(): JobProcess | undefined {
    return this.#process
  }

  /** Runs the job to its end. Never rejects. */
  async run(): Promise<void> {
    this.#phase = 'running'
    await this.#finish(await this.#execute())
  }

  /** Ends a job that has not run: by a signal, or because the server stops. Never rejects. */
  async cancel(signal: string, exception?: Exception): Promise<void> {
    if (exception) this.#except(exception)
    await this.#finish({ exit: { signal }, reasons: {} })
  }

  /** Sends a signal to the process group. Returns false if the job has no process any more. */
  signal(name: string): boolean {
    if (this.#phase === 'finishing') return false
    if (this.#process) return this.#process.signal(name)
    this.#signals.push(name)
    return true
  }

  /** Sets the size of the job's terminal. Throws ECONFLICT if it has none. */
  resize(size: TerminalSize): void {
    if (!this.#launch.pty) {
      throw new TailraceError('ECONFLICT', `the job ${this.id} was submitted without a terminal`)
    }
    this.#launch = { ...this.#launch, pty: size } // used if the process is not started yet
    this.#process?.resize(size)
  }

  /** Claims the process's stdin. Throws ECONFLICT if there is none, or if it was claimed before. */
  takeStdin(): void {
    if (!this.#launch.stdin) {
      throw new TailraceError('ECONFLICT', `the job ${this.id} was submitted without stdin`)
    }
    if (this.#stdinTaken) {
      throw new TailraceError('ECONFLICT', `the stdin of the job ${this.id} has its writer`)
    }
    this.#stdinTaken = true
  }

  /** Ends a running job, and records the exception. Does nothing if the job does not run. */
  stop(exception: Exception): void {
    if (this.#phase !== 'running') return
    this.#except(exception)
    this.signal('SIGTERM')
    this.#killer ??= setTimeout(() => this.signal('SIGKILL'), this.#ports.killMs)
  }

  /** Sends SIGKILL to the job's processes, for a server that ends without waiting. */
  kill(): void {
    if (this.#launch.keepChildren) this.#process?.signal('SIGKILL')
    else this.#process?.killAll()
  }

  async #execute(): Promise<Ended> {
    const { heldMs, pipes, environment } = this.#ports
    try {
      const mark = `${idVariable}=${this.id}`
      const ports = { output: this.output, mark, pipes, heldMs }
      const process = await JobProcess.start(this.#launch, ports)
      this.#process = process
      const start: JobEvent = { name: 'start', at: environment.now(), ...process.started }
      this.#apply(start)
      const told = process.shortfalls.map((message): JobEvent => {
        return { name: 'exception', at: start.at, type: 'limits', message, severity: 1 }
      })
      this.#startStored = this.#storeStart([start, ...told])
      for (const name of this.#signals) process.signal(name)
      this.#limit(process)
      void this.#killIfStoreFails(process)
      const ended = await process.ended
      clearTimeout(this.#limiter)
      if (!this.#launch.keepChildren) this.#groupEnded = process.endGroup(this.#ports.killMs)
      await this.#startStored
      return ended
    } catch (error) {
      const status = error instanceof ExecFailure ? error.status : 126
      const { message } = toTailraceError(error)
      this.#except({ type: 'exec', message, severity: 0 })
      return { exit: { status }, reasons: {} }
    }
  }

  async #storeStart(events: readonly JobEvent[]): Promise<void> {
    const key = eventsKey(this.id)
    const ops = appendOps(key, events.map(eventOf), false)
    this.#startAppends = ops.length
    try {
      await this.#ports.surely.commit({ ops, key, count: 1 })
    } catch (error) {
      this.#storeError = toTailraceError(error)
      this.output.moved.wake()
    }
  }

  #limit(process: JobProcess): void {
    const { timeLimitMs: ms } = this.#launch
    if (ms === undefined) return
    const message = `the job was ended: it ran for longer than ${ms} ms, its time limit`
    this.#limiter = setTimeout(() => {
      if (!process.exited) this.stop({ type: 'timeout', message, severity: 0 })
    }, ms)
  }

  /** Kills the process if the store is given up: its output cannot be kept. Resolves when the
   *  process has ended, or was killed. */
  async #killIfStoreFails(process: JobProcess): Promise<void> {
    let over = false
    void process.ended.then(() => {
      over = true
      this.output.moved.wake()
    })
    while (!over && !this.output.failed && !this.#storeError) {
      await this.output.moved.wait(this.output.moved.count)
    }
    if (!over) process.signal('SIGKILL')
  }

  async #finish({ exit, reasons }: Ended): Promise<void> {
    this.#phase = 'finishing'
    const at = this.#ports.environment.now()
    const finish: JobEvent = { name: 'finish', at, ...exit }
    try {
      const rest = await this.#closeOutput()
      const output = rest
        ? sealOutputOps(this.id, { at, ...rest, reasons })
        : await cutOutputOps(this.#ports.kvs, this.id, at, 'store')
      await this.#storeFinish(finish, output)
      this.#stored = true
    } catch (error) {
      // The job stays in `active`, so the next open ends it as lost.
      this.#storeFailed(toTailraceError(error))
    }
    clearTimeout(this.#killer)
    this.#done = true
    this.#apply(finish)
  }

  /** Returns the rest of the output, to be stored with the finish. Returns undefined if the store
   *  was given up before. */
  async #closeOutput(): Promise<OutputRest | undefined> {
    try {
      const rest = await this.output.close()
      if (!this.#storeError) return rest
      this.#storeFailed(this.#storeError)
    } catch (error) {
      this.#storeFailed(toTailraceError(error))
    }
    return undefined
  }

  async #storeFinish(finish: JobEvent, output: readonly Op[]): Promise<void> {
    const { kvs, surely } = this.#ports
    const key = eventsKey(this.id)
    // If storing the start was given up, it may be stored or not: look.
    const stat = this.#storeError ? await kvs.stat(key, { namespace: jobsNamespace }) : undefined
    const count = stat?.count ?? 1 + this.#startAppends
    const events = [...this.#exceptions, finish]
    const view = fold(this.#view, finish)
    await surely.commit({ ops: finishOps({ id: this.id, events, view, output }), key, count })
  }

  #storeFailed(error: TailraceError): void {
    this.#except({ type: 'store', message: `${error.code}: ${error.message}`, severity: 0 })
  }

  #except(exception: Exception): void {
    const event: JobEvent = {
      name: 'exception',
      at: this.#ports.environment.now(),
      ...exception,
    }
    this.#exceptions.push(event)
    this.#apply(event)
  }

  #apply(event: JobEvent): void {
    this.#view = fold(this.#view, event)
    this.changed.wake()
  }
}
