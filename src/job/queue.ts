/** The queue of jobs: they run in the order of their submits, on `runningMax` places. A running job
 *  shares its place with one of its children at a time, so that it can wait for the child. See
 *  rfc/11, rule 3. Pure but for its own state.
 *  Invariant: no job waits while a place is free, or while its parent runs and shares its place
 *  with no child. */

/** A place, and the number of jobs on it. Each but the first is a child of another one. */
type Place = { jobs: number }

type Running = {
  readonly place: Place
  readonly parent: string | undefined
  /** The child that shares the place. */
  child: string | undefined
}

type Waiting<T> = { readonly job: T; readonly parent: string | undefined }

export class JobQueue<T> {
  #runningMax: number
  readonly #start: (id: string, job: T) => void
  readonly #waiting = new Map<string, Waiting<T>>()
  /** The waiting jobs by parent, oldest first. */
  readonly #children = new Map<string, Set<string>>()
  readonly #running = new Map<string, Running>()
  #places = 0

  /** Takes `start`, which is called when a job has got a place. It must not throw. */
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

  /** Changes the number of places. With fewer of them, jobs wait until enough have left. */
  resize(runningMax: number): void {
    this.#runningMax = runningMax
    this.#fill()
  }

  /** Adds a job. A `parent` that does not run has no effect. */
  add(id: string, job: T, parent?: string): void {
    this.#waiting.set(id, { job, parent })
    if (parent !== undefined) {
      const siblings = this.#children.get(parent) ?? new Set()
      this.#children.set(parent, siblings.add(id))
    }
    this.#fill()
    if (parent !== undefined) this.#share(parent)
  }

  /** Returns the length of the chain of running jobs from this one to its outermost ancestor. */
  depthOf(id: string | undefined): number {
    let depth = 0
    for (let at = id; at !== undefined; depth++) {
      const job = this.#running.get(at)
      if (!job) return depth
      at = job.parent
    }
    return depth
  }

  /** Takes a job out before its turn. Returns false if it does not wait. */
  remove(id: string): boolean {
    return this.#take(id) !== undefined
  }

  /** Takes all waiting jobs out, and returns them. */
  clear(): T[] {
    const jobs = [...this.#waiting.values()].map(({ job }) => job)
    this.#waiting.clear()
    this.#children.clear()
    return jobs
  }

  /** Records that a job has ended. Its place is free once no other job shares it. */
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
