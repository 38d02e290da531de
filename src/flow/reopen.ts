/** Reopens the last call of a target: writes what it was given into a directory, on any machine that
 *  reaches the store. See rfc/27, rules 2 to 4.
 *  Invariant: nothing is written to the store, and none of the code is needed. */

import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { inspect } from 'node:util'
import type { ActionDifference, Cache } from '../api/cache.js'
import type { FlowRuns, ReopenedCall, ReopenedInput, ReopenOptions } from '../api/flow-look.js'
import { makeDirectory } from '../base/make-directory.js'
import { openCache } from '../cache/cache.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import { openValues } from '../value/values.js'
import { hashOfBranches, type InputAction, type TargetAction } from './action.js'
import {
  CallValues,
  type ElementPlace,
  type PackedCall,
  writeCall,
  writeResult,
} from './call-directory.js'
import { type CommandInputs, commandEnvironment, layOut, placeSource } from './command.js'
import { type EachInputs, isCommandAction, withElement } from './commands.js'
import { branchesOf } from './failed-parts.js'
import { type CallSource, type LastCall, lastCall, resultHashesOf } from './last-call.js'
import { hexHashOf } from './modules.js'
import { differencesFrom } from './outdated.js'
import { type FlowPlace, placeOf } from './place.js'
import { type PrintedPlace, printed } from './printed.js'
import { restoreInput } from './restored-input.js'
import { moduleRecord } from './run-log.js'

/** The directory of copied files, of a command and of a function. */
const [commandFiles, inputFiles] = ['.tailrace/files', 'inputs']

/** Writes the last call of a target into a directory. `layer`: that of the results, if not that of the
 *  run; `runs`: those of the flow. Throws ENOENT (it was never called), EEXIST (the directory is not empty). */
export async function reopenCall(
  target: string,
  options: ReopenOptions & { readonly runs: FlowRuns },
): Promise<ReopenedCall> {
  const { directory, made = false, runs } = options
  const given = placeOf(options.store, options)
  const call = await lastCall(given, target, { made, runs })
  const place = { ...given, layer: options.layer ?? call.facts?.layer ?? given.layer }
  await makeEmpty(directory)
  const { run, failed, action, facts } = call
  const common = {
    ...({ target, run, directory: resolve(directory), state: failed ? 'failed' : 'made' } as const),
    ...(failed ?? {}),
    ...(facts?.origin && { origin: facts.origin }),
    ...(call.made && failed && { lastMade: call.made.run }),
  }
  if (!action) return { ...common, kind: 'none', inputs: [] }
  const log = await writeLog(directory, { ...place, run, target })
  const cache = openCache(place.store, { layer: place.layer })
  const packed = await new Fetch(place, cache, directory, call).packedCall(action)
  await writeCall(directory, packed)
  const isCommand = isCommandAction(action)
  const opened = isCommand
    ? { kind: 'command' as const, ...(await writeCommand(directory, packed)) }
    : { kind: 'function' as const, inputs: await writeInputs(directory, packed) }
  const { function: fn, module, version } = action
  const code = { function: fn, module, ...(version !== undefined && { version }) }
  const differences = await differencesOf(place, cache, call)
  return { ...common, ...log, ...opened, code, action, ...(differences && { differences }) }
}

/** Makes a directory, or takes an empty one. Throws EEXIST. */
async function makeEmpty(directory: string): Promise<void> {
  await makeDirectory(directory)
  if ((await readdir(directory)).length === 0) return
  throw new TailraceError('EEXIST', `${directory} is not empty: give a directory that is not there`)
}

/** Writes what a target of a run has printed, if it has. */
async function writeLog(
  directory: string,
  place: PrintedPlace,
): Promise<Pick<ReopenedCall, 'log'>> {
  const log = 'log.txt'
  try {
    const chunks: Uint8Array[] = []
    for await (const { data } of printed(place, {})) chunks.push(data)
    await writeFile(join(directory, log), Buffer.concat(chunks))
    return { log }
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return {}
  }
}

/** Compares the action of a call that failed with that of the last one that did not. */
async function differencesOf(
  place: FlowPlace,
  cache: Cache,
  { failed, made, action }: LastCall,
): Promise<readonly ActionDifference[] | undefined> {
  if (!failed || !made || !action) return undefined
  const module = await moduleRecord(place, action.module)
  const modules = new Map(module ? [[action.module, module]] : [])
  return differencesFrom(place, cache, made, action, modules)
}

/** Fetches what a call was given into its directory. Mutable; owned by one reopening. */
class Fetch {
  readonly #place: FlowPlace
  readonly #cache: Cache
  readonly #directory: string
  readonly #call: LastCall
  readonly #branches: Record<string, readonly string[]> = {}
  readonly #files: Record<string, string> = {}
  readonly #missing: Record<string, string> = {}
  readonly #fetched = new Set<string>()

  constructor(place: FlowPlace, cache: Cache, directory: string, call: LastCall) {
    this.#place = place
    this.#cache = cache
    this.#directory = directory
    this.#call = call
  }

  async packedCall(action: TargetAction): Promise<PackedCall> {
    const { target, run, failed, sources } = this.#call
    const needed = new Set(action.inputs.flatMap(resultHashesOf))
    if (action.inputs.some(hasLongItems)) for (const { hash } of sources) needed.add(hash ?? '')
    const known: Record<string, string> = {}
    for (const source of sources) {
      const hash = await this.#source(source, needed)
      if (hash !== undefined) known[source.name] = hash
    }
    for (const hash of needed) {
      if (!Object.values(known).includes(hash))
        this.#missing[hash] ??= 'its target was made anew since'
    }
    const elements = await this.#elements(action)
    const root = isCommandAction(action) ? commandFiles : inputFiles
    for (const [at, input] of action.inputs.entries()) {
      await this.#filesIn(input, `${root}/${elements.length + at}`)
    }
    const module = (await moduleRecord(this.#place, action.module)) ?? null
    return {
      ...{ target, run, action, module, sources: known, elements },
      ...{ branches: this.#branches, files: this.#files, missing: this.#missing },
      ...(failed && { error: failed.error }),
    }
  }

  /** Fetches a result if the call got it, and returns its hash. */
  async #source(source: CallSource, needed: ReadonlySet<string>): Promise<string | undefined> {
    const { name, hash, id } = source
    if (hash !== undefined && !needed.has(hash)) return hash
    if (hash !== undefined && (id !== undefined || (await this.#isNull(hash)))) {
      await this.#leaf(hash, id)
      return hash
    }
    const branches = await branchesOf(this.#place, name, hash)
    if (!branches) {
      if (hash !== undefined) this.#missing[hash] = 'its branches are not known any more'
      return hash
    }
    const of = hashOfBranches(branches.map((each) => each.hash))
    if (!needed.has(of)) return undefined
    this.#branches[of] = branches.map((each) => each.hash)
    for (const branch of branches) await this.#leaf(branch.hash, branch.id)
    return of
  }

  /** True for the hash of null, which stands for the result of a target that failed. */
  async #isNull(hash: string): Promise<boolean> {
    return hash === hexHashOf(await packedNull())
  }

  async #elements({ elements = [] }: TargetAction): Promise<readonly ElementPlace[]> {
    const { target, arrays, sources } = this.#call
    const indices = /\[([\d,]+)\]$/.exec(target)?.[1]?.split(',').map(Number) ?? []
    const found: ElementPlace[] = []
    for (const [at, hash] of elements.entries()) {
      const source = sources.find(({ name }) => name === arrays[at])
      found.push(await this.#element(hash, indices[at] ?? 0, source))
    }
    return found
  }

  async #element(
    hash: string,
    index: number,
    source: CallSource | undefined,
  ): Promise<ElementPlace> {
    if (!source) return { missing: 'the array that it is of is not known any more' }
    if (source.hash !== undefined && source.id !== undefined) {
      await this.#leaf(source.hash, source.id)
      const missing = this.#missing[source.hash]
      return missing === undefined ? { hash: source.hash, index } : { missing }
    }
    const branches = (await branchesOf(this.#place, source.name, source.hash)) ?? []
    const isIt = (each: { readonly hash: string } | undefined) => each?.hash === hash
    const branch = isIt(branches[index]) ? branches[index] : branches.find(isIt)
    if (!branch) return { missing: `no branch of ${source.name} has this result any more` }
    await this.#leaf(branch.hash, branch.id)
    const missing = this.#missing[branch.hash]
    return missing === undefined ? { hash: branch.hash } : { missing }
  }

  /** Fetches the packed bytes of a result, or says why they are missing. */
  async #leaf(hash: string, id: string | undefined): Promise<void> {
    if (this.#fetched.has(hash)) return
    this.#fetched.add(hash)
    try {
      const chunks = id === undefined ? oneOf(await packedNull()) : await this.#chunksOf(id)
      if (!chunks) this.#missing[hash] = 'the cache does not have it any more'
      else if ((await writeResult(this.#directory, hash, chunks)) !== hash) {
        this.#missing[hash] = 'it was made anew since, and is another one'
      }
    } catch (error) {
      if (!isCode(error, 'ENOENT') && !isCode(error, 'ECOMPACTED')) throw error
      this.#missing[hash] = reasonOf(error)
    }
  }

  async #chunksOf(id: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const hit = await this.#cache.results.load(id)
    return hit?.stream()
  }

  /** Copies the files among the inputs of a call. */
  async #filesIn(input: InputAction, directory: string): Promise<void> {
    if ('file' in input) await this.#file(input.file, input.hash, directory)
    if ('items' in input) for (const item of input.items) await this.#filesIn(item, directory)
    if ('fields' in input) {
      for (const field of Object.values(input.fields)) await this.#filesIn(field, directory)
    }
  }

  async #file(path: string, hash: string, directory: string): Promise<void> {
    if (Object.hasOwn(this.#files, path)) return
    const taken = new Set(Object.values(this.#files))
    const name = basename(path)
    const free = taken.has(`${directory}/${name}`) ? `${taken.size}-${name}` : name
    const copy = `${directory}/${free}`
    const to = join(this.#directory, copy)
    await mkdir(join(this.#directory, directory), { recursive: true })
    const base = this.#call.facts?.origin?.directory ?? '.'
    const missing = await restoreInput(this.#place, { file: path, hash }, to, base)
    if (missing === undefined) this.#files[path] = copy
    else this.#missing[path] = missing
  }
}

/** True for an input that has a long array, whose results the action does not tell. */
function hasLongItems(input: InputAction): boolean {
  if ('items' in input) return input.items.some(hasLongItems)
  if ('fields' in input) return Object.values(input.fields).some(hasLongItems)
  return 'itemsHash' in input
}

/** Returns the packed bytes of null. */
async function packedNull(): Promise<Uint8Array> {
  using packed = await openValues().pack(null)
  return await packed.bytes()
}

async function* oneOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** Writes what a function got, and tells where it stands. */
async function writeInputs(directory: string, call: PackedCall): Promise<readonly ReopenedInput[]> {
  const values = new CallValues(directory, call)
  const { action, elements, sources } = call
  await mkdir(join(directory, inputFiles), { recursive: true })
  const names = new Map(Object.entries(sources).map(([name, hash]) => [hash, name]))
  const told: ReopenedInput[] = []
  for (const at of elements.keys()) {
    const name = `${told.length}-element`
    told.push(await writeInput(directory, name, () => values.element(at)))
  }
  for (const input of action.inputs) {
    const of = 'result' in input ? names.get(input.result) : undefined
    // A name comes from the store, and may name no other place.
    const name = of === undefined ? String(told.length) : `${told.length}-${basename(of)}`
    if ('file' in input && call.files[input.file] !== undefined) {
      told.push({ name, path: call.files[input.file] ?? '' })
    } else told.push(await writeInput(directory, name, () => values.input(input)))
  }
  return told
}

async function writeInput(
  directory: string,
  name: string,
  value: () => Promise<unknown>,
): Promise<ReopenedInput> {
  try {
    const { ending, content } = contentOf(await value())
    const path = `${inputFiles}/${name}.${ending}`
    await writeFile(join(directory, path), content)
    return { name, path }
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return { name, missing: error.message }
  }
}

/** Returns a value as a file has it, and the ending of its name. */
function contentOf(value: unknown): {
  readonly ending: string
  readonly content: string | Uint8Array
} {
  if (typeof value === 'string') return { ending: 'txt', content: value }
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, byteLength } = value
    return { ending: 'bin', content: new Uint8Array(buffer, byteOffset, byteLength) }
  }
  const plain = jsonOf(value)
  if (plain !== undefined) return { ending: 'json', content: `${JSON.stringify(plain, null, 2)}\n` }
  const shown = inspect(value, { depth: null, maxArrayLength: null, maxStringLength: null })
  return { ending: 'txt', content: `${shown}\n` }
}

/** Returns a value as JSON has it, bytes as `{"base64"}` and a bigint as `{"bigint"}`; undefined for one
 *  that JSON has not. */
function jsonOf(value: unknown): unknown {
  if (typeof value === 'bigint') return { bigint: String(value) }
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) {
    const items = value.map(jsonOf)
    return items.includes(undefined) ? undefined : items
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return undefined
  const fields = Object.entries(value).map(([name, field]) => [name, jsonOf(field)] as const)
  return fields.some(([, field]) => field === undefined) ? undefined : Object.fromEntries(fields)
}

/** Lays out the directory of a command, and tells what it was called with. */
async function writeCommand(
  directory: string,
  call: PackedCall,
): Promise<Pick<ReopenedCall, 'command' | 'inputs'>> {
  const values = new CallValues(directory, call)
  try {
    const inputs: unknown[] = []
    for (const input of call.action.inputs) inputs.push(await values.input(input))
    const isEach = call.elements.length > 0
    const given = (
      isEach ? withElement(await values.element(0), ...(inputs as EachInputs)) : inputs
    ) as CommandInputs
    const [command, files, source] = given
    const work = join(directory, 'work')
    await mkdir(work)
    await layOut(work, command, files)
    if (source) await placeSource(join(directory, 'stdin'), source)
    const { run, env, out, cwd } = command
    const more = { ...(out && { out }), ...(cwd !== undefined && { cwd }) }
    const told = { run, env: commandEnvironment(env), stdin: source !== null, ...more }
    return { command: told, inputs: [] }
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return { inputs: [{ name: 'work', missing: error.message }] }
  }
}
