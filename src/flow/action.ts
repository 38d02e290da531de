/** The actions of targets: plain values that say all that a result depends on. See rfc/24, rule 16.
 *  Pure. */

import { StreamHash } from '../blob/hash.js'
import { pack } from '../cache/packing.js'
import type { CodeHashes } from './codes.js'
import { hexHashOf } from './modules.js'
import type { Plan } from './plan.js'
import type { TargetRecord } from './target.js'

/** The number of items above which an array of inputs is told by its hash. */
export const itemsMax = 1_000

/** The version of what actions say. */
export const flowVersion = 1

/** An input in an action. */
export type InputAction =
  | { readonly value: unknown }
  | { readonly result: string }
  | { readonly file: string; readonly hash: string }
  | { readonly items: readonly InputAction[] }
  | { readonly itemsHash: string }
  | { readonly fields: { readonly [name: string]: InputAction } }

/** The action of a target, or of a branch. */
export type TargetAction = CodeHashes & {
  readonly flow: typeof flowVersion
  readonly version?: string | number
  readonly inputs: readonly InputAction[]
  readonly elements?: readonly string[]
}

/** Returns the action of a target. `hashes` are those of the results of its sources, by slot;
 *  `elements` those of the elements of a branch, `files` those of the files, by absolute paths. */
export function actionOf(
  { inputs, version }: TargetRecord,
  code: CodeHashes,
  hashes: readonly string[],
  elements: readonly string[],
  files: ReadonlyMap<string, string>,
): TargetAction {
  return {
    flow: flowVersion,
    ...code,
    ...(version !== undefined && { version }),
    inputs: inputs.map((plan) => inputActionOf(plan, hashes, files)),
    ...(elements.length > 0 && { elements }),
  }
}

/** Returns an input as an action has it. */
export function inputActionOf(
  plan: Plan,
  hashes: readonly string[],
  files: ReadonlyMap<string, string>,
): InputAction {
  switch (plan.type) {
    case 'value':
      return { value: plan.value }
    case 'result':
    case 'packed':
      return { result: hashes[plan.slot] ?? '' }
    case 'file':
      return { file: plan.path, hash: files.get(plan.absolute) ?? '' }
    case 'list': {
      const items = plan.items.map((item) => inputActionOf(item, hashes, files))
      return items.length <= itemsMax ? { items } : { itemsHash: hexHashOf(pack(items, 'inputs')) }
    }
    case 'fields':
      return {
        fields: Object.fromEntries(
          plan.fields.map(([name, field]) => [name, inputActionOf(field, hashes, files)]),
        ),
      }
    default:
      return plan satisfies never
  }
}

/** Returns the hash of the result of a map or cross from the hashes of the results of its branches. */
export function hashOfBranches(hashes: readonly string[]): string {
  using hash = new StreamHash()
  for (const each of hashes) hash.update(Buffer.from(each, 'hex'))
  return hash.digest().toString('hex')
}
