/** The hash of a graph: of all that the actions of its targets are made of, but for the results of others,
 *  which follow from it. See rfc/24, rule 38.
 *  Invariant: of two graphs with one hash, a run makes the same actions in layers that have the same results.
 *  The order of the targets counts, so that a hash may differ where the actions do not. */

import type { LoopSlice } from '../base/loop-slice.js'
import { encode, type Plain } from '../blob/codec.js'
import { StreamHash } from '../blob/hash.js'
import { pack } from '../cache/packing.js'
import { flowVersion } from './action.js'
import type { CodeHashes, RunCodes } from './codes.js'
import type { Step } from './graph.js'
import { hashPieces } from './modules.js'
import type { Plan } from './plan.js'

/** The number of steps that are encoded and hashed in one go. */
const stepsAtOnce = 64

/** The codes and files of a graph, of which its hash is made besides. */
export type GraphParts = {
  readonly codes: RunCodes
  /** Returns the hash of what is at the absolute path of a file or directory. */
  readonly fileHash: (path: string) => string | Promise<string>
}

/** Returns the hash of steps that are no branches, 64 hex digits. Throws what `RunCodes.of` and `fileHash`
 *  throw. */
export async function graphHash(
  steps: readonly Step[],
  { codes, fileHash }: GraphParts,
  slice: LoopSlice,
): Promise<string> {
  const hashes = await codes.ofAll(steps.map(({ target }) => target.fn))
  const known = new CodeNumbers()
  using hash = new StreamHash()
  hashPieces(hash, encode(['graph', flowVersion]))
  for (let from = 0; from < steps.length; from += stepsAtOnce) {
    if (slice.over) await slice.turn()
    const some = steps.slice(from, from + stepsAtOnce)
    const files = new Map<string, string>()
    for (const path of new Set(some.flatMap(({ target }) => target.files))) {
      files.set(path, await fileHash(path))
    }
    const plain = some.map((step, at) => {
      const code = hashes[from + at]
      if (!code) throw new Error('each function has a code')
      return plainOf(step, known.of(code), files)
    })
    hashPieces(hash, encode(plain))
  }
  hashPieces(hash, encode(known.all))
  return hash.digest().toString('hex')
}

/** The codes of a graph by numbers: many targets have one code. */
class CodeNumbers {
  readonly #numbers = new Map<CodeHashes, number>()

  of(code: CodeHashes): number {
    const known = this.#numbers.get(code)
    if (known !== undefined) return known
    const number = this.#numbers.size
    this.#numbers.set(code, number)
    return number
  }

  /** The hashes of the codes in the order of their numbers. */
  get all(): readonly string[] {
    return [...this.#numbers.keys()].flatMap(({ function: fn, module }) => [fn, module])
  }
}

function plainOf(
  { target, sources }: Step,
  code: number,
  files: ReadonlyMap<string, string>,
): readonly Plain[] {
  const { name, version = null, arrays, inputs } = target
  return [
    name,
    code,
    version,
    arrays,
    sources.map(({ index }) => index),
    inputs.map((plan) => plainOfPlan(plan, files)),
  ]
}

function plainOfPlan(plan: Plan, files: ReadonlyMap<string, string>): Plain {
  switch (plan.type) {
    case 'value':
      return ['value', pack(plan.value, 'an input')]
    case 'result':
    case 'packed':
      return plan.slot
    case 'file':
      return ['file', plan.path, files.get(plan.absolute) ?? '']
    case 'list':
      return ['list', ...plan.items.map((item) => plainOfPlan(item, files))]
    case 'fields':
      return [
        'fields',
        ...plan.fields.flatMap(([name, field]) => [name, plainOfPlan(field, files)]),
      ]
    default:
      return plan satisfies never
  }
}
