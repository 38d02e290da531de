/** Looks at what a run would make, and why, without making anything. See rfc/24, rules 21 and 22.
 *  Invariant: no function is called, and nothing is written. What cannot be known before something
 *  else is made is told as such. */

import type { ActionDifference, Cache } from '../api/cache.js'
import type { OutdatedTarget } from '../api/flow-look.js'
import type { LoopSlice } from '../base/loop-slice.js'
import { pack } from '../cache/packing.js'
import type { TargetAction } from './action.js'
import { drive } from './drive.js'
import { RunEvents } from './events.js'
import type { Graph, Step } from './graph.js'
import type { KeptMaker } from './kept.js'
import { type MadeRecord, madeRecords } from './made.js'
import { FoundResult, type Look, type Made, type Maker } from './maker.js'
import { hexHashOf } from './modules.js'
import type { KeptResult } from './packed-results.js'
import type { FlowPlace } from './place.js'
import { moduleRecord } from './run-log.js'

/** The result of a step that a run would make: nobody knows it. */
const unknown: unique symbol = Symbol('unknown')
type MaybeKept = KeptResult | typeof unknown

/** A look at all targets of a graph. */
export type Survey = {
  /** The steps that a run would make, each after those that it depends on. */
  readonly steps: readonly Step[]
  /** The actions of all steps whose inputs are there. */
  readonly actions: ReadonlyMap<Step, TargetAction>
}

/** Looks for the results of all targets of a graph. Throws what `KeptMaker.look` throws. */
export async function survey(
  graph: Graph,
  kept: KeptMaker,
  slice: LoopSlice,
  signal: AbortSignal | undefined,
): Promise<Survey> {
  const surveyor = new Surveyor(kept)
  const options = { concurrency: 1, limits: unlimited(graph), onError: 'stop', signal } as const
  const events = new RunEvents()
  // No function is called here, so a failure is one of the look itself, and ends it.
  const modeOf = () => 'stop' as const
  await drive({ graph, maker: surveyor, events, slice, options, modeOf }, () => undefined)
  const steps = [...surveyor.unknown].sort((a, b) => a.index - b.index)
  return { steps, actions: surveyor.actions }
}

/** Returns limits that no target reaches. */
function unlimited({ steps }: Graph): { readonly [resource: string]: number } {
  const names = steps.flatMap(({ target }) => target.needs?.amounts.map(([name]) => name) ?? [])
  return Object.fromEntries(names.map((name) => [name, Number.MAX_SAFE_INTEGER]))
}

/** A maker that finds what is there, and makes nothing. */
class Surveyor implements Maker<MaybeKept> {
  /** The steps whose results are not there. */
  readonly unknown = new Set<Step>()
  readonly actions = new Map<Step, TargetAction>()
  readonly #kept: KeptMaker

  constructor(kept: KeptMaker) {
    this.#kept = kept
  }

  async look(step: Step, inputs: readonly MaybeKept[]): Promise<Look<MaybeKept>> {
    if (!areKept(inputs)) return undefined
    const action = await this.#kept.actionOf(step, inputs)
    this.actions.set(step, action)
    return await this.#kept.lookFor(step, action)
  }

  make(step: Step): Made<MaybeKept> {
    this.unknown.add(step)
    return new FoundResult<MaybeKept>(unknown)
  }

  arraysOf(step: Step, inputs: readonly MaybeKept[]) {
    if (areKept(step.target.arrays.map((slot) => inputs[slot] ?? unknown))) {
      return this.#kept.arraysOf(step, inputs as readonly KeptResult[])
    }
    // Its branches are not known.
    this.unknown.add(step)
    return step.target.arrays.map(() => [])
  }

  gather(step: Step, branches: readonly MaybeKept[]): MaybeKept {
    if (this.unknown.has(step) || !areKept(branches)) return unknown
    return this.#kept.gather(step, branches)
  }

  nothing(): MaybeKept {
    return unknown
  }

  drop(value: MaybeKept): void {
    if (value !== unknown) this.#kept.drop(value)
  }
}

function areKept(results: readonly MaybeKept[]): results is readonly KeptResult[] {
  return !results.includes(unknown)
}

/** Says why each step of a survey would be made. */
export async function reasonsOf(
  place: FlowPlace,
  { steps, actions }: Survey,
): Promise<readonly OutdatedTarget[]> {
  const names = steps.map(({ name }) => name)
  const records = await madeRecords(place, names)
  return steps.map((step, at): OutdatedTarget => {
    const target = names[at] ?? ''
    const action = actions.get(step)
    const record = records[at]
    if (!action) return { target, because: 'inputs' }
    if (!record) return { target, because: 'new' }
    return {
      target,
      because: record.id === hexHashOf(pack(action, 'an action')) ? 'removed' : 'changed',
    }
  })
}

/** Compares an action with the one that a target was made of last. */
export async function differencesFrom(
  place: FlowPlace,
  cache: Cache,
  { action: before }: MadeRecord,
  after: TargetAction,
  modules: ReadonlyMap<string, unknown>,
): Promise<readonly ActionDifference[]> {
  const old = await moduleRecord(place, before.module)
  return cache.why(
    { ...before, module: old ?? before.module },
    { ...after, module: modules.get(after.module) ?? after.module },
  )
}
