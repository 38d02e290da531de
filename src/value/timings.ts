/** Sums of times, by phase. See rfc/23, rule 14. */

import type { Times, Timings, WorkPhase } from '../api/value.js'

/** Returns sums that begin at 0, for the times of a task or of a run. Does no I/O.
 *
 *      const timings = newTimings()
 *      await rows.use(work, { timings })
 *      console.log(timings.times.fetch, timings.times.run)
 */
export function newTimings(): Timings {
  const times: Record<WorkPhase, number> = {
    wait: 0,
    fetch: 0,
    unpack: 0,
    run: 0,
    pack: 0,
    store: 0,
  }
  return {
    add: (phase, ms) => {
      times[phase] += ms
    },
    get times(): Times {
      return { ...times }
    },
  }
}

/** Adds times to several sums. */
export class Clock {
  readonly #sums: readonly Timings[]

  constructor(...sums: readonly (Timings | undefined)[]) {
    this.#sums = sums.filter((sum) => sum !== undefined)
  }

  /** Times a call. */
  run<T>(phase: WorkPhase, work: () => T): T {
    const start = performance.now()
    try {
      return work()
    } finally {
      this.#add(phase, start)
    }
  }

  /** Times a call until its promise settles. `without`: the part of that time, in ms, that another
   *  phase has. */
  async wait<T>(phase: WorkPhase, work: () => T | Promise<T>, without?: () => number): Promise<T> {
    const start = performance.now()
    try {
      return await work()
    } finally {
      this.#add(phase, start, without?.())
    }
  }

  #add(phase: WorkPhase, start: number, without = 0): void {
    const ms = Math.max(0, performance.now() - start - without)
    for (const sum of this.#sums) sum.add(phase, ms)
  }
}
