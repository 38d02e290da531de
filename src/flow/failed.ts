/** The records of the last failures of targets, from which a call can be made again. See rfc/24, rule 31. */

import { hostname } from 'node:os'
import type { CallHost } from '../api/flow-look.js'
import { number, object, shapeOf, text, texts, within } from '../base/shape.js'
import { unpack } from '../cache/packing.js'
import { type ErrorRecord, TailraceError, unless } from '../error.js'
import type { MadeOf } from './made.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'

/** Facts of a failed call from which it can be made again. */
export type FailedOf = Pick<MadeOf, 'id' | 'action'> & {
  /** The results of the targets that it depends on, by their names: the hash of each, and the id of the
   *  action that the cache has it under. A `map` or `cross` has no id: its branches have. */
  readonly inputs: { readonly [target: string]: { readonly hash: string; readonly id?: string } }
  /** The names of the targets that the elements of a branch come from, in their order. */
  readonly arrays?: readonly string[]
}

/** The record of the last failure of a target. A target whose call had not begun has an error only. */
export type FailedRecord = Partial<FailedOf> & {
  /** The run in which it failed. */
  readonly run: string
  readonly error: ErrorRecord
  /** The time of the failure, ms since 1970. */
  readonly at?: number
  /** The machine of the run. */
  readonly host?: CallHost
}

const record = within(
  shapeOf<FailedRecord>(
    {
      ...{ run: text, error: object, id: text, action: object, inputs: object },
      ...{ arrays: texts, at: number, host: object },
    },
    ['run', 'error'],
  ),
)

/** Returns the key of the last failure of a target. */
export function failedKey(target: string): string {
  return `failed/${encodeURIComponent(target)}`
}

/** Tells this machine. */
export function hostHere(): CallHost {
  const { platform, arch, version } = process
  return { name: hostname(), platform: `${platform} ${arch}`, node: version }
}

/** Reads the last failure of a target; undefined if it never failed. Throws EINVAL. */
export async function failedRecord(
  { store, flow }: Pick<FlowPlace, 'store' | 'flow'>,
  target: string,
): Promise<FailedRecord | undefined> {
  const scope = { namespace: namespaceOfFlow(flow) }
  const bytes = await store.get(failedKey(target), scope).catch(unless('ENONS'))
  if (!bytes) return undefined
  const what = `the failure of target ${target}`
  const failed = unpack(bytes, what)
  if (!record.is(failed)) throw new TailraceError('EINVAL', `${what} is not to be read`)
  return failed as FailedRecord
}
