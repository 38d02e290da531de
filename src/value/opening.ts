/** The use of several values with one claim on memory. See rfc/23, rule 12.
 *  Invariant: who waits for memory has none, not even that of a value which is open already. So two
 *  who wait never wait for each other. Who needs no memory does not wait. What a claim lacks is looked
 *  up when it is granted, and taken at that moment: nothing is forgotten or loaded in between. */

import type { Opened, Timings, ValueOptions } from '../api/value.js'
import { joinAbort } from '../base/abort.js'
import { canceled } from '../error.js'
import type { Form } from './form.js'
import type { Ledger, MemoryClaim, Need, Sizes } from './ledger.js'
import { Clock } from './timings.js'

const nothing: Sizes = { packed: 0, opened: 0 }

/** A form of a value that is wanted in memory. */
export type Wanted<T> = {
  readonly form: Form<T>
  /** Returns the memory that its load lacks now. */
  readonly need: () => Need
  /** Begins the load with that memory. REQUIRES: a use of it has begun. */
  readonly load: (memory: Sizes) => void
}

/** A value that can be opened. */
export interface Openable {
  /** Learns what the opening of the value takes. */
  opening(clock: Clock, signal: AbortSignal | undefined): Promise<Wanted<unknown>>
}

/** The parts of a process that a use of values needs. */
export type Memory = {
  readonly ledger: Ledger
  readonly total: Timings
  /** The answer where there is no memory, unless a call says another. */
  readonly wait: 'wait' | 'fail'
}

/** Opens values with one claim on memory, and returns their uses. REQUIRES: the options are checked. */
export async function openAll(
  memory: Memory,
  values: readonly Openable[],
  options: ValueOptions,
): Promise<Opened<unknown>[]> {
  const clock = new Clock(memory.total, options.timings)
  const forms = new Map<Openable, Form<unknown>>()
  const opening = [...new Set(values)].map(async (value) => {
    const wanted = await value.opening(clock, options.signal)
    forms.set(value, wanted.form)
    return wanted
  })
  await useAll(memory, await Promise.all(opening), clock, options)
  const used = new Set<Openable>()
  return values.map((value) => {
    const form = forms.get(value)
    // A value that stands there twice has one use, which ends with the first.
    let inUse = !used.has(value)
    used.add(value)
    return {
      get value() {
        return form?.value
      },
      [Symbol.dispose]: () => {
        if (inUse) form?.end()
        inUse = false
      },
    }
  })
}

/** Begins a use of all that is wanted, once there is memory for what nobody has loaded, and waits until
 *  all is loaded. Throws what a load throws; then no use has begun. */
export async function useAll(
  { ledger, wait: waitDefault }: Memory,
  wanted: readonly Wanted<unknown>[],
  clock: Clock,
  { wait = waitDefault, signal }: Pick<ValueOptions, 'wait' | 'signal'>,
): Promise<void> {
  if (signal?.aborted) throw canceled(signal)
  const needs = new Map<Wanted<unknown>, Need>()
  /** The loads that are on their way when the claim is granted: one that fails may be gone a moment later. */
  let loading: readonly (Promise<void> | undefined)[] = []
  const claim = {
    need: (): Need => {
      needs.clear()
      for (const one of wanted) if (!one.form.isShared) needs.set(one, one.need())
      return sumOf([...wanted.map(({ form }) => ({ keeps: form.memory })), ...needs.values()])
    },
    take: () => {
      // All uses begin before any load does: so no load finds the memory of another one forgotten.
      for (const { form } of wanted) form.begin()
      for (const one of wanted) if (!one.form.isShared) one.load(needs.get(one)?.sizes ?? nothing)
      loading = wanted.map(({ form }) => form.loading)
    },
  } satisfies MemoryClaim
  // A claim that can never be granted fails here, not when its turn comes.
  const { sizes } = claim.need()
  if (sizes.packed === 0 && sizes.opened === 0) claim.take()
  else {
    // Its own loads begin when it waits no more: then nobody looks at all of them for each.
    const pass = () => {
      if (ledger.waits(claim) && wanted.every(({ form }) => form.isShared)) ledger.pass(claim)
    }
    const ends = wanted.map(({ form }) => form.onLoad(pass))
    try {
      await clock.wait('wait', () => ledger.claim(claim, { wait, signal }))
    } finally {
      for (const end of ends) end()
    }
  }
  try {
    await joinAbort(Promise.all(loading), signal)
  } catch (error) {
    for (const { form } of wanted) form.end()
    throw error
  }
}

function sumOf(needs: readonly Partial<Need>[]): Need {
  const sum = (kind: keyof Sizes) =>
    needs.reduce((total, need) => total + (need.sizes?.[kind] ?? 0), 0)
  return {
    sizes: { packed: sum('packed'), opened: sum('opened') },
    keeps: needs.flatMap(({ keeps = [] }) => keeps),
  }
}
