/** The targets of a file that `tailrace flow` is given, and the room `flow` that made them. See
 *  rfc/24, rule 24.
 *  Invariant: the targets run in the copy of `tailrace/flow` that made them, which is that of the
 *  file's project. The command is built into files of its own, whose copy would not know them. */

import { realpath } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import type { FlowWorkers, FlowWorkersOptions, Target } from '../api/flow.js'
import { invalid, isContainer } from '../base/shape.js'
import { hasSystemCode, reasonOf, TailraceError } from '../error.js'
import type { Output } from './output.js'
import { absolutePath } from './utf8.js'

/** The largest number of names that a message lists. */
const namesShown = 50
/** The most arrays and objects that targets are looked for in. */
const containersMax = 10_000

type FlowRoom = typeof import('../flow/flow.js')
type WorkerRoom = typeof import('../worker/worker.js')
/** The numbers of workers, and the store whose workers take part. */
type WorkerCounts = Pick<FlowWorkersOptions, 'processes' | 'threads' | 'remote'>

/** The targets of a file, and the calls that take them. */
export type FileTargets = {
  readonly targets: readonly Target<unknown>[]
  readonly room: FlowRoom
  /** Starts workers that import the file. */
  readonly openWorkers: (counts: WorkerCounts) => Promise<FlowWorkers>
}

/** Imports a file and returns its exported targets: those that are named, or all. What went wrong while
 *  it was imported is written to `log` with its stack. Throws ENOENT, and EINVAL: it cannot be
 *  imported; it exports no target, none of such a name, or one of another copy of the room. */
export async function targetsOf(
  { file, names }: { readonly file: string; readonly names: readonly string[] },
  log: Output | undefined,
): Promise<FileTargets> {
  const path = await pathOf(file)
  if (isTypeScript(path)) await loadTypeScript(path)
  const all = targetsIn(await imported(path, log))
  if (all.length === 0) {
    const example = "export const name = target('name', [], fn)"
    throw invalid(`${file} exports no target: it needs a line such as ${example}`)
  }
  const from = roomFile('tailrace/flow', path)
  const room: FlowRoom = await import(pathToFileURL(from).href)
  for (const each of all) checkCopy(each, room, `${from}, which ${file} finds as tailrace/flow`)
  const openWorkers = async (counts: WorkerCounts) => {
    const workers: WorkerRoom = await import(pathToFileURL(roomFile('tailrace/worker', path)).href)
    const module = modulesOf(path)
    if (module.length > 1 && (counts.threads ?? 0) > 0) {
      throw invalid(`tsx does not load TypeScript in threads: use --workers for ${file}`)
    }
    return workers.openWorkers({ ...counts, module })
  }
  return { targets: names.length === 0 ? all : named(all, names, file), room, openWorkers }
}

/** Finds files for a worker that is to join a store, and imports none: the modules that its processes
 *  import, and the room that starts them. Throws ENOENT. */
export async function workersFor(
  files: readonly string[],
): Promise<{ readonly room: WorkerRoom; readonly modules: readonly string[] }> {
  const paths: string[] = []
  for (const file of files) paths.push(await pathOf(file))
  const from = roomFile('tailrace/worker', paths[0] ?? '')
  const room: WorkerRoom = await import(pathToFileURL(from).href)
  return { room, modules: [...new Set(paths.flatMap(modulesOf))] }
}

/** Returns the modules by which a worker imports a file as this process does: with tsx where that is
 *  installed. */
function modulesOf(path: string): readonly string[] {
  const tsx = isTypeScript(path) ? found('tsx', path) : undefined
  return tsx === undefined ? [path] : [tsx, path]
}

/** Returns the real path of a file. Throws ENOENT. */
async function pathOf(file: string): Promise<string> {
  return realpath(absolutePath(file)).catch((error: unknown) => {
    if (hasSystemCode(error, 'ENOENT'))
      throw new TailraceError('ENOENT', `there is no file ${file}`)
    throw error
  })
}

function isTypeScript(path: string): boolean {
  return ['.ts', '.mts', '.cts', '.tsx'].includes(extname(path))
}

/** Imports a file. Throws EINVAL. */
async function imported(path: string, log: Output | undefined): Promise<object> {
  try {
    return await import(pathToFileURL(path).href)
  } catch (error) {
    await log?.lines(inspect(error).split('\n'))
    throw new TailraceError('EINVAL', `${path} cannot be imported: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}

/** Makes this process import TypeScript: with tsx where the project of the file has it, whose main
 *  module does that when it is imported; else as Node does by itself. Throws EINVAL. */
async function loadTypeScript(path: string): Promise<void> {
  const tsx = found('tsx', path)
  if (tsx !== undefined) return void (await import(pathToFileURL(tsx).href))
  if ('typescript' in process.features && process.features.typescript) return
  throw invalid(
    `this Node (${process.version}) does not run ${path}: npm install --save-dev tsx in its project, ` +
      'or use Node 22.18 or later',
  )
}

/** Returns the file of a part of the package as a module at `path` imports it; else that of this
 *  program. */
function roomFile(part: 'tailrace/flow' | 'tailrace/worker', path: string): string {
  return found(part, path) ?? createRequire(import.meta.url).resolve(part)
}

/** Throws EINVAL for a target that another copy of the room made. */
function checkCopy(target: Target<unknown>, room: FlowRoom, from: string): void {
  try {
    room.packed(target)
  } catch {
    throw invalid(`the target ${target.name} was not made by ${from}: import one copy only`)
  }
}

/** Returns the file that a module at `path` gets for `specifier`; undefined where there is none. */
function found(specifier: string, path: string): string | undefined {
  try {
    return createRequire(path).resolve(specifier)
  } catch {
    return undefined
  }
}

/** Returns the targets that a module exports, by themselves and in arrays and objects. */
function targetsIn(exported: object): readonly Target<unknown>[] {
  const targets = new Set<Target<unknown>>()
  const containers = new Set([exported])
  // The set grows while it is walked.
  for (const container of containers) {
    for (const value of Object.values(container)) {
      if (isTarget(value)) targets.add(value)
      else if (isContainer(value) && containers.size < containersMax) containers.add(value)
    }
  }
  return [...targets]
}

/** True for a target of any copy of `tailrace/flow`. */
function isTarget(value: unknown): value is Target<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    'type' in value &&
    value.type === 'target' &&
    'name' in value &&
    typeof value.name === 'string'
  )
}

function named(
  all: readonly Target<unknown>[],
  names: readonly string[],
  file: string,
): readonly Target<unknown>[] {
  return [...new Set(names)].map((name) => {
    const target = all.find((each) => each.name === name)
    if (target) return target
    const there = all.slice(0, namesShown).map((each) => each.name)
    const more = all.length > namesShown ? `, and ${all.length - namesShown} more` : ''
    throw invalid(`${file} exports no target ${name}; it has ${there.join(', ')}${more}`)
  })
}
