/** A command that ends with this process, however this process ends. See rfc/13 and keeper.ts.
 *  Invariant: where the system is Linux, nothing that the command started goes on after `end`, nor
 *  after this process was killed, nor after the keeper was. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type Deferred, deferred } from '../base/deferred.js'
import { becomeSubreaper } from '../base/posix.js'
import { killDescendants } from '../base/processes.js'
import { spawnAlone } from '../base/spawn.js'
import { TailraceError } from '../error.js'
import { keeperFile } from '../local/installation.js'

export type KeeperOrder =
  | {
      readonly type: 'start'
      readonly program: string
      readonly rest: readonly string[]
      readonly env: NodeJS.ProcessEnv
    }
  | { readonly type: 'signal'; readonly name: NodeJS.Signals }
  /** Ends the command after `ms` milliseconds, unless another such order comes before. */
  | { readonly type: 'hold'; readonly ms: number }
  | { readonly type: 'end' }

export type KeeperAnswer =
  | { readonly type: 'exit'; readonly code: number }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'expired' }
  | { readonly type: 'ended' }

export class KeptCommand implements AsyncDisposable {
  /** The exit code of the command; 128 plus the number for a signal. Rejects with ENOENT (it could
   *  not be run) or EIO (the keeper was killed, and so was the command). */
  readonly exited: Promise<number>
  readonly #keeper: ChildProcess
  readonly #closed: Promise<unknown>
  readonly #expired: Deferred<void> = deferred<void>()
  readonly #ended: Deferred<void> = deferred<void>()

  readonly #exited: Deferred<number> = deferred<number>()
  readonly #lose = () => {
    killDescendants()
    this.#ended.resolve()
    const message = 'the keeper of the command was killed, so the command was killed as well'
    this.#exited.reject(new TailraceError('EIO', message))
  }

  /** Starts the keeper, which takes some time; `start` gives it the command. */
  constructor() {
    becomeSubreaper() // Processes that a killed keeper leaves become children of this process.
    this.#keeper = spawnAlone(process.execPath, [keeperFile], {
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    })
    this.#closed = once(this.#keeper, 'close')
    this.exited = this.#exited.promise
    this.exited.catch(() => {})
    this.#keeper.on('message', (message) => {
      const answer = message as KeeperAnswer
      if (answer.type === 'exit') this.#exited.resolve(answer.code)
      else if (answer.type === 'ended') this.#ended.resolve()
      else if (answer.type === 'expired') this.#expired.resolve()
      else {
        const text = `the command could not be run: ${answer.message}`
        this.#exited.reject(new TailraceError('ENOENT', text))
      }
    })
    this.#keeper.on('exit', this.#lose)
  }

  start(program: string, rest: readonly string[], env: NodeJS.ProcessEnv): void {
    this.#order({ type: 'start', program, rest, env })
  }

  /** Resolves when the time of the last `holdFor` is over, before the command is ended for it. */
  get expired(): Promise<void> {
    return this.#expired.promise
  }

  /** Lets the command run for `ms` milliseconds from now on. The bound holds even where this
   *  process is stopped or stands still. */
  holdFor(ms: number): void {
    this.#order({ type: 'hold', ms })
  }

  /** Sends a signal to the command alone. */
  signal(name: NodeJS.Signals): void {
    this.#order({ type: 'signal', name })
  }

  /** Ends the command and all that it started: SIGTERM, then SIGKILL after a bound. Resolves when
   *  none of these processes runs. */
  async end(): Promise<void> {
    this.#order({ type: 'end' })
    await this.#ended.promise
  }

  /** Ends the keeper. Processes that the command left running when it ended by itself go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#keeper.off('exit', this.#lose)
    this.#keeper.kill('SIGKILL')
    await this.#closed
  }

  #order(order: KeeperOrder): void {
    if (this.#keeper.connected) this.#keeper.send(order, () => {})
  }
}
