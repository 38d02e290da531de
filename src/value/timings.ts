/** Sums of times, by phase. See rfc/23, rule 14. */

import type { Times, Timings, WorkPhase } from '../api/value.js'

/** Returns sums that begin at 0. */
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

  /** Times a call until its promise settles. */
  async wait<T>(phase: WorkPhase, work: () => T | Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await work()
    } finally {
      this.#add(phase, start)
    }
  }

  #add(phase: WorkPhase, start: number): void {
    const ms = performance.now() - start
    for (const sum of this.#sums) sum.add(phase, ms)
  }
}
