/** The argument parser that runs commands, and their help: the only import of commander. See
 *  rfc/13.
 *  Invariant: whatever the parser refuses is a UsageError, which ends with code 2. */

import { CommanderError, Command as Parser } from 'commander'
import {
  brokenRules,
  type Command,
  type CommandContext,
  type Configured,
  type ParsedArguments,
  ruleText,
  UsageError,
} from './command.js'
import { globalOptions, helpCommand, rootOptions } from './command-line.js'
import { colorWords, type Output } from './output.js'

type ProgramSpec = {
  readonly version: string
  readonly description: string
  /** The groups of commands, in the order of the help. */
  readonly groups: readonly CommandGroup[]
}

export type CommandGroup = {
  readonly heading: string
  readonly commands: readonly Command[]
}

type Surroundings = Omit<CommandContext, 'makesStore'>

const exitCodesHelp = `Exit codes: 0 done, 1 another error, 2 a wrong command line, 3 not there, 4 refused because of what is
there (a conflict, a seal, a lost lease), 5 no server or no answer in time, 130 interrupted. run, attach
and wait give the job's. With --json errors are JSON on stdout: {"error":{"code","message"}}.`

/** Parses a command line and runs its command. Resolves to the exit code. Throws UsageError, and
 *  what the command throws. */
export async function runProgram(
  spec: ProgramSpec,
  argv: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const outcome: Outcome = {
    code: 0,
    complaint: undefined,
    literals: literalsOf(argv),
    stdout: surroundings.stdout,
  }
  const help = helpCommand([])
  const program = new Parser('tailrace')
    .version(spec.version, rootOptions.version.flags, rootOptions.version.text)
    .description(spec.description)
    .usage('COMMAND [OPTIONS] [ARGUMENTS]')
    .enablePositionalOptions()
    .helpCommand(`${help.name} [command]`, help.summary)
    .addHelpText('after', `\n${exitCodesHelp}`)
  program.addOption(colorOption(program).default('auto'))
  prepare(program, outcome)
  for (const { heading, commands } of spec.groups) {
    for (const command of commands) {
      const isMeant = argv.includes(command.name)
      const built = isMeant ? build(command, surroundings, outcome) : stub(command)
      program.addCommand(built.helpGroup(`${heading}:`), { hidden: command.hidden === true })
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

/** True if errors are to be JSON. Words behind `--` are no options. */
export function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end < 0 ? argv.length : end).includes('--json')
}

type Outcome = {
  code: number
  /** The reason why the parser refused the arguments. */
  complaint: string | undefined
  readonly literals: number
  readonly stdout: Output
}

/** Returns the number of arguments behind `--`. */
function literalsOf(argv: readonly string[]): number {
  const at = argv.indexOf('--')
  return at < 0 ? 0 : argv.length - at - 1
}

/** Makes an entry of the help for a command that is not called. Declaring all options of all
 *  commands takes longer than most commands run. */
function stub({ name, summary, parameters }: Command): Parser {
  const parser = new Parser(name).summary(summary)
  for (const { form } of Object.values(parameters)) parser.argument(form)
  return parser
}

/** Returns a command and its arguments as the list in the help shows them. */
function termOf(parser: Parser): string {
  const forms = parser.registeredArguments.map((one) => {
    const name = `${one.name()}${one.variadic ? '...' : ''}`
    return one.required ? `<${name}>` : `[${name}]`
  })
  return [parser.name(), ...forms].join(' ')
}

function build(spec: Command, surroundings: Surroundings, outcome: Outcome): Parser {
  const parser = new Parser(spec.name).description(spec.description ?? spec.summary)
  prepare(parser, outcome)
  parser.summary(spec.summary)
  for (const { form } of Object.values(spec.parameters)) parser.argument(form)
  const options = new ParsedOptions(parser, spec)
  parser.addOption(colorOption(parser).hideHelp())
  if (spec.passThrough) parser.passThroughOptions()
  // Options behind the name of a child belong to the child.
  if (spec.commands) parser.enablePositionalOptions()
  const examples = (spec.examples ?? []).map((line) => `  ${line}`)
  if (examples.length > 0)
    parser.addHelpText(
      'after',
      `\n${outcome.stdout.painted('bold', 'Examples:')}\n${examples.join('\n')}`,
    )
  for (const child of spec.commands ?? []) {
    parser.addCommand(build(child, surroundings, outcome))
  }
  const { run } = spec
  if (!run) return parser
  return parser.action(async () => {
    options.checkNeeds()
    const { literals } = outcome
    const found = { words: parser.args, literals, options: options.found() }
    outcome.code = (await run(surroundings, found)) ?? 0
  })
}

/** The options of one command in commander, which names them by their long flags. */
class ParsedOptions {
  readonly #parser: Parser
  readonly #options: Command['options']
  /** Names of options in commander, by their declared names. */
  readonly #names = new Map<string, string>()

  constructor(parser: Parser, { options }: Command) {
    this.#parser = parser
    this.#options = options
    const entries = Object.entries(options)
    const made = entries.map(([name, { flags, text, configured }]) => {
      const one = parser.createOption(flags, helpOf(text, configured))
      this.#names.set(name, one.attributeName())
      return one
    })
    for (const [index, one] of made.entries()) {
      const spec = entries[index]?.[1]
      if (!spec) continue
      if (spec.hidden) one.hideHelp()
      if (spec.group) one.helpGroup(`${spec.group}:`)
      if (spec.excludes) one.conflicts(spec.excludes.map((name) => this.#nameOf(name)))
      if (spec.many) {
        one.default([], '').argParser((value, before) => [...(before as string[]), value])
      }
      parser.addOption(one)
    }
  }

  /** Returns the values on the command line, by the names in the declaration. */
  found(): ParsedArguments['options'] {
    const values = this.#parser.opts<Readonly<Record<string, unknown>>>()
    return Object.fromEntries(
      Object.keys(this.#options).map((name) => [name, values[this.#nameOf(name)]]),
    )
  }

  /** Throws UsageError for an option that was given without the one that it needs. An option that may
   *  stand elsewhere is left to the command, which sees all places (rfc/30, rule 9). */
  checkNeeds(): void {
    const isGiven = (name: string) => {
      return this.#parser.getOptionValueSource(this.#nameOf(name)) === 'cli'
    }
    const broken = brokenRules(this.#options, isGiven).find(({ name, kind }) => {
      return kind === 'needs' && !this.#options[name]?.configured
    })
    if (broken) throw new UsageError(ruleText(this.#options, broken))
  }

  #nameOf(name: string): string {
    return this.#names.get(name) ?? name
  }
}

/** Returns the help of an option, with its other names where it may stand in other places. */
function helpOf(text: string, configured: Configured | undefined): string {
  if (!configured) return text
  return `${text} [${configured.field}, ${configured.variable}]`
}

/** Makes the option that says when to write colours. process.ts reads it before the parser runs;
 *  here it is only checked. */
function colorOption(parser: Parser) {
  const { flags, text } = globalOptions.color
  return parser.createOption(flags, text).choices(colorWords)
}

/** Makes the parser throw errors, in the form of this program, instead of ending the process. */
function prepare(parser: Parser, outcome: Outcome): void {
  const { stdout } = outcome
  parser.configureHelp({
    subcommandTerm: termOf,
    styleTitle: (title) => stdout.painted('bold', title),
  })
  parser.exitOverride().configureOutput({
    getOutHasColors: () => stdout.hasColors,
    getErrHasColors: () => stdout.hasColors,
    outputError: (text) => {
      const line = text
        .replace(/^error: /, '')
        .trimEnd()
        .replaceAll('\n', ' ')
      const isOption = /^(unknown option|option .* argument missing)/.test(line)
      const takesText = parser.registeredArguments.length > 0
      const hint =
        isOption && takesText ? `; what begins with a dash and is no option stands behind --` : ''
      outcome.complaint = `${line}${hint}; see ${pathOf(parser)} --help`
    },
  })
}

function pathOf(parser: Parser): string {
  const parent = parser.parent
  return parent ? `${pathOf(parent)} ${parser.name()}` : parser.name()
}
