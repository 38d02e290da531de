/** Commands for each element of an array: branches that run programs. See rfc/24, rule 36.
 *  Invariant: a branch is run as a command is that has its element in the place of `element`. */

import type {
  CommandElement,
  CommandInput,
  CommandOutputs,
  CommandResult,
  CommandSpec,
  CommandsSpec,
  FailureMode,
  MapInputs,
  NullIn,
  Target,
  TargetOptions,
} from '../api/flow.js'
import { invalid } from '../base/shape.js'
import type { TargetAction } from './action.js'
import {
  type CommandInputs,
  type CommandPlan,
  type CommandSource,
  commandInputs,
  commandVersion,
  runCommand,
} from './command.js'
import { hexHashOf } from './modules.js'
import { setOwnVersion } from './own-functions.js'
import { map } from './target.js'

/** The version of how commands are run for elements. */
const commandsVersion = `${commandVersion} for elements`
const hashes = [commandVersion, commandsVersion].map((version) => hexHashOf(Buffer.from(version)))

/** Stands for the element of a branch of `commands`. */
export const element: CommandElement = Object.freeze({ type: 'element' })

/** The element in a plan, and in files. */
const mark = { element: true } as const
type Mark = typeof mark

/** The inputs of a branch, in which the element is marked. */
export type EachInputs = [
  plan: Omit<CommandPlan, 'run'> & { readonly run: readonly (string | Mark)[] },
  files: { readonly [path: string]: CommandSource | { readonly content: Mark } },
  stdin: CommandSource | { readonly content: Mark } | null,
]

/** Describes a command for each element of the result of a target, an array of texts or bytes; `element`
 *  stands for it among the files of `in`, as stdin, or, if it is text, as an argument. All else is as in
 *  `command`. The result is the array of the results. Throws EINVAL.
 *
 *      const pages = commands('pages', texts, { run: ['pandoc', 'in.md'], in: { 'in.md': element } })
 */
export function commands<
  const O extends CommandOutputs | undefined = undefined,
  M extends FailureMode = 'stop',
>(
  name: string,
  array: Target<readonly (string | Uint8Array)[]>,
  spec: CommandsSpec<O>,
  options?: TargetOptions<M>,
): Target<(CommandResult<O> | NullIn<M>)[]> {
  const { run, in: files = {}, stdin } = spec
  if (!Array.isArray(run))
    throw invalid(`commands ${name}: run must be an array: a program and its arguments`)
  const marked = (input: CommandInput | CommandElement) => (isElement(input) ? '' : input)
  const checked = {
    ...spec,
    run: run.map((word) => (isElement(word) ? 'element' : word)),
    in: Object.fromEntries(Object.entries(files).map(([path, input]) => [path, marked(input)])),
    ...(stdin !== undefined && { stdin: marked(stdin) }),
  }
  const [plan, sources, input] = commandInputs(name, checked as CommandSpec)
  const inputs = [
    { ...(plan as object), run: run.map((word) => (isElement(word) ? mark : word)) },
    Object.fromEntries(
      Object.entries(sources as object).map(([path, source]) => [
        path,
        isElement(files[path]) ? { content: mark } : source,
      ]),
    ),
    isElement(stdin) ? { content: mark } : input,
  ]
  const all = [array, ...inputs] as unknown as MapInputs
  const made = map(name, all, runEach as (...values: unknown[]) => unknown, options)
  return made as Target<(CommandResult<O> | NullIn<M>)[]>
}

function isElement(input: unknown): input is CommandElement {
  return input === element
}

/** Runs the command of a branch. */
function runEach(value: unknown, ...inputs: EachInputs) {
  return runCommand(...withElement(value, ...inputs))
}

setOwnVersion(runEach, commandsVersion)

/** Returns the inputs of the command of a branch. Throws EINVAL for an element that is neither text nor bytes,
 *  or not text, where an argument is. */
export function withElement(
  value: unknown,
  plan: EachInputs[0],
  files: EachInputs[1],
  stdin: EachInputs[2],
): CommandInputs {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
    throw invalid(`commands ${plan.name}: an element of its array is neither text nor bytes`)
  }
  const sourceOf = (source: EachInputs[1][string]): CommandSource =>
    'content' in source && isMark(source.content) ? { content: value } : (source as CommandSource)
  const run = plan.run.map((word) => {
    if (!isMark(word)) return word
    if (typeof value === 'string') return value
    throw invalid(`commands ${plan.name}: an element that is an argument must be text`)
  })
  const all = Object.entries(files).map(([path, source]) => [path, sourceOf(source)] as const)
  return [{ ...plan, run }, Object.fromEntries(all), stdin && sourceOf(stdin)]
}

function isMark(input: unknown): input is Mark {
  return typeof input === 'object' && input !== null && 'element' in input
}

/** True for the action of a command, or of a branch of `commands`. */
export function isCommandAction(action: TargetAction): boolean {
  return hashes.includes(action.function)
}
