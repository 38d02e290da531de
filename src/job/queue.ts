/** Who runs and who waits: in order of submit, on `runningMax` places. A job that runs shares its place with one of its
 *  children, so that it may wait for it. See rfc/11. Pure but for its own state.
 *  Invariant: nobody waits while there is a place, nor for a parent that runs and shares its place with nobody. */

/** Jobs on one place, each but the first a child of another. */
type Place = { jobs: number }

type Running = {
  readonly place: Place
  readonly parent: string | undefined
  /** The child that shares the place. */
  child: string | undefined
}

type Waiting<T> = { readonly job: T; readonly parent: string | undefined }

export class JobQueue<T> {
  readonly #runningMax: number
  readonly #start: (id: string, job: T) => void
  readonly #waiting = new Map<string, Waiting<T>>()
  /** Waiting jobs by parent, oldest first. */
  readonly #children = new Map<string, Set<string>>()
  readonly #running = new Map<string, Running>()
  #places = 0

  /** `start` is called once a place was taken for the job; it must not throw. */
  constructor(runningMax: number, start: (id: string, job: T) => void) {
    this.#runningMax = runningMax
    this.#start = start
  }

  get running(): number {
    return this.#running.size
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** A `parent` that does not run means nothing. */
  add(id: string, job: T, parent?: string): void {
    this.#waiting.set(id, { job, parent })
    if (parent !== undefined) {
      const siblings = this.#children.get(parent) ?? new Set()
      this.#children.set(parent, siblings.add(id))
    }
    this.#fill()
    if (parent !== undefined) this.#share(parent)
  }

  /** How many jobs run in each other, from this one up. */
  depthOf(id: string | undefined): number {
    let depth = 0
    for (let at = id; at !== undefined; depth++) {
      const job = this.#running.get(at)
      if (!job) return depth
      at = job.parent
    }
    return depth
  }

  /** Takes a job out before its turn. False where it does not wait. */
  remove(id: string): boolean {
    return this.#take(id) !== undefined
  }

  /** Takes all out that wait. */
  clear(): T[] {
    const jobs = [...this.#waiting.values()].map(({ job }) => job)
    this.#waiting.clear()
    this.#children.clear()
    return jobs
  }

  /** A job that was started is over. Its place is free once no job shares it. */
  leave(id: string): void {
    const job = this.#running.get(id)
    if (!job) return
    this.#running.delete(id)
    job.place.jobs--
    if (job.place.jobs === 0) this.#places--
    this.#fill()
    const parent = job.parent === undefined ? undefined : this.#running.get(job.parent)
    if (job.parent === undefined || parent?.child !== id) return
    parent.child = undefined
    this.#share(job.parent)
  }

  #fill(): void {
    while (this.#places < this.#runningMax) {
      const [next] = this.#waiting.keys()
      if (next === undefined) return
      this.#places++
      this.#run(next, { jobs: 0 })
    }
  }

  /** Starts the oldest child that waits on the parent's place. */
  #share(parent: string): void {
    const job = this.#running.get(parent)
    const [child] = this.#children.get(parent) ?? []
    if (!job || job.child !== undefined || child === undefined) return
    job.child = child
    this.#run(child, job.place)
  }

  #run(id: string, place: Place): void {
    const taken = this.#take(id)
    if (!taken) return
    place.jobs++
    this.#running.set(id, { place, parent: taken.parent, child: undefined })
    this.#start(id, taken.job)
  }

  #take(id: string): Waiting<T> | undefined {
    const found = this.#waiting.get(id)
    if (!found) return undefined
    this.#waiting.delete(id)
    if (found.parent === undefined) return found
    const siblings = this.#children.get(found.parent)
    siblings?.delete(id)
    if (siblings?.size === 0) this.#children.delete(found.parent)
    return found
  }
}
