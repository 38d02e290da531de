/** The processes that a job's process started, also after it has ended: its process group, and, if
 *  this process is a subreaper, processes that left the group. See rfc/11, rules 8 and 10.
 *  Invariant: a signal reaches processes of the job only. Once a group is empty, another group may
 *  get its number. */

import { descendantsOf, processes, processOf, sendSignal, variablesOf } from '../base/processes.js'
import { foreignChildren } from '../base/spawn.js'

export class ProcessGroup {
  readonly #id: number
  readonly #mark: string
  #leaderEnded = false
  #groupGone = false

  /** Takes the pid of a child that leads a group and session of its own, and `mark`, a variable
   *  `NAME=VALUE` that only this child was started with. */
  constructor(id: number, mark: string) {
    this.#id = id
    this.#mark = mark
  }

  /** Records that the leader has ended. Call it in the turn in which the leader was reaped: from
   *  then on its pid may be used again. */
  leaderEnded(): void {
    this.#leaderEnded = true
    this.#look()
  }

  /** True if no process is left. */
  get empty(): boolean {
    this.#look()
    return this.#groupGone && this.#strays().length === 0
  }

  /** Sends a signal to the group, and, once its leader has ended, to processes that left the group.
   *  Returns false if there is no process. */
  signal(name: string): boolean {
    const strays = this.#strays()
    for (const pid of strays) sendSignal(pid, name)
    return this.#signalGroup(name) || strays.length > 0
  }

  /** Sends SIGKILL to all processes that the leader started, as far as they can be found. */
  killAll(): void {
    const below = this.#leaderEnded ? this.#strays() : descendantsOf(this.#id)
    this.#signalGroup('SIGKILL')
    for (const pid of below) sendSignal(pid, 'SIGKILL')
  }

  #signalGroup(name: string): boolean {
    this.#look()
    if (this.#groupGone) return false
    // A child that makes its group itself (setsid) has none at first: signal the child alone.
    return sendSignal(-this.#id, name) || (!this.#leaderEnded && sendSignal(this.#id, name))
  }

  /** Returns the orphans outside the group, once the leader has ended: children of this process
   *  that have the leader's session or mark, and their descendants. */
  #strays(): number[] {
    if (!this.#leaderEnded) return []
    return foreignChildren().flatMap((pid) => {
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
    // No new process gets the number while a group has it. So if a process has it, the group is
    // gone.
    const all = processes()
    const reused = all.some(({ pid }) => pid === this.#id)
    const left = all.some(({ group, session, defunct }) => {
      return group === this.#id && session === this.#id && !defunct
    })
    // Without /proc the list is empty, and nothing is known: the group counts as there.
    this.#groupGone = all.length > 0 && (reused || !left)
  }
}
