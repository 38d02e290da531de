/** Opens several values with one claim on memory. See rfc/23, rule 12.
 *  Invariant: who waits for memory has none, not even that of a value which is open already. So two
 *  who wait never wait for each other. Whoever begins to open a value has all memory for that. */

import type { Opened, Timings, ValueOptions } from '../api/value.js'
import { eitherSignal, joinAbort } from '../base/abort.js'
import type { Ledger, Sizes } from './ledger.js'
import { Clock } from './timings.js'

/** A value that is opened once for all who use it. */
export interface Openable {
  /** True if it is opened, or about to be with memory of its own. */
  readonly isOpening: boolean
  /** Settles as the opening does that is on its way, if there is one. */
  readonly opening: Promise<void> | undefined
  /** The opened value. REQUIRES: `begin` was called, and `opening` has resolved. */
  readonly value: unknown
  /** Calls `run` when somebody begins to open the value, until the returned function is called. */
  onOpening(run: () => void): () => void
  /** Returns the memory that its opening takes. */
  need(clock: Clock): Promise<Sizes>
  /** Begins a use of the opened value. */
  begin(): void
  /** Ends what `begin` began. */
  end(): void
  /** Begins to open the value with memory that it was given, which it gives back if somebody else has
   *  begun by now. REQUIRES: `begin` was called. */
  openWith(memory: Sizes, clock: Clock): void
}

/** The parts of a process that the opening of values needs. */
export type OpeningPlace = {
  readonly ledger: Ledger
  readonly total: Timings
  /** The answer where there is no memory, unless a call says another. */
  readonly wait: 'wait' | 'fail'
}

/** Opens values with one claim on memory, and returns their uses. REQUIRES: the options are checked. */
export async function openAll(
  { ledger, total, wait: waitDefault }: OpeningPlace,
  values: readonly Openable[],
  options: ValueOptions,
): Promise<Opened<unknown>[]> {
  const { timings, wait = waitDefault, signal: ending } = options
  const clock = new Clock(total, timings)
  const distinct = [...new Set(values)]
  while (!(await beginAll(distinct, ledger, clock, { wait, signal: ending })));
  try {
    await joinAbort(Promise.all(distinct.map((value) => value.opening)), ending)
  } catch (error) {
    for (const value of distinct) value.end()
    throw error
  }
  return values.map((value, at) => {
    // A value that stands there twice has one use, which ends with the first.
    let inUse = values.indexOf(value) === at
    return {
      get value() {
        return value.value
      },
      [Symbol.dispose]: () => {
        if (inUse) value.end()
        inUse = false
      },
    }
  })
}

/** Begins the use of all values, once there is memory for those that nobody has opened. Returns false
 *  if others have opened or forgotten some of them meanwhile. */
async function beginAll(
  values: readonly Openable[],
  ledger: Ledger,
  clock: Clock,
  {
    wait,
    signal: ending,
  }: { readonly wait: 'wait' | 'fail'; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  const missing = values.filter((value) => !value.isOpening)
  const needs = await Promise.all(missing.map((value) => value.need(clock)))
  if (missing.some((value) => value.isOpening)) return false
  const sum = (kind: keyof Sizes) => needs.reduce((total, need) => total + need[kind], 0)
  const sizes = { packed: sum('packed'), opened: sum('opened') }
  const opened = new AbortController()
  const ends = missing.map((value) => value.onOpening(() => opened.abort()))
  const either = eitherSignal(ending, opened.signal)
  try {
    await clock.wait('wait', () => ledger.claim(sizes, { wait, signal: either.signal }))
  } catch (error) {
    if (opened.signal.aborted && !ending?.aborted) return false
    throw error
  } finally {
    either.end()
    for (const end of ends) end()
  }
  const lacks = values.some((value) => !value.isOpening && !missing.includes(value))
  if (lacks) {
    ledger.give(sizes)
    return false
  }
  for (const value of values) value.begin()
  for (const [at, value] of missing.entries()) {
    const need = needs[at]
    if (need) value.openWith(need, clock)
  }
  return true
}
