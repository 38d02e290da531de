/** The calls of a run, as its log tells them, for a report. See rfc/26, rule 14. Pure.
 *  Invariant: two calls of one lane do not overlap. */

import type { Event } from '../api/event.js'

/** The largest number of calls of a report; later ones are left out. */
export const callsMax = 20_000

/** A call of a report. Times are in ms from the begin of the run. */
export type ReportCall = {
  readonly target: string
  readonly lane: number
  readonly from: number
  readonly to: number
  readonly state: 'made' | 'failed' | 'lost'
  /** The times of loading and opening its inputs, of its function, and of packing its result, in ms, where
   *  a worker told them. */
  readonly parts?: readonly [fetch: number, unpack: number, run: number, pack: number]
}

/** Gathers the calls of one log. Mutable; owned by its reader. */
export class CallGatherer {
  readonly #calls: ReportCall[] = []
  readonly #begun = new Map<string, number>()
  /** The end of the last call of each lane. */
  readonly #lanes: number[] = []
  readonly #ms = new Map<string, number>()
  #begin: number | undefined
  isCut = false

  get calls(): readonly ReportCall[] {
    return this.#calls
  }

  /** The times that targets took, in ms. */
  get ms(): ReadonlyMap<string, number> {
    return this.#ms
  }

  take({ timestamp, name, context }: Event): void {
    const at = timestamp * 1_000
    this.#begin ??= at
    const target = context?.['target']
    if (typeof target !== 'string') return
    if (name === 'start') this.#begun.set(target, at)
    const ms = context?.['ms']
    if (name === 'finish' && typeof ms === 'number') this.#ms.set(target, ms)
    const from = this.#begun.get(target)
    const state = stateOf(name)
    if (from === undefined || !state) return
    this.#begun.delete(target)
    if (this.#calls.length >= callsMax) {
      this.isCut = true
      return
    }
    const [begun, ended] = [from - this.#begin, at - this.#begin]
    const parts = partsOf(context?.['call'])
    const lane = this.#laneOf(begun, ended)
    this.#calls.push({ target, lane, from: begun, to: ended, state, ...(parts && { parts }) })
  }

  /** Finds a lane in which nothing runs then. Calls come in the order of their ends. */
  #laneOf(from: number, to: number): number {
    const free = this.#lanes.findIndex((end) => end <= from)
    const lane = free < 0 ? this.#lanes.length : free
    this.#lanes[lane] = to
    return lane
  }
}

function stateOf(name: string): ReportCall['state'] | undefined {
  if (name === 'finish') return 'made'
  if (name === 'fail' || name === 'retry') return 'failed'
  return name === 'lost' ? 'lost' : undefined
}

function partsOf(call: unknown): ReportCall['parts'] | undefined {
  if (typeof call !== 'object' || call === null) return undefined
  const times: { readonly [name: string]: unknown } = { ...call }
  const numberOf = (name: string) => (typeof times[name] === 'number' ? Number(times[name]) : 0)
  return [numberOf('fetchMs'), numberOf('unpackMs'), numberOf('runMs'), numberOf('packMs')]
}
