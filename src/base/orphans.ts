/** Reaps orphans: children that this process got when their parents ended, because it is process 1
 *  of a container or a subreaper. See rfc/11, rfc/13.
 *  Invariant: it never reaps a child that Node started, or Node would not learn
 *  of its end. Nothing polls. */

import { reap } from './posix.js'
import { isDefunct, processStart } from './processes.js'
import { foreignChildren } from './spawn.js'
import { Wakeup } from './wakeup.js'

/** Reaps orphans from its construction until it is disposed of. */
export class OrphanReaper implements Disposable {
  /** Wakes after each look for orphans, so after some child has ended. */
  readonly ended = new Wakeup()
  /** Ended children that the last look found, by pid and start time. */
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

  /** Looks for ended children, and reaps those that the last look found too. At each SIGCHLD
   *  libuv reaps its own children that have ended. So a child that has ended and is still there
   *  after the next SIGCHLD is not one of Node's. We send that next SIGCHLD ourselves, so that
   *  it comes after this look. */
  #look(): void {
    this.#looking = false
    const found = new Set<string>()
    for (const pid of foreignChildren()) {
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
