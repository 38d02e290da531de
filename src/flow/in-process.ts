/** The maker of runs without a store: it calls functions in this process, and keeps nothing. See rfc/24,
 *  rules 2, 3 and 11. */

import type { CodecName, Packed, PackedValues } from '../api/value.js'
import { invalid } from '../base/shape.js'
import { openValues } from '../value/values.js'
import type { TargetCall } from './calls.js'
import type { Step } from './graph.js'
import type { CallPorts, Maker } from './maker.js'
import { follow } from './plan.js'

/** The maker. Mutable; owned by its run. Its results are the values themselves. */
export class InProcess implements Maker<unknown> {
  /** The packed results that functions asked for, each packed once. */
  readonly #packs = new Map<Step, Promise<Packed<unknown>>>()
  #values: PackedValues | undefined

  make(step: Step, inputs: readonly unknown[], { call, begin }: CallPorts): unknown {
    begin()
    return call.within(() => {
      if (step.target.packed.length > 0) return this.#makeWithPacked(step, inputs, call)
      return call.run(step.target.fn, argumentsOf(step, inputs))
    })
  }

  arraysOf({ target, sources }: Step, inputs: readonly unknown[]): readonly (readonly unknown[])[] {
    return target.arrays.map((slot) => {
      const array = inputs[slot]
      if (Array.isArray(array)) return array
      throw invalid(
        `the result of ${sources[slot]?.name}, which ${target.name} goes through, is no array`,
      )
    })
  }

  gather(_step: Step, branches: readonly unknown[]): unknown {
    return branches
  }

  nothing(): null {
    return null
  }

  drop(_value: unknown, step: Step): void {
    const pack = this.#packs.get(step)
    if (!pack) return
    this.#packs.delete(step)
    // One that could not be packed failed its target.
    pack.then((packed) => packed[Symbol.dispose]()).catch(() => {})
  }

  async #makeWithPacked(
    step: Step,
    inputs: readonly unknown[],
    call: TargetCall,
  ): Promise<unknown> {
    const { target, sources } = step
    const packed: unknown[] = []
    for (const slot of target.packed) {
      const source = sources[slot]
      if (source) packed[slot] = await this.#pack(source, inputs[slot])
    }
    return call.run(target.fn, argumentsOf(step, inputs, packed))
  }

  #pack(source: Step, value: unknown): Promise<Packed<unknown>> {
    // No bound, since results are in memory without one, and a call that waited for memory would keep
    // its place from those that give some back.
    const max = Number.MAX_SAFE_INTEGER
    this.#values ??= openValues({ packedMax: max, openedMax: max })
    const pack = this.#packs.get(source) ?? this.#values.pack(value, codecOf(value))
    this.#packs.set(source, pack)
    return pack
  }
}

/** Returns what the function of a step gets: the elements of a branch, then the other inputs. */
function argumentsOf(
  { elements: values, target }: Step,
  inputs: readonly unknown[],
  packed?: readonly unknown[],
): readonly unknown[] {
  for (const plan of target.inputs) values.push(follow(plan, inputs, packed))
  return values
}

/** Returns the codec that copies nothing, where there is one for the value. */
export function codecOf(value: unknown): CodecName {
  if (value instanceof Uint8Array) return 'bytes'
  return ArrayBuffer.isView(value) && !(value instanceof DataView) ? 'array' : 'msgpack'
}
