/** The records of what targets were made of last. See rfc/24, rule 20. */

import { number, object, shapeOf, text, within } from '../base/shape.js'
import { unpack } from '../cache/packing.js'
import { TailraceError, unless } from '../error.js'
import type { TargetAction } from './action.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'

/** The least expected time of a call, in ms. */
const leastMs = 0.01

/** Facts of a result that the record of its target tells. */
export type MadeOf = {
  /** The id of the action in the cache. */
  readonly id: string
  readonly action: TargetAction
  readonly hash: string
  /** The time that the call took, in ms; of a result that was found, as the cache tells it. */
  readonly ms: number
}

/** The record of what a target was made of last. */
export type MadeRecord = MadeOf & {
  /** The run that made it, or that found it first. */
  readonly run: string
}

const record = within(
  shapeOf<MadeRecord>({ id: text, action: object, hash: text, ms: number, run: text }, [
    ...(['id', 'action', 'hash', 'ms', 'run'] as const),
  ]),
)

/** Returns the key of what a target was made of. Names of branches have brackets and commas. */
export function targetKey(target: string): string {
  return `targets/${encodeURIComponent(target)}`
}

/** Reads what targets of a flow were made of last, in their order. Throws EINVAL. */
export async function madeRecords(
  { store, flow }: Pick<FlowPlace, 'store' | 'flow'>,
  names: readonly string[],
): Promise<readonly (MadeRecord | undefined)[]> {
  if (names.length === 0) return []
  const keys = names.map((name) => targetKey(name))
  const read = await store
    .readMany(keys, { namespace: namespaceOfFlow(flow) })
    .catch(unless('ENONS'))
  return names.map((name, at) => {
    const bytes = read?.values[at]
    if (!bytes) return undefined
    const what = `what target ${name} was made of`
    const made = unpack(bytes, what)
    if (!record.is(made)) throw new TailraceError('EINVAL', `${what} is not to be read`)
    return made as MadeRecord
  })
}

/** Returns the time that the next call of a target is expected to take, in ms. One that took none is still
 *  a step of its path. */
export function expectedOf({ ms }: Pick<MadeRecord, 'ms'>): number {
  return Math.max(leastMs, ms)
}
