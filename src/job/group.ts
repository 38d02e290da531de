/** Processes that a job's process started, also after it has ended itself: its process group, and where this process
 *  is a subreaper also processes that left the group. See rfc/11.
 *  Invariant: a signal goes to the job's own or to none: once a group is empty its number may be another's. */

import { descendantsOf, processes, processOf, sendSignal, variablesOf } from '../base/processes.js'
import { strangers } from '../base/spawn.js'

export class ProcessGroup {
  readonly #id: number
  readonly #mark: string
  #leaderEnded = false
  #groupGone = false

  /** `id` is the pid of a child that leads a group and session of its own; `mark` a variable, `NAME=VALUE`, that it alone
   *  was started with. */
  constructor(id: number, mark: string) {
    this.#id = id
    this.#mark = mark
  }

  /** Call it in the turn in which the leader was reaped: from then on the number alone says nothing. */
  leaderEnded(): void {
    this.#leaderEnded = true
    this.#look()
  }

  /** Whether nothing is left of it. */
  get empty(): boolean {
    this.#look()
    return this.#groupGone && this.#strays().length === 0
  }

  /** To the group, and once its leader has ended to all that is left. False where nothing is. */
  signal(name: string): boolean {
    const strays = this.#strays()
    for (const pid of strays) sendSignal(pid, name)
    return this.#signalGroup(name) || strays.length > 0
  }

  /** SIGKILL to all that the leader started and that can be found. */
  killAll(): void {
    const below = this.#leaderEnded ? this.#strays() : descendantsOf(this.#id)
    this.#signalGroup('SIGKILL')
    for (const pid of below) sendSignal(pid, 'SIGKILL')
  }

  #signalGroup(name: string): boolean {
    this.#look()
    if (this.#groupGone) return false
    // A child that makes its group itself has none in its first moment.
    return sendSignal(-this.#id, name) || (!this.#leaderEnded && sendSignal(this.#id, name))
  }

  /** Orphans outside the group, once the leader has ended: children of this process that have the leader's session
   *  or mark, with their descendants. */
  #strays(): number[] {
    if (!this.#leaderEnded) return []
    return strangers().flatMap((pid) => {
      const entry = processOf(pid)
      if (!entry || entry.defunct || entry.group === this.#id) return []
      if (entry.session !== this.#id && !variablesOf(pid).includes(this.#mark)) return []
      return [pid, ...descendantsOf(pid)]
    })
  }

  #look(): void {
    if (!this.#leaderEnded || this.#groupGone) return
    if (!sendSignal(-this.#id, 0)) {
      this.#groupGone = true
      return
    }
    // No new process gets the number while a group has it. So if a process has it, the group had gone before.
    const all = processes()
    const reused = all.some(({ pid }) => pid === this.#id)
    const left = all.some(({ group, session, defunct }) => {
      return group === this.#id && session === this.#id && !defunct
    })
    // Without /proc there is nothing to compare with.
    this.#groupGone = all.length > 0 && (reused || !left)
  }
}
