/** A process of its own for a writer or a watcher: it is forked from this file (bundled), connects to
 *  a system, and does the tasks that it is told. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type Deferred, deferred } from '../src/base/deferred.js'
import { bundleProgram } from './bundle.js'
import { peersDirectory } from './systems/fetched.js'
import type { Started, System, SystemId } from './systems/system.js'
import { systemOf } from './systems/systems.js'
import { type Place, tasks } from './tasks.js'

/** The time after which a task is given up, in ms. */
const taskMsMax = 90_000

/** The program of all workers, built for the first one. */
const bundle: { file?: Promise<string> } = {}

type Tasks = typeof tasks
type TaskName = keyof Tasks
type Arguments<N extends TaskName> = Parameters<Tasks[N]>[1]
type Result<N extends TaskName> = Awaited<ReturnType<Tasks[N]>>

type Told =
  | { readonly id: number; readonly type: 'do'; readonly name: TaskName; readonly args: unknown }
  | { readonly id: number; readonly type: 'go' }
type Answer =
  | { readonly id: number; readonly type: 'ready' }
  | { readonly id: number; readonly type: 'result'; readonly result: unknown }
  | { readonly id: number; readonly type: 'error'; readonly message: string }

/** A task that was begun. */
type Begun<T> = {
  /** Resolves when it says that it is ready, or ends. */
  readonly ready: Promise<void>
  /** Tells it to go, where it waits for that. */
  go(): void
  readonly result: Promise<T>
}
type Waiting = { readonly ready: Deferred<void>; readonly result: Deferred<unknown> }

/** The end of the process that tells. */
export class Worker implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #id = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdin?.on('error', () => {}) // the task that reads it says why it ended
    child.on('message', (answer: Answer) => this.#take(answer))
    child.once('exit', (code, signal) => this.#fail(`a worker ended (${signal ?? code})`))
  }

  /** Starts a worker and connects it. */
  static async start({ id }: System, { address }: Started): Promise<Worker> {
    bundle.file ??= bundleProgram('worker')
    const child = fork(await bundle.file, [id, address], {
      stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
      execArgv: [],
      // The bundle stands elsewhere, and would look for the peers elsewhere.
      env: { ...process.env, TAILRACE_BENCH_PEERS: peersDirectory },
    })
    const worker = new Worker(child)
    try {
      await worker.#expect(0).ready.promise
      return worker
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
  }

  get stdin(): Writable {
    const { stdin } = this.#child
    if (!stdin) throw new Error('a worker has a pipe as stdin')
    return stdin
  }

  begin<N extends TaskName>(name: N, args: Arguments<N>): Begun<Result<N>> {
    const id = ++this.#id
    const { ready, result } = this.#expect(id)
    const timer = setTimeout(() => {
      this.#fail(`a ${name} took longer than ${taskMsMax / 1_000} s`)
      this.#child.kill('SIGKILL')
    }, taskMsMax)
    void result.promise.catch(() => {}).finally(() => clearTimeout(timer))
    this.#tell({ id, type: 'do', name, args })
    return {
      ready: ready.promise,
      go: () => this.#tell({ id, type: 'go' }),
      result: result.promise as Promise<Result<N>>,
    }
  }

  run<N extends TaskName>(name: N, args: Arguments<N>): Promise<Result<N>> {
    return this.begin(name, args).result
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }

  #tell(told: Told): void {
    this.#child.send(told)
  }

  #expect(id: number): Waiting {
    const waiting = { ready: deferred<void>(), result: deferred<unknown>() }
    // Who does not wait for one of them hears of the failure from the other.
    waiting.ready.promise.catch(() => {})
    waiting.result.promise.catch(() => {})
    this.#waiting.set(id, waiting)
    return waiting
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id)
    if (!waiting) return
    if (answer.type === 'error') {
      const error = new Error(answer.message)
      waiting.ready.reject(error)
      waiting.result.reject(error)
    } else {
      waiting.ready.resolve()
      if (answer.type === 'result') waiting.result.resolve(answer.result)
    }
    if (answer.type !== 'ready') this.#waiting.delete(answer.id)
  }

  #fail(message: string): void {
    for (const id of this.#waiting.keys()) this.#take({ id, type: 'error', message })
  }
}

/** The worker's own part. */
async function work(system: SystemId, address: string): Promise<void> {
  const answer = (message: Answer) => process.send?.(message)
  const connect = () => systemOf(system).connect(address)
  process.once('disconnect', () => process.exit())
  const failed = (id: number, error: unknown) => {
    answer({ id, type: 'error', message: error instanceof Error ? error.message : String(error) })
  }
  try {
    const client = await connect()
    const told = new Map<number, Deferred<void>>()
    process.on('message', async (message: Told) => {
      const { id } = message
      if (message.type === 'go') return told.get(id)?.resolve()
      const go = deferred<void>()
      told.set(id, go)
      const place: Place = {
        client,
        connect,
        ready: () => answer({ id, type: 'ready' }),
        gone: () => go.promise,
      }
      try {
        const task = tasks[message.name] as (place: Place, args: unknown) => Promise<unknown>
        answer({ id, type: 'result', result: await task(place, message.args) })
      } catch (error) {
        failed(id, error)
      }
    })
    answer({ id: 0, type: 'ready' })
  } catch (error) {
    failed(0, error)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await work(process.argv[2] as SystemId, process.argv[3] ?? '')
}
