/** Who runs and who waits: in order of submit, `runningMax` at once. See rfc/11. Pure but for its own
 *  state. Invariant: nobody waits while there is a place. */

export class JobQueue<T> {
  readonly #runningMax: number
  readonly #start: (job: T) => void
  readonly #waiting = new Map<string, T>()
  #running = 0

  /** `start` is called once a place was taken for the job; it must not throw. */
  constructor(runningMax: number, start: (job: T) => void) {
    this.#runningMax = runningMax
    this.#start = start
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.size
  }

  add(id: string, job: T): void {
    this.#waiting.set(id, job)
    this.#fill()
  }

  /** Takes a job out before its turn. False where it does not wait. */
  remove(id: string): boolean {
    return this.#waiting.delete(id)
  }

  /** Takes all out that wait. */
  clear(): T[] {
    const jobs = [...this.#waiting.values()]
    this.#waiting.clear()
    return jobs
  }

  /** A job that was started is over. */
  leave(): void {
    this.#running--
    this.#fill()
  }

  #fill(): void {
    while (this.#running < this.#runningMax) {
      const [next] = this.#waiting
      if (!next) return
      const [id, job] = next
      this.#waiting.delete(id)
      this.#running++
      this.#start(job)
    }
  }
}
