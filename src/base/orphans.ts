/** Reaps processes that fell to this one because their parents have ended: to process 1 of a container, or to a
 *  subreaper. See rfc/11, rfc/13.
 *  Invariant: a child that Node started is never reaped here, or Node would not hear of its end. Nothing polls. */

import { reap } from './posix.js'
import { isDefunct, processStart } from './process-start.js'
import { strangers } from './spawn.js'
import { Wakeup } from './wakeup.js'

export class OrphanReaper implements Disposable {
  /** Wakes when some child has ended, and all that ended before were reaped or will be. */
  readonly ended = new Wakeup()
  /** Ended children that were there when libuv was last woken, by pid and start time. */
  #seen: ReadonlySet<string> = new Set()
  #looking = false
  readonly #listener = () => {
    if (!this.#looking) setImmediate(() => this.#look())
    this.#looking = true
  }

  constructor() {
    process.on('SIGCHLD', this.#listener)
  }

  [Symbol.dispose](): void {
    process.off('SIGCHLD', this.#listener)
  }

  /** At a SIGCHLD libuv asks for each of its own children whether it has ended. So one that has ended and is still
   *  there after the next SIGCHLD is not Node's. That next one we send ourselves, so that it comes after this look. */
  #look(): void {
    this.#looking = false
    const found = new Set<string>()
    for (const pid of strangers()) {
      if (!isDefunct(pid)) continue
      const name = `${pid} ${processStart(pid)}`
      if (!this.#seen.has(name) || !reap(pid)) found.add(name)
    }
    const fresh = [...found].some((name) => !this.#seen.has(name))
    this.#seen = found
    if (fresh) process.kill(process.pid, 'SIGCHLD')
    this.ended.wake()
  }
}
