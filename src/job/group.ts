/** The process group of a job, which is there as long as anything is in it, also after its leader has ended. See rfc/11.
 *  Invariant: a signal goes to this group or to none: once it is empty its number may be another's. */

import { processes, sendSignal } from '../base/processes.js'

export class ProcessGroup {
  readonly #id: number
  #leaderEnded = false
  #empty = false

  /** `id` is the pid of a child that leads a group and session of its own. */
  constructor(id: number) {
    this.#id = id
  }

  /** Call it in the turn in which the leader was reaped: from then on the number alone says nothing. */
  leaderEnded(): void {
    this.#leaderEnded = true
    this.#look()
  }

  /** Whether nothing is left of it. Once true it stays true. */
  get empty(): boolean {
    this.#look()
    return this.#empty
  }

  /** To all that is left in it. False where nothing is. */
  signal(name: string): boolean {
    if (this.empty) return false
    // A child that makes its group itself has none in its first moment.
    return sendSignal(-this.#id, name) || (!this.#leaderEnded && sendSignal(this.#id, name))
  }

  #look(): void {
    if (!this.#leaderEnded || this.#empty) return
    if (!sendSignal(-this.#id, 0)) {
      this.#empty = true
      return
    }
    // No new process gets the number while a group has it. So if a process has it, the group had gone before.
    const all = processes()
    const reused = all.some(({ pid }) => pid === this.#id)
    const left = all.some(({ group, session, defunct }) => {
      return group === this.#id && session === this.#id && !defunct
    })
    // Without /proc there is nothing to compare with.
    this.#empty = all.length > 0 && (reused || !left)
  }
}
