/** Commands as data, and the argument parser that runs them: the only import of commander.
 *  Invariant: a command's module is loaded only when it runs, so that `--help` loads none of them;
 *  whatever the parser refuses ends with code 2. */

import { Command, CommanderError } from 'commander'
import {
  type Invocation,
  isShortRef,
  Options,
  type Run,
  rootOptions,
  UsageError,
} from './invocation.js'

export type CommandSpec = {
  readonly name: string
  readonly summary: string
  /** More than the summary has room for. */
  readonly description?: string
  /** `<key>` required, `[value]` optional, `<id...>` variadic. */
  readonly parameters?: readonly string[]
  /** Flags (`-n, --namespace <name>`) and what they mean. */
  readonly options?: readonly OptionSpec[]
  /** Lines of a shell, to be pasted as they are. */
  readonly examples?: readonly string[]
  /** What follows the first argument belongs to it, options included (`run CMD -x`). */
  readonly passThrough?: boolean
  readonly hidden?: boolean
  /** Makes a store where there is none; others say that there is none. A flag's name: makes one with that. */
  readonly makesStore?: true | string
  readonly commands?: readonly CommandSpec[]
  /** Loads the command's module. */
  readonly load?: () => Promise<Run>
}

export type OptionSpec = {
  readonly flags: string
  readonly text: string
  /** May be given many times. */
  readonly many?: boolean
  /** Options that it does not go with, by their names in camel case. */
  readonly excludes?: readonly string[]
  /** The option without which it means nothing, by its long flag. */
  readonly needs?: string
  readonly hidden?: boolean
}

export type ProgramSpec = {
  readonly version: string
  readonly description: string
  /** In the order of the help, each under its heading. */
  readonly groups: readonly CommandGroup[]
}

export type CommandGroup = {
  readonly heading: string
  readonly commands: readonly CommandSpec[]
}

const exitCodesHelp = `Exit codes: 0 done, 1 another error, 2 a wrong command line, 3 not there, 4 refused because of what is
there (a conflict, a seal, a lost lease), 5 no server or no answer in time, 130 interrupted. run, attach
and wait give the job's. With --json errors are JSON on stdout: {"error":{"code","message"}}.`

/** Parses and runs; resolves to the exit code. Throws what the command throws. */
export async function runProgram(
  spec: ProgramSpec,
  argv: readonly string[],
  surroundings: Pick<Invocation, 'stdout' | 'stderr' | 'environment'>,
): Promise<number> {
  const outcome: Outcome = { code: 0, complaint: undefined, literals: literalsOf(argv) }
  const program = new Command('tailrace')
    .version(spec.version, '-V, --version', 'print the version')
    .description(spec.description)
    .usage('COMMAND [OPTIONS] [ARGUMENTS]')
    .enablePositionalOptions()
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', `\n${exitCodesHelp}`)
  prepare(program, outcome)
  for (const { heading, commands } of spec.groups) {
    for (const command of commands) {
      const built = build(command, surroundings, outcome).helpGroup(`${heading}:`)
      program.addCommand(built, { hidden: command.hidden === true })
    }
  }
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (outcome.complaint !== undefined) throw new UsageError(outcome.complaint)
    // Help and version end with 0; a call without a command prints the help and is a usage error.
    return error.exitCode === 0 ? 0 : 2
  }
  return outcome.code
}

/** Whether errors are to be JSON: what stands behind `--` is no option. */
export function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end < 0 ? argv.length : end).includes('--json')
}

type Outcome = {
  code: number
  /** Why the parser refused the arguments. */
  complaint: string | undefined
  readonly literals: number
}

/** How many arguments stand behind `--`. */
function literalsOf(argv: readonly string[]): number {
  const at = argv.indexOf('--')
  return at < 0 ? 0 : argv.length - at - 1
}

function build(
  spec: CommandSpec,
  surroundings: Pick<Invocation, 'stdout' | 'stderr' | 'environment'>,
  outcome: Outcome,
): Command {
  const command = new Command(spec.name).description(spec.description ?? spec.summary)
  prepare(command, outcome)
  command.summary(spec.summary)
  for (const parameter of spec.parameters ?? []) command.argument(parameter)
  for (const option of spec.options ?? []) addOption(command, option)
  if (spec.passThrough) command.passThroughOptions()
  // Options behind the name of a child are the child's.
  if (spec.commands) command.enablePositionalOptions()
  const examples = (spec.examples ?? []).map((line) => `  ${line}`)
  if (examples.length > 0) command.addHelpText('after', `\nExamples:\n${examples.join('\n')}`)
  for (const child of spec.commands ?? []) {
    command.addCommand(build(child, surroundings, outcome))
  }
  const load = spec.load
  if (!load) return command
  return command.action(async () => {
    checkNeeds(command, spec)
    const run = await load()
    const options = new Options(command.opts())
    const { makesStore = false } = spec
    const invocation = {
      ...surroundings,
      arguments: command.args,
      literals: outcome.literals,
      options,
      makesStore: typeof makesStore === 'string' ? options.flag(makesStore) : makesStore,
    }
    const given = await withWholeRefs(invocation)
    outcome.code = (await run(given)) ?? 0
  })
}

/** Whoever names no root by the begin of its ref loads nothing and asks nobody. */
async function withWholeRefs(invocation: Invocation): Promise<Invocation> {
  const isShort = (name: string) => isShortRef(invocation.options.text(name) ?? '')
  if (!rootOptions.some(isShort)) return invocation
  return (await import('./short-refs.js')).withWholeRefs(invocation)
}

/** Throws UsageError for an option that was given without the one that it needs. */
function checkNeeds(command: Command, { options = [] }: CommandSpec): void {
  const isGiven = (flag: string) => {
    const name = command.options.find(({ long }) => long === flag)?.attributeName() ?? flag
    return command.getOptionValueSource(name) === 'cli'
  }
  for (const { flags, needs } of options) {
    const [long = ''] = /--[\w-]+/.exec(flags) ?? []
    if (needs === undefined || !isGiven(long) || isGiven(needs)) continue
    throw new UsageError(`${long} goes with ${needs}`)
  }
}

function addOption(command: Command, spec: OptionSpec): void {
  const option = command.createOption(spec.flags, spec.text)
  if (spec.hidden) option.hideHelp()
  if (spec.excludes) option.conflicts([...spec.excludes])
  if (spec.many) {
    option.default([], '').argParser((value, before) => [...(before as string[]), value])
  }
  command.addOption(option)
}

/** Errors in our own form, thrown instead of ending the process. */
function prepare(command: Command, outcome: Outcome): void {
  command.exitOverride().configureOutput({
    outputError: (text) => {
      const line = text
        .replace(/^error: /, '')
        .trimEnd()
        .replaceAll('\n', ' ')
      const isOption = /^(unknown option|option .* argument missing)/.test(line)
      const takesText = command.registeredArguments.length > 0
      const hint =
        isOption && takesText ? `; what begins with a dash and is no option stands behind --` : ''
      outcome.complaint = `${line}${hint}; see ${pathOf(command)} --help`
    },
  })
}

function pathOf(command: Command): string {
  const parent = command.parent
  return parent ? `${pathOf(parent)} ${command.name()}` : command.name()
}
