/** Targets: what `target`, `map` and `cross` make of their arguments, which are checked here. See
 *  rfc/24, rules 1 to 3 and 6.
 *  Invariant: a TargetRecord is made by this file only, and never changes. Its sources were made before
 *  it, so that targets have no cycles, and it may be part of any number of runs. */

import { join, resolve } from 'node:path'
import {
  type CrossInputs,
  type CrossValues,
  type FailureMode,
  type FileInput,
  type FlowInput,
  type InputValues,
  inputDepthMax,
  inputsMax,
  type MapInputs,
  type MapValues,
  type NullIn,
  type PackedInput,
  retriesMax,
  retryDelayMax,
  type Target,
  type TargetOptions,
  targetNameSizeMax,
  type WantedTargets,
} from '../api/flow.js'
import {
  callback,
  checkOptions,
  checkValue,
  count,
  defined,
  invalid,
  list,
  oneOf,
  type Rule,
  shapeOf,
  shortName,
  waitMs,
} from '../base/shape.js'
import { checkPlain, fieldsOf, itemsOf, pathTo } from '../cache/packing.js'
import { TailraceError } from '../error.js'
import { listOf, objectOf, type Plan, resultOf } from './plan.js'

/** A function of a target as it is called: its parameters were checked by the compiler. */
export type TargetFunction = (...values: unknown[]) => unknown

/** Resources that a call takes while it runs, each with a number above 0, in the order of their names.
 *  Equal ones have equal keys. */
export type Needs = {
  readonly key: string
  readonly amounts: readonly (readonly [resource: string, amount: number])[]
}

/** The options of a target for its failures. */
export type FailureRules = Pick<TargetOptions, 'timeoutMs' | 'retries' | 'retryDelayMs' | 'onError'>

/** A target as a run sees it. */
export class TargetRecord {
  readonly type = 'target'
  readonly name: string
  readonly fn: TargetFunction
  /** The distinct targets among the inputs, in the order in which they stand there. */
  readonly sources: readonly TargetRecord[]
  /** The slots of the sources whose elements the branches go through; none if it has no branches. */
  readonly arrays: readonly number[]
  /** The plans of what the function gets, behind the elements. */
  readonly inputs: readonly Plan[]
  /** The slots of the sources whose results the function gets packed. */
  readonly packed: readonly number[]
  /** The absolute paths of the files among the inputs. */
  readonly files: readonly string[]
  readonly needs: Needs | undefined
  /** The label of the workers that may call it; undefined: all may. */
  readonly label: string | undefined
  readonly version: string | number | undefined
  readonly failure: FailureRules

  constructor(parts: Omit<TargetRecord, 'type'>) {
    const { name, fn, sources, arrays, inputs, packed, files } = parts
    const { needs, label, version, failure } = parts
    this.name = name
    this.fn = fn
    this.sources = sources
    this.arrays = arrays
    this.inputs = inputs
    this.packed = packed
    this.files = files
    this.needs = needs
    this.label = label
    this.version = version
    this.failure = failure
  }
}

/** A target whose result is taken packed. */
class PackedTarget {
  readonly type = 'packed'
  readonly target: TargetRecord

  constructor(target: TargetRecord) {
    this.target = target
  }
}

/** A file as an input. */
class FileRecord {
  readonly type = 'file'
  readonly path: string
  readonly absolute: string

  constructor(path: string, absolute: string) {
    this.path = path
    this.absolute = absolute
  }
}

/** Describes a target: the result of `fn`, which gets the values of the inputs in their order. An input
 *  is another target, whose result `fn` gets; `packed(target)`; a plain value; or an array or an
 *  object of inputs. Nobody may change what `fn` gets: others may get the same. Throws EINVAL, E2BIG
 *  (more than `inputsMax` inputs).
 *
 *      const text = target('text', ['in.txt'], (path) => readFile(path, 'utf8'))
 *      const lines = target('lines', [text], (text) => text.split('\n').length)
 */
export function target<
  const I extends readonly FlowInput[],
  R,
  M extends Exclude<FailureMode, 'trim'> = 'stop',
>(
  name: string,
  inputs: I,
  fn: (...values: InputValues<I>) => R,
  options?: TargetOptions<M>,
): Target<Awaited<R> | NullIn<M>> {
  return define('target', name, inputs, fn, options)
}

/** Describes the array of what `fn` returns for each element of the result of the first input, a
 *  target. `fn` gets the element, and the values of the other inputs. Each call is a branch: a
 *  target of its own, whose name is `NAME[I]`. Throws EINVAL, E2BIG (more than `inputsMax` inputs).
 *
 *      const files = target('files', ['src'], (directory) => readdir(directory))
 *      const sizes = map('sizes', [files, 'src'], async (file, directory) =>
 *        (await stat(`${directory}/${file}`)).size)
 */
export function map<const I extends MapInputs, R, M extends FailureMode = 'stop'>(
  name: string,
  inputs: I,
  fn: (...values: MapValues<I>) => R,
  options?: TargetOptions<M>,
): Target<(Awaited<R> | NullIn<M>)[]> {
  return define('map', name, inputs, fn, options)
}

/** Describes the array of what `fn` returns for each combination of elements of the results of its
 *  inputs, all of them targets; the last one changes fastest. Each call is a branch: a target of its
 *  own, whose name is `NAME[I,J,…]`. Throws EINVAL, E2BIG (more than `inputsMax` inputs).
 *
 *      const scores = cross('scores', [models, samples], (model, sample) => model.score(sample))
 */
export function cross<const I extends CrossInputs, R, M extends FailureMode = 'stop'>(
  name: string,
  inputs: I,
  fn: (...values: CrossValues<I>) => R,
  options?: TargetOptions<M>,
): Target<(Awaited<R> | NullIn<M>)[]> {
  return define('cross', name, inputs, fn, options)
}

/** Makes an input of a target whose function gets the result packed: to store it, or to open it if it
 *  needs it. The function has it until it ends. Throws EINVAL (it is no target).
 *
 *      const kept = target('kept', [packed(rows)], async (rows) => {
 *        await rows.store(store, 'rows')
 *      })
 */
export function packed<T>(target: Target<T>): PackedInput<T> {
  return new PackedTarget(asTarget(target, 'the argument of packed()'))
}

/** Makes an input of a file: the function gets its absolute path, and a target is made again when what is
 *  in the file differs. A path that is not absolute counts from the working directory. Throws EINVAL.
 *
 *      const rows = target('rows', [file('rows.csv')], (path) => readFile(path, 'utf8'))
 */
export function file(path: string): FileInput {
  checkValue('the path of file()', path, filePath)
  return new FileRecord(path, resolve(path)) as unknown as FileInput
}

/** Makes an input of a directory: the function gets its absolute path, which ends with `/`, and a target is
 *  made again when what is in it differs: names, contents, links, and which files can be executed; no times,
 *  no owners. A path that is not absolute counts from the working directory. Throws EINVAL.
 *
 *      const site = command('site', { run: ['mkdocs', 'build'], in: { docs: directory('docs') }, out })
 */
export function directory(path: string): FileInput {
  checkValue('the path of directory()', path, filePath)
  return new FileRecord(path.replace(/\/*$/, '/'), join(resolve(path), '/')) as unknown as FileInput
}

/** True for what `file` and `directory` make. */
export function isFile(input: unknown): input is FileInput {
  return input instanceof FileRecord
}

/** Returns the plan of a run's results, and the targets whose results it needs, by slot. Throws EINVAL
 *  for a value that is no target, and no array or object of targets. */
export function planWanted(wanted: WantedTargets): {
  readonly plan: Plan
  readonly sources: readonly TargetRecord[]
} {
  const planner = new Planner('targets')
  return { plan: planner.planOf(wanted, 'what run() is to make'), sources: planner.sources }
}

const filePath: Rule = {
  is: (value) =>
    typeof value === 'string' && value !== '' && !value.includes('\0') && value.isWellFormed(),
  expected: 'text without NUL',
}

/** Whole numbers by the names of resources. */
export const wholeNumbers: Rule = {
  is: (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((amount) => amount === undefined || count.is(amount)),
  expected: 'an object with a whole number, 0 or more, by the name of each resource',
}
const versions: Rule = {
  is: (value) => (typeof value === 'string' ? value.isWellFormed() : Number.isFinite(value)),
  expected: 'text, or a number that is finite',
}
/** The number of calls after the first one. */
export const retriesRule: Rule = {
  is: (value) => count.is(value) && Number(value) <= retriesMax,
  expected: `a whole number, 0 to ${retriesMax}`,
}
const delays: Rule = {
  is: (value) => count.is(value) && Number(value) <= retryDelayMax,
  expected: `a whole number of ms, 0 to ${retryDelayMax}`,
}
/** The answers to targets that fail. */
export const failureModes: Rule = oneOf('stop', 'continue', 'null', 'trim')
const all = shapeOf<TargetOptions>({
  ...{ version: versions, needs: wholeNumbers, label: shortName, onError: failureModes },
  ...{ timeoutMs: waitMs, retries: retriesRule, retryDelayMs: delays },
})
/** The rules of targets that have none of their own, which are most. */
const noFailureRules: FailureRules = {}

/** The number of sources that are sought one by one. */
const fewSources = 16
const noSlots: number[] = []
const noFiles: string[] = []

const nameShape = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/

type Kind = 'target' | 'map' | 'cross'

function define(
  kind: Kind,
  name: string,
  inputs: readonly unknown[],
  fn: unknown,
  options: TargetOptions = {},
): TargetRecord {
  checkName(name)
  const what = `${kind} ${name}`
  checkValue(`${what}: inputs`, inputs, list)
  checkValue(`${what}: the function`, fn, callback)
  checkOptions(options, all)
  if (kind === 'target' && options.onError === 'trim')
    throw invalid(`${what}: onError trim is for branches of map and cross, and for a whole run`)
  if (inputs.length > inputsMax) {
    const message = `${what} has ${inputs.length} inputs, more than ${inputsMax}: give an array of them as one`
    throw new TailraceError('E2BIG', message)
  }
  if (kind !== 'target' && inputs.length === 0)
    throw invalid(`${what} has no input: it needs a target whose result is an array`)
  const planner = new Planner('inputs')
  const path = `${what}: inputs`
  const elements = elementsOf(kind, inputs)
  // Arrays of the sizes that they have in the end: one that grows takes 16 places for the first item.
  const arrays = elements > 0 ? new Array<number>(elements) : noSlots
  const plans = new Array<Plan>(inputs.length - elements)
  for (const [at, input] of inputs.entries()) {
    if (at < elements) arrays[at] = planner.slotOf(asTarget(input, path, at))
    else plans[at - elements] = planner.planOf(input, path, at)
  }
  return new TargetRecord({
    name,
    fn: fn as TargetFunction,
    sources: planner.sources.slice(),
    arrays,
    inputs: plans,
    packed: planner.packed,
    files: planner.files,
    needs: needsOf(options.needs),
    label: options.label,
    version: options.version,
    failure: failureOf(options),
  })
}

/** Returns how many of the inputs are arrays that the branches go through. */
function elementsOf(kind: Kind, inputs: readonly unknown[]): number {
  if (kind === 'target') return 0
  return kind === 'map' ? 1 : inputs.length
}

function failureOf({ timeoutMs, retries, retryDelayMs, onError }: TargetOptions): FailureRules {
  const rules = defined({ timeoutMs, retries, retryDelayMs, onError })
  return Object.keys(rules).length === 0 ? noFailureRules : rules
}

function checkName(name: unknown): void {
  if (typeof name === 'string' && name.length <= targetNameSizeMax && nameShape.test(name)) return
  const shown = typeof name === 'string' ? JSON.stringify(name.slice(0, 100)) : `a ${typeof name}`
  throw invalid(
    `the name of a target is 1 to ${targetNameSizeMax} of A-Z, a-z, 0-9, "_", "." and "-", and begins with a letter, a digit or "_": not ${shown}`,
  )
}

function asTarget(value: unknown, parent: string, name?: number): TargetRecord {
  if (value instanceof TargetRecord) return value
  throw noTarget(pathOf(parent, name))
}

function pathOf(parent: string, name: string | number | undefined): string {
  return name === undefined ? parent : pathTo(parent, name)
}

function noTarget(path: string): TailraceError {
  return invalid(`${path} is no target: make one with target(), map() or cross()`)
}

function needsOf(needs: TargetOptions['needs']): Needs | undefined {
  if (!needs) return undefined
  const amounts = Object.entries(needs)
    .filter(([, amount]) => amount > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return amounts.length === 0 ? undefined : { key: JSON.stringify(amounts), amounts }
}

/** Makes the plans of one target, or of one run. Mutable; owned by the call that makes them. */
class Planner {
  readonly sources: TargetRecord[] = []
  readonly #takes: 'inputs' | 'targets'
  /** The slots of the sources, once there are many. */
  #slots: Map<TargetRecord, number> | undefined
  #packed: Set<number> | undefined
  #files: Set<string> | undefined

  /** `takes`: all that an input may be, or targets only. */
  constructor(takes: 'inputs' | 'targets') {
    this.#takes = takes
  }

  get packed(): readonly number[] {
    return this.#packed ? [...this.#packed] : noSlots
  }

  get files(): readonly string[] {
    return this.#files ? [...this.#files] : noFiles
  }

  slotOf(target: TargetRecord): number {
    const { sources } = this
    if (sources.length >= fewSources) {
      this.#slots ??= new Map(sources.map((source, slot) => [source, slot]))
    }
    const known = this.#slots ? this.#slots.get(target) : sources.indexOf(target)
    if (known !== undefined && known >= 0) return known
    const slot = sources.push(target) - 1
    this.#slots?.set(target, slot)
    return slot
  }

  /** Returns the plan of an input that stands in `depth` arrays and objects. Throws EINVAL, with the
   *  path of the input: `parent`, and its name there. */
  planOf(input: unknown, parent: string, name?: string | number, depth = 0): Plan {
    // Most are targets. Paths are made for others only, since to make one takes as long as all else.
    if (input instanceof TargetRecord) return resultOf(this.slotOf(input))
    const path = pathOf(parent, name)
    if (!isContainer(input)) return this.#leafOf(input, path)
    if (depth === inputDepthMax) throw invalid(`${path} is deeper than ${inputDepthMax} levels`)
    if (Array.isArray(input)) {
      return listOf(itemsOf(input, path).map((item, at) => this.planOf(item, path, at, depth + 1)))
    }
    return objectOf(
      fieldsOf(input, path).map(([name, field]) => [
        name,
        this.planOf(field, path, name, depth + 1),
      ]),
    )
  }

  #leafOf(input: unknown, path: string): Plan {
    if (this.#takes === 'targets') throw noTarget(path)
    if (input instanceof PackedTarget) {
      const slot = this.slotOf(input.target)
      this.#packed ??= new Set()
      this.#packed.add(slot)
      return { type: 'packed', slot }
    }
    if (input instanceof FileRecord) {
      this.#files ??= new Set()
      this.#files.add(input.absolute)
      return { type: 'file', path: input.path, absolute: input.absolute }
    }
    checkPlain(input, path)
    return { type: 'value', value: input }
  }
}

/** True for an array, and for any object but packed targets, files and bytes. */
function isContainer(input: unknown): input is object {
  return (
    typeof input === 'object' &&
    input !== null &&
    !(input instanceof PackedTarget) &&
    !(input instanceof FileRecord) &&
    !(input instanceof Uint8Array)
  )
}
