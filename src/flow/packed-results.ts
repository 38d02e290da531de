/** Results that stay packed until a function needs them. See rfc/24, rules 3 and 18.
 *  Invariant: two results with one hash have the same packed bytes. What opens results opens all that it
 *  needs with one claim on memory. */

import type { StoredOutput } from '../api/cache.js'
import type { Packed, PackedValues } from '../api/value.js'
import { invalid } from '../base/shape.js'
import { StreamHash } from '../blob/hash.js'
import { hashOfBranches } from './action.js'
import type { Step } from './graph.js'

/** The size of the pieces in which packed bytes are hashed. */
const pieceSize = 1024 * 1024

/** A result: its hash, and its packed value; for a map or cross the results of its branches. */
export type KeptResult = {
  readonly hash: string
  readonly packed: Packed<unknown> | readonly KeptResult[]
  /** The id of the action that the cache has it under; none for a map or cross, and for the null of a
   *  target that failed. */
  readonly id?: string
  /** The place of the packed bytes in the cache; none for small ones, which came with the result. */
  readonly place?: StoredOutput & { readonly size: number }
}

/** An element of an opened array, and its hash. */
export type OpenedElement = { readonly hash: string; readonly value: unknown }

/** An element of a branch: the result of another branch, or an element of an array. */
export type BranchElement = KeptResult | OpenedElement

/** The packed results of a run. It holds nothing but the values that they are opened with. */
export class PackedResults {
  readonly values: PackedValues

  constructor(values: PackedValues) {
    this.values = values
  }

  /** Returns the arrays whose elements the branches of a map or cross go through. Throws EINVAL. */
  async arraysOf(
    step: Step,
    inputs: readonly KeptResult[],
  ): Promise<readonly (readonly BranchElement[])[]> {
    const arrays: (readonly BranchElement[])[] = []
    for (const slot of step.target.arrays) {
      const { packed } = inputs[slot] as KeptResult
      arrays.push(isBranches(packed) ? packed : await this.#elementsOf(step, slot, packed))
    }
    return arrays
  }

  /** Returns the result of a map or cross. */
  gather(branches: readonly KeptResult[]): KeptResult {
    return { hash: hashOfBranches(branches.map(({ hash }) => hash)), packed: branches }
  }

  /** Gives back the memory of a result that nobody needs any more. */
  drop({ packed }: KeptResult): void {
    if (isBranches(packed)) for (const branch of packed) this.drop(branch)
    else packed[Symbol.dispose]()
  }

  /** Opens results with one claim on memory, and calls `fn` with their values. */
  withOpened<R>(
    results: readonly KeptResult[],
    fn: (...values: unknown[]) => R | Promise<R>,
  ): Promise<R> {
    const leaves = results.flatMap(leavesOf)
    return this.values.useAll(leaves, (...opened) => {
      let next = 0
      const builtOf = ({ packed }: KeptResult): unknown =>
        isBranches(packed) ? packed.map(builtOf) : opened[next++]
      return fn(...results.map(builtOf))
    })
  }

  /** Opens results, and returns their values as nobody changes them; undefined for those that are not
   *  there. */
  opened(results: readonly (KeptResult | undefined)[]): Promise<readonly unknown[]> {
    const there = results.filter((result) => result !== undefined)
    return this.withOpened(there, (...values) => {
      let next = 0
      return results.map((result) => result && values[next++])
    })
  }

  /** Packs the results of branches as one array. */
  packAll(branches: readonly KeptResult[]): Promise<Packed<unknown>> {
    return this.withOpened(branches, (...array) => this.values.pack(array))
  }

  /** Opens an array whose elements branches go through. */
  async #elementsOf(
    { target, sources }: Step,
    slot: number,
    packed: Packed<unknown>,
  ): Promise<readonly OpenedElement[]> {
    const { values } = this
    return packed.use(async (array) => {
      if (!Array.isArray(array)) {
        throw invalid(
          `the result of ${sources[slot]?.name}, which ${target.name} goes through, is no array`,
        )
      }
      const elements: OpenedElement[] = []
      for (const value of array) {
        using element = await values.pack(value)
        elements.push({ hash: await hashOf(element), value })
      }
      return elements
    })
  }
}

/** True for the results of branches. */
export function isBranches(packed: KeptResult['packed']): packed is readonly KeptResult[] {
  return Array.isArray(packed)
}

/** Returns the packed values that a result is made of. */
function leavesOf({ packed }: KeptResult): readonly Packed<unknown>[] {
  return isBranches(packed) ? packed.flatMap(leavesOf) : [packed]
}

/** Returns the hash of packed bytes. */
export async function hashOf(packed: Packed<unknown>): Promise<string> {
  using hash = new StreamHash()
  for await (const chunk of packed.stream()) {
    for (let at = 0; at < chunk.length; at += pieceSize) {
      hash.update(chunk.subarray(at, at + pieceSize))
    }
  }
  return hash.digest().toString('hex')
}
