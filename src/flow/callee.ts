/** The end of a call in a worker: finds the target among those that modules export, checks that its code
 *  is that of the run, opens its inputs, calls its function and packs the result. See rfc/25, rules 3
 *  to 5.
 *  Invariant: inputs are kept until the scheduler drops them, since it counts what the worker has. What
 *  a call has taken stays until that call has ended. */

import { pathToFileURL } from 'node:url'
import { deserialize } from 'node:v8'
import { targetsMax } from '../api/flow.js'
import type { Packed, PackedValues } from '../api/value.js'
import { invalid, isContainer } from '../base/shape.js'
import { reasonOf, TailraceError } from '../error.js'
import type { Print } from '../eventlog/stdio.js'
import { newTimings, openValues } from '../value/values.js'
import type { CallTimes, InputTree, PackedTask } from './caller.js'
import { TargetCall } from './calls.js'
import { RunCodes } from './codes.js'
import { definingModules } from './definition.js'
import { codecOf } from './in-process.js'
import { hexHashOf } from './modules.js'
import { follow, type Plan, resultSlotsOf } from './plan.js'
import { TargetRecord } from './target.js'

/** The packed bytes of an input. */
type Held = {
  readonly packed: Promise<Packed<unknown>>
  /** The calls that have taken it. */
  uses: number
  /** True once the scheduler has dropped it. */
  isDropped: boolean
}

/** The result of a call: packed bytes. */
export type CalledResult = { readonly bytes: Uint8Array; readonly times: CallTimes }

/** A call whose inputs are here. It is either run or released. */
export type TakenCall = { readonly task: PackedTask; readonly held: ReadonlyMap<string, Held> }

/** Calls functions of targets. Mutable; owned by the program of a worker. */
export class Callee {
  readonly #targets: ReadonlyMap<string, readonly TargetRecord[]>
  readonly #codes = new RunCodes()
  /** The packed bytes are bounded by the scheduler. */
  readonly #values: PackedValues = openValues({ packedMax: Number.MAX_SAFE_INTEGER })
  readonly #held = new Map<string, Held>()
  readonly #checked = new Map<TargetRecord, string>()

  private constructor(targets: ReadonlyMap<string, readonly TargetRecord[]>) {
    this.#targets = targets
    this.#codes.expect([...targets.values()].flat().map(({ fn }) => fn))
  }

  /** Imports modules, by their paths, one after the other. Throws EINVAL (one cannot be imported; none
   *  exports a target). */
  static async of(modules: readonly string[]): Promise<Callee> {
    const exported: object[] = []
    for (const path of modules) exported.push(await imported(path))
    const targets = new Map<string, TargetRecord[]>()
    for (const target of reachableFrom(exported)) {
      targets.set(target.name, [...(targets.get(target.name) ?? []), target])
    }
    if (targets.size > 0) return new Callee(targets)
    throw invalid(
      `no target of this copy of tailrace/flow is exported by ${modules.join(', ')}: workers need a ` +
        'module that exports the targets',
    )
  }

  /** Keeps the packed bytes of an input. */
  keep(key: string, bytes: Uint8Array): void {
    this.#held.set(key, { packed: this.#values.of(bytes), uses: 0, isDropped: false })
  }

  /** Drops an input that the scheduler does not count any more. */
  drop(key: string): void {
    const held = this.#held.get(key)
    this.#held.delete(key)
    if (!held) return
    held.isDropped = true
    free(held)
  }

  /** Takes the inputs of a call. REQUIRES: all were kept. */
  take(task: PackedTask): TakenCall {
    const held = new Map<string, Held>()
    const visit = (tree: InputTree): void => {
      if (typeof tree !== 'string') {
        tree.forEach(visit)
        return
      }
      const one = this.#held.get(tree)
      if (!one) throw new Error(`the input ${tree} of ${task.target} was not sent`)
      if (held.has(tree)) return
      one.uses++
      held.set(tree, one)
    }
    for (const [, tree] of task.inputs) visit(tree)
    task.elements.forEach(visit)
    return { task, held }
  }

  /** Ends the use of the inputs of a call. */
  release({ held }: TakenCall): void {
    for (const one of held.values()) {
      one.uses--
      free(one)
    }
  }

  /** Reads the code of all targets, as it is now, and returns a hash of it. */
  async readCode(): Promise<string> {
    const all = [...this.#targets.values()].flat()
    const codes = await Promise.all(
      // One without a code is refused when it is called.
      all.map(async (target) => `${target.name} ${await this.#codeOf(target).catch(() => '')}`),
    )
    return hexHashOf(Buffer.from(codes.sort().join('\n')))
  }

  /** Calls the function, which prints to `print`, and returns the packed bytes of its result, in memory of
   *  their own. Throws what the function throws. */
  async run(
    { task, held }: TakenCall,
    target: TargetRecord,
    { signal, print }: { readonly signal: AbortSignal; readonly print: Print },
  ): Promise<CalledResult> {
    const timings = newTimings()
    const call = new TargetCall(signal)
    if (task.keepsOutput) call.printTo(print)
    const packedHere: Packed<unknown>[] = []
    try {
      const leaves = new Map<string, Packed<unknown>>()
      for (const [key, { packed }] of held) leaves.set(key, await packed)
      const trees = new Map(task.inputs)
      const plans: readonly Plan[] = deserialize(task.plans)
      const packed: Packed<unknown>[] = []
      for (const slot of task.packed) {
        const tree = trees.get(slot) ?? ''
        packed[slot] = await this.#packedOf(tree, leaves, packedHere)
      }
      const slots = [...new Set(plans.flatMap(resultSlotsOf))]
      const opened = [...task.elements, ...slots.map((slot) => trees.get(slot) ?? '')]
      const value = await this.#withOpened(opened, leaves, { timings, signal }, (values) => {
        const results: unknown[] = []
        for (const [at, slot] of slots.entries()) results[slot] = values[task.elements.length + at]
        const given = values.slice(0, task.elements.length)
        for (const plan of plans) given.push(follow(plan, results, packed))
        return call.run(target.fn, given)
      })
      using result = await this.#values.pack(value ?? null, codecOf(value), { timings })
      const bytes = await result.bytes()
      // Bytes that are a view of memory of the function are copied: the memory stays the function's.
      const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : Uint8Array.from(bytes)
      const { unpack: unpackMs, run: runMs, pack: packMs } = timings.times
      return { bytes: own, times: { unpackMs, runMs, packMs } }
    } finally {
      call.end()
      for (const each of packedHere) each[Symbol.dispose]()
    }
  }

  /** Opens trees of inputs with one claim on memory. */
  #withOpened<R>(
    trees: readonly InputTree[],
    leaves: ReadonlyMap<string, Packed<unknown>>,
    options: Parameters<Packed<unknown>['open']>[0],
    fn: (values: unknown[]) => R | Promise<R>,
  ): Promise<R> {
    const keys = trees.flatMap(keysOf)
    const packed = keys.flatMap((key) => leaves.get(key) ?? [])
    return this.#values.useAll(
      packed,
      (...opened) => {
        let next = 0
        const builtOf = (tree: InputTree): unknown =>
          typeof tree === 'string' ? opened[next++] : tree.map(builtOf)
        return fn(trees.map(builtOf))
      },
      options,
    )
  }

  async #packedOf(
    tree: InputTree,
    leaves: ReadonlyMap<string, Packed<unknown>>,
    packedHere: Packed<unknown>[],
  ): Promise<Packed<unknown>> {
    const leaf = typeof tree === 'string' ? leaves.get(tree) : undefined
    if (leaf) return leaf
    const packed = await this.#withOpened([tree], leaves, {}, ([array]) => this.#values.pack(array))
    packedHere.push(packed)
    return packed
  }

  /** Returns the target that a call names, with the code that the run has. Throws ECONFLICT (the code
   *  differs), EINVAL (there is no such target). */
  async find(task: PackedTask): Promise<TargetRecord> {
    const named = this.#targets.get(task.target)
    if (!named) {
      throw invalid(
        `a worker finds no target ${task.target}: its module must export it, or one that depends on it`,
      )
    }
    const wanted = `${task.function} ${task.module}`
    const fitting: TargetRecord[] = []
    for (const target of named) if ((await this.#codeOf(target)) === wanted) fitting.push(target)
    const [only, other] = fitting
    if (other) {
      throw invalid(
        `modules of workers export two targets ${task.target}: give each a name of its own, or workers`,
      )
    }
    if (only) return only
    const here = named[0] ? await this.#codeOf(named[0]) : ''
    throw await differing(task, named[0], here)
  }

  /** Returns the hashes of a target's function and of its module. */
  async #codeOf(target: TargetRecord): Promise<string> {
    const known = this.#checked.get(target)
    if (known !== undefined) return known
    const code = await this.#codes.of(target.fn)
    const hashes = `${code.function} ${code.module}`
    this.#checked.set(target, hashes)
    return hashes
  }
}

/** Returns the error for a target whose code is not that of the run. */
async function differing(
  task: PackedTask,
  target: TargetRecord | undefined,
  here: string,
): Promise<TailraceError> {
  const [path] = target ? await definingModules([target.fn]) : []
  const [fn = '', module = ''] = here.split(' ')
  const isText = fn !== task.function
  const [theirs, ours] = isText ? [task.function, fn] : [task.module, module]
  const what = isText ? 'the function' : 'the module'
  return new TailraceError(
    'ECONFLICT',
    `${what} of target ${task.target} differs in a worker: the run has ${theirs}, the worker ${ours} ` +
      `of ${path}: start the program again, so that both load what is there now`,
  )
}

async function imported(path: string): Promise<object> {
  try {
    return await import(pathToFileURL(path).href)
  } catch (cause) {
    const message = `a worker cannot import ${path}: ${reasonOf(cause)}`
    throw new TailraceError('EINVAL', message, { cause })
  }
}

/** Returns the targets that modules export, by themselves or in arrays and objects, and all that these
 *  depend on. */
function reachableFrom(modules: readonly object[]): ReadonlySet<TargetRecord> {
  const reached = new Set<TargetRecord>()
  const containers = new Set<object>(modules)
  // The sets grow while they are walked.
  for (const container of containers) {
    for (const value of Object.values(container)) {
      if (value instanceof TargetRecord) reached.add(value)
      else if (isContainer(value)) containers.add(value)
      if (containers.size + reached.size > targetsMax) return reached
    }
  }
  for (const { sources } of reached) for (const source of sources) reached.add(source)
  return reached
}

function keysOf(tree: InputTree): readonly string[] {
  return typeof tree === 'string' ? [tree] : tree.flatMap(keysOf)
}

function free({ packed, uses, isDropped }: Held): void {
  // One that was no packed value fails the calls that take it.
  if (isDropped && uses === 0) packed.then((value) => value[Symbol.dispose]()).catch(() => {})
}
