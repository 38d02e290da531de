/** Jobs that wait for a time of the wall clock. See rfc/11, rule 20.
 *  Invariant: one timer is set, for the job that is due next. A job leaves once: it is due, or is
 *  taken out. */

import type { Environment } from '../base/environment.js'

/** The longest timer, in ms. The wall clock may be set, and goes on while a machine sleeps, so it
 *  has to be read again. */
const wallLookMs = 10 * 60_000

type Waiting<T> = { readonly at: number; readonly job: T }

export class Delayed<T> {
  readonly #environment: Environment
  readonly #due: (id: string, job: T) => void
  readonly #waiting = new Map<string, Waiting<T>>()
  #timer: Disposable | undefined

  /** Takes `due`, which is called once for each job whose time has come. It must not throw. */
  constructor(environment: Environment, due: (id: string, job: T) => void) {
    this.#environment = environment
    this.#due = due
  }

  get size(): number {
    return this.#waiting.size
  }

  /** Adds a job that is due at `at`, in ms since 1970. */
  add(id: string, at: number, job: T): void {
    this.#waiting.set(id, { at, job })
    this.#arm()
  }

  /** Takes a job out before its time. Returns false if it does not wait here. */
  remove(id: string): boolean {
    const found = this.#waiting.delete(id)
    if (found) this.#arm()
    return found
  }

  /** Takes all jobs out, and returns them. */
  clear(): T[] {
    const jobs = [...this.#waiting.values()].map(({ job }) => job)
    this.#waiting.clear()
    this.#arm()
    return jobs
  }

  #arm(): void {
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
    if (this.#waiting.size === 0) return
    const next = Math.min(...[...this.#waiting.values()].map(({ at }) => at))
    const ms = Math.min(Math.max(0, next - this.#environment.now()), wallLookMs)
    this.#timer = this.#environment.timer(ms, () => this.#look())
  }

  #look(): void {
    const now = this.#environment.now()
    const due = [...this.#waiting].filter(([, { at }]) => at <= now)
    due.sort(([, a], [, b]) => a.at - b.at)
    for (const [id] of due) this.#waiting.delete(id)
    this.#arm()
    for (const [id, { job }] of due) this.#due(id, job)
  }
}
