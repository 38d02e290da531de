/** Declarations of commands: one typed object has a command's name, its options and arguments, and
 *  its work. See rfc/13.
 *  Invariant: `run` gets only values that the declaration parsed; a value that does not parse is a
 *  UsageError (exit code 2), never a default. The compiler knows the type of each option and
 *  argument, and each option that a rule names. */

import type { Output } from './output.js'

/** Error for a wrong command line, which ends with exit code 2. The message says what was
 *  expected. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

/** Error for a configuration that cannot be used, which is EMISCONFIGURED. See rfc/30, rule 8. */
export class ConfigurationError extends Error {
  /** The mistakes, each in a line with its place. There is at least one. */
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('; '))
    this.name = 'ConfigurationError'
    this.problems = problems
  }
}

/** The environment, with the variables that the command reads (rfc/13). */
export type Variables = Readonly<Record<string, string | undefined>> & {
  readonly TAILRACE_DATA?: string | undefined
  readonly TAILRACE_URL?: string | undefined
  readonly TAILRACE_TOKEN?: string | undefined
  readonly TAILRACE_CA?: string | undefined
  readonly TAILRACE_LEASE?: string | undefined
  readonly TAILRACE_CONFIG?: string | undefined
}

/** The streams and the environment of a command. */
export type CommandContext = {
  readonly stdout: Output
  readonly stderr: Output
  readonly environment: Variables
  /** True if the command makes a store where there is none. */
  readonly makesStore: boolean
}

/** A kind of value that an option or an argument takes. */
export type ValueKind<T> = {
  /** Parses the text; `what` names the option or argument in messages, and `literal` is true for
   *  text behind `--`. Throws UsageError. */
  readonly parse: (text: string, what: string, literal: boolean) => T
  /** The words that completion offers for it. */
  readonly completes?: Completion
  /** The scalars of a configuration file that stand for it. Default: strings. */
  readonly scalars?: readonly ('string' | 'number')[]
  /** True for a path, which begins at the directory of a configuration file if it is relative. */
  readonly isPath?: boolean
}

/** A list of words, or the kind of thing that completion looks up. */
export type Completion =
  | readonly string[]
  /** Some of these words, with commas between them. */
  | { readonly anyOf: readonly string[] }
  | 'key'
  | 'namespace'
  | 'job'
  | 'pin'
  | 'layer'
  | 'result'
  | 'file'
  | 'directory'
  | 'command'

/** Text, taken as it is typed. */
const text: ValueKind<string> = { parse: (value) => value }
export const key: ValueKind<string> = { ...text, completes: 'key' }
export const namespaceName: ValueKind<string> = { ...text, completes: 'namespace' }
export const jobId: ValueKind<string> = { ...text, completes: 'job' }
export const pinName: ValueKind<string> = { ...text, completes: 'pin' }
export const layerName: ValueKind<string> = { ...text, completes: 'layer' }
export const resultId: ValueKind<string> = { ...text, completes: 'result' }
export const file: ValueKind<string> = { ...text, completes: 'file', isPath: true }
export const directory: ValueKind<string> = { ...text, completes: 'directory', isPath: true }
/** A program and its arguments. */
export const program: ValueKind<string> = { ...text, completes: 'command' }

/** The value of an argument that means stdin, in the place of a value or a file. */
export const stdin = Symbol('stdin')

/** Text, or `-` for stdin; behind `--` the dash is text. */
export const input: ValueKind<string | typeof stdin> = {
  parse: (value, _, literal) => (value === '-' && !literal ? stdin : value),
}

/** The path of a file, or `-` for stdin; behind `--` the dash is a path. */
export const inputFile: ValueKind<string | typeof stdin> = { ...input, completes: 'file' }

/** One of a few words. */
export function choice<const Word extends string>(words: readonly Word[]): ValueKind<Word> {
  return {
    parse: (value, what) => {
      const found = words.find((word) => word === value)
      if (found !== undefined) return found
      throw new UsageError(`${what} takes ${words.join(', ')}, not "${value}"`)
    },
    completes: words,
  }
}

/** A value that the word `none` takes away. */
export function orNone<T>({ parse }: ValueKind<T>): ValueKind<T | null> {
  return {
    parse: (value, what, literal) => (value === 'none' ? null : parse(value, what, literal)),
    completes: ['none'],
  }
}

/** The declaration of an option. `Other` are the names of the options that its rules name. */
export type Option<T, Other extends string = never> = Rules<Other> & {
  /** The flags as the help shows them: `-n, --namespace <name>`. */
  readonly flags: string
  readonly text: string
  /** True if the option may be given many times. */
  readonly many: boolean
  readonly completes: Completion | undefined
  /** The value that stands behind the flag. */
  readonly takes: 'nothing' | 'value' | 'value or nothing'
  readonly scalars: NonNullable<ValueKind<T>['scalars']>
  readonly isPath: boolean
  /** The other places in which the option may be given; undefined: the command line alone. */
  readonly configured?: Configured
  /** Turns the text that the argument parser found into the option's value; `what` names the option
   *  in messages (default: its long flag). Throws UsageError. */
  readonly read: (found: unknown, what?: string) => T
}

/** The places besides the command line in which an option may be given. See rfc/30. */
export type Configured = {
  /** The name of its field in a configuration file. With a dot: a group, and a field of it. */
  readonly field: string
  /** The name of its environment variable. */
  readonly variable: string
}

type Rules<Other extends string> = {
  /** Options that cannot be given together with this one. */
  readonly excludes?: readonly Other[]
  /** The options without which this one has no meaning. */
  readonly needs?: Other | readonly Other[]
  readonly hidden?: boolean
  /** The heading in the help of a command (default: Options). */
  readonly group?: string
  /** The name of the field in a configuration file (default: that of the flag). */
  readonly field?: string
  /** The value if none is given, as people read it. */
  readonly fallback?: string
  /** True if a running server can take another value. */
  readonly reloads?: boolean
}

/** The properties of an option whose values are texts. */
const plain = { scalars: ['string'], isPath: false } as const

/** Declares a flag: true if it was given. A flag that begins with `--no-` is false if it was
 *  given. */
export function flag<const Other extends string = never>(
  flags: string,
  summary: string,
  rules: Rules<Other> = {},
): Option<boolean, NoInfer<Other>> {
  const read = (found: unknown) => found === true
  const takes = 'nothing'
  return {
    ...plain,
    ...rules,
    flags,
    text: summary,
    many: false,
    completes: undefined,
    takes,
    read,
  }
}

/** Declares an option with a value. With `<name>` in its flags the value has to follow. With
 *  `[name]` it may be left out; then the option is true. */
export function option<const Flags extends string, T = string, const Other extends string = never>(
  flags: Flags,
  summary: string,
  value?: ValueKind<T>,
  rules: Rules<Other> = {},
): Option<
  NoInfer<T> | undefined | (Flags extends `${string}[${string}` ? true : never),
  NoInfer<Other>
> {
  const { parse, completes, ...kind } = value ?? (text as unknown as ValueKind<T>)
  const read = (found: unknown, what = longFlag(flags)) => {
    if (typeof found === 'string') return parse(found, what, false)
    return (found === true ? true : undefined) as undefined
  }
  const takes = flags.includes('[') ? 'value or nothing' : 'value'
  return { ...plain, ...kind, ...rules, flags, text: summary, many: false, completes, takes, read }
}

/** Declares an option that may be given many times. */
export function many<T = string, const Other extends string = never>(
  flags: string,
  summary: string,
  value?: ValueKind<T>,
  rules: Rules<Other> = {},
): Option<readonly NoInfer<T>[], NoInfer<Other>> {
  const { parse, completes, ...kind } = value ?? (text as unknown as ValueKind<T>)
  const read = (found: unknown, what = longFlag(flags)) => {
    const texts = Array.isArray(found) ? found.filter((each) => typeof each === 'string') : []
    return texts.map((each) => parse(each, what, false))
  }
  const takes = 'value'
  return { ...plain, ...kind, ...rules, flags, text: summary, many: true, completes, takes, read }
}

/** Returns the long flag of an option: `--namespace` of `-n, --namespace <name>`. */
export function longFlag(flags: string): string {
  return /--[\w-]+/.exec(flags)?.[0] ?? flags
}

/** Puts options under a heading of the help. */
export function grouped<O extends Options>(group: string, options: O): O {
  return Object.fromEntries(
    Object.entries(options).map(([name, each]) => [name, { ...each, group }]),
  ) as O
}

/** Lets options be given in the environment and in a configuration file too, by the names that follow
 *  from their flags. */
export function configured<O extends Options>(options: O): O {
  return Object.fromEntries(
    Object.entries(options).map(([name, each]) => {
      const flagName = longFlag(each.flags).slice('--'.length)
      const variable = `TAILRACE_${flagName.replaceAll('-', '_').toUpperCase()}`
      return [name, { ...each, configured: { field: each.field ?? flagName, variable } }]
    }),
  ) as O
}

/** A rule between two options that does not hold: `name` cannot be given without `other`, or beside
 *  it. */
export type BrokenRule = {
  readonly name: string
  readonly other: string
  readonly kind: 'needs' | 'excludes'
}

/** Returns the rules between options that do not hold if those are given of which `isGiven` says
 *  so. */
export function brokenRules(
  options: Options,
  isGiven: (name: string) => boolean,
): readonly BrokenRule[] {
  return Object.entries(options).flatMap(([name, { needs = [], excludes = [] }]): BrokenRule[] => {
    if (!isGiven(name)) return []
    const missing = [needs].flat().find((other) => !isGiven(other))
    const beside = excludes.filter(isGiven)
    return [
      ...(missing === undefined ? [] : [{ name, other: missing, kind: 'needs' } as const]),
      ...beside.map((other) => ({ name, other, kind: 'excludes' }) as const),
    ]
  })
}

/** Writes a rule that does not hold in the names of flags. */
export function ruleText(options: Options, { name, other, kind }: BrokenRule): string {
  const [one, two] = [name, other].map((each) => longFlag(options[each]?.flags ?? each))
  return kind === 'needs' ? `${one} goes with ${two}` : `${one} does not go with ${two}`
}

type Parameter<T> = {
  /** The argument as the help shows it: `<key>` required, `[value]` optional, `<id...>`
   *  variadic. */
  readonly form: string
  readonly completes: Completion | undefined
  /** Parses the words of the argument. Throws UsageError. */
  readonly read: (given: readonly GivenWord[]) => T
}

type GivenWord = { readonly text: string; readonly literal: boolean }

type ByForm<Form extends string, T> = Form extends `${string}...${string}`
  ? readonly T[]
  : Form extends `[${string}`
    ? T | undefined
    : T

export function argument<const Form extends string, T = string>(
  form: Form,
  value?: ValueKind<T>,
): Parameter<ByForm<Form, NoInfer<T>>> {
  const { parse, completes } = value ?? (text as unknown as ValueKind<T>)
  const what = form.replace(/[^\w-]/g, '').toUpperCase()
  const read = (given: readonly GivenWord[]) => {
    const values = given.map((word) => parse(word.text, what, word.literal))
    return (isVariadic(form) ? values : values[0]) as ByForm<Form, T>
  }
  return { form, completes, read }
}

export function isVariadic(form: string): boolean {
  return form.includes('...')
}

export type Options = Readonly<Record<string, Option<unknown, string>>>
type Parameters = Readonly<Record<string, Parameter<unknown>>>

/** Values of declared options, by their names. */
export type OptionValues<O> = {
  readonly [name in keyof O]: O[name] extends Option<infer T, string> ? T : never
}
/** Values of declared arguments, by their names. */
export type ArgumentValues<P> = {
  readonly [name in keyof P]: P[name] extends Parameter<infer T> ? T : never
}

type Names<O> = keyof O & string

type Described = {
  readonly name: string
  readonly summary: string
  /** A longer text than the summary, for the command's own help. */
  readonly description?: string
  /** Command lines that can be pasted into a shell as they are. */
  readonly examples?: readonly string[]
  /** True if all that follows the first argument belongs to it, options included (`run CMD -x`). */
  readonly passThrough?: boolean
  readonly hidden?: boolean
  readonly commands?: readonly Command[]
}

/** A command as the parser and the help see it. */
export type Command = Described & {
  readonly parameters: Parameters
  readonly options: Options
  /** Runs the command with what the parser found. Returns the exit code; undefined means 0. */
  readonly run?: (
    surroundings: Omit<CommandContext, 'makesStore'>,
    found: ParsedArguments,
  ) => Promise<number | undefined>
}

/** The words and options that the argument parser found. */
export type ParsedArguments = {
  readonly words: readonly string[]
  /** The number of words that stand behind `--`; they are the last ones. */
  readonly literals: number
  /** Values of the options, by the names in the declaration. */
  readonly options: Readonly<Record<string, unknown>>
}

/** Declares a command. The name of an option is its long flag in camel case. */
export function command<
  const O extends { readonly [name in keyof O]: Option<unknown, Names<O>> } = Record<never, never>,
  const P extends Parameters = Record<never, never>,
>(
  spec: Described & {
    readonly options?: O
    /** The arguments, in the order of the command line. */
    readonly parameters?: P
    /** True for a command that makes a store where there is none; other commands are ENOENT there.
     *  The name of a flag: the command makes one if that flag is given. */
    readonly makesStore?: true | Names<O>
    readonly run: (
      call: CommandContext & {
        readonly options: OptionValues<O>
        readonly args: ArgumentValues<P>
        /** The options as texts, as the parser found them. */
        readonly given: ParsedArguments['options']
      },
    ) => Promise<number | undefined> | Promise<void>
  },
): Command {
  const { options: declared, parameters = {}, makesStore, run, ...described } = spec
  const options = (declared ?? {}) as Options
  return {
    ...described,
    options,
    parameters,
    run: async (surroundings, found) => {
      const values = Object.fromEntries(
        Object.entries(options).map(([name, { read }]) => [name, read(found.options[name])]),
      )
      const call = {
        ...surroundings,
        makesStore:
          makesStore === true || (makesStore !== undefined && values[makesStore] === true),
        options: values as OptionValues<O>,
        args: argumentsOf(parameters, found) as ArgumentValues<P>,
        given: found.options,
      }
      return (await run(call)) ?? undefined
    },
  }
}

/** Declares a name under which other commands stand, such as `ns`. */
export function commandGroup(spec: Described & { readonly commands: readonly Command[] }): Command {
  return { ...spec, parameters: {}, options: {} }
}

function argumentsOf(
  parameters: Parameters,
  { words, literals }: ParsedArguments,
): Record<string, unknown> {
  const given = words.map((each, at) => ({ text: each, literal: at >= words.length - literals }))
  const values: Record<string, unknown> = {}
  let at = 0
  for (const [name, { form, read }] of Object.entries(parameters)) {
    const end = isVariadic(form) ? given.length : at + 1
    values[name] = read(given.slice(at, end))
    at = end
  }
  return values
}
