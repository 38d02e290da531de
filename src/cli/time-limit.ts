/** `--timeout`: the time that a command may take in all. See rfc/13.
 *  Invariant: a command that has one ends at the latest `graceMs` twice after it, whatever it waits for; and what
 *  may have been done is EUNKNOWN, not ETIMEDOUT. */

import { setTimeout as delay } from 'node:timers/promises'
import { type Deferred, deferred } from '../base/deferred.js'
import { isCode, TailraceError } from '../error.js'
import { parseDuration } from './duration.js'
import { type Invocation, UsageError } from './invocation.js'
import { BrokenPipe } from './output.js'

/** Time for a late command to end what it started, and to say what became of a write. */
const graceMs = 1_000
/** A timer of Node is not longer. */
const timeoutMsMax = 2 ** 31 - 1

export class TimeLimit {
  /** Undefined: the command may last, and its requests as long as the client lets them. */
  readonly ms: number | undefined
  readonly #ends: (() => Promise<unknown>)[] = []
  #passed = false

  /** Throws UsageError. */
  constructor({ options }: Invocation) {
    const text = options.text('timeout')
    this.ms = text === undefined ? undefined : parseDuration('--timeout', text)
    if (this.ms !== undefined && (this.ms === 0 || this.ms > timeoutMsMax)) {
      throw new UsageError(`--timeout takes a time from 1ms to 24d, not "${text}"`)
    }
  }

  /** When the time is over, `end` is run, the last one first. */
  atEnd(end: () => Promise<unknown>): void {
    this.#ends.unshift(end)
  }

  /** Throws ETIMEDOUT where it takes too long, and whatever `use` throws. */
  async bound<T>(use: () => Promise<T>): Promise<T> {
    if (this.ms === undefined) return use()
    const late = deferred<never>()
    const timer = setTimeout(() => void this.#end(late), this.ms)
    try {
      return await Promise.race([use(), late.promise])
    } catch (error) {
      const said = error instanceof BrokenPipe || isCode(error, 'EUNKNOWN')
      throw this.#passed && !said ? this.#error() : error
    } finally {
      clearTimeout(timer)
    }
  }

  async #end(late: Deferred<never>): Promise<void> {
    this.#passed = true
    for (const end of this.#ends) await Promise.race([end().catch(() => {}), delay(graceMs)])
    // The ended work reports first: it knows whether a write may have been done.
    await delay(graceMs)
    late.reject(this.#error())
  }

  #error(): TailraceError {
    return new TailraceError('ETIMEDOUT', `the command took longer than ${this.ms} ms (--timeout)`)
  }
}
