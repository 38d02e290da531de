/** Signals that a command passes on to what it runs for its caller: a job, or a command under a
 *  lease. See rfc/13, rule 32.
 *  Invariant: from the making of a `PassedSignals` to its end no first signal ends this process, so
 *  that nothing is held or runs in its name after it. A second one does, while there is nobody to
 *  pass it on to. */

import { constants } from 'node:os'

const passed = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export type PassedSignal = (typeof passed)[number]

type Receiver = (name: PassedSignal) => void

export class PassedSignals implements Disposable {
  readonly #interrupted = new AbortController()
  #receiver: Receiver | undefined
  #kept: PassedSignal | undefined

  constructor() {
    process.removeAllListeners('SIGINT') // process.ts ends the process at once
    for (const name of passed) process.on(name, this.#take)
  }

  /** Aborted when the first signal comes that there is nobody to pass on to. */
  get interrupted(): AbortSignal {
    return this.#interrupted.signal
  }

  /** The exit code for the signal that came while there was nobody to pass it on to: 128 and its
   *  number. Undefined where none came. */
  get exitCode(): number | undefined {
    return this.#kept && 128 + constants.signals[this.#kept]
  }

  /** Gives `receiver` the signal that came before, if one did, and each one from now on. */
  passTo(receiver: Receiver): void {
    this.#receiver = receiver
    if (this.#kept) receiver(this.#kept)
    this.#kept = undefined
  }

  /** Passes no more signals on: the next one is kept, and the one after it ends this process. */
  keep(): void {
    this.#receiver = undefined
  }

  [Symbol.dispose](): void {
    for (const name of passed) process.off(name, this.#take)
  }

  readonly #take = (name: PassedSignal) => {
    if (this.#receiver) return this.#receiver(name)
    if (this.#kept) {
      this[Symbol.dispose]()
      process.kill(process.pid, name)
      return
    }
    this.#kept = name
    this.#interrupted.abort()
  }
}
