/** The configuration of a server: the values of its options from flags, environment and file, each
 *  with the place that it comes from. See rfc/30, rules 2 to 9.
 *  Invariant: the values were read by the declarations of their options, and the rules between the
 *  options hold, whatever their sources are. */

import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { defaultDirectory } from '../local/directory.js'
import {
  type BrokenRule,
  brokenRules,
  ConfigurationError,
  longFlag,
  type Option,
  type Options,
  type OptionValues,
  type ParsedArguments,
  ruleText,
  UsageError,
  type Variables,
} from './command.js'
import { type ParsedFile, problemsMax, readConfigurationFile } from './configuration-file.js'
import { configuredOptions, serveVariables } from './serve-options.js'
import { absolutePath } from './utf8.js'

/** The name of the file in a data directory. */
export const configurationFile = 'config.yaml'

/** The place that a value comes from. */
export type Origin = {
  readonly from: 'flag' | 'environment' | 'file' | 'default'
  /** The flag, the variable, or `FILE:LINE:COLUMN`; empty for a default. */
  readonly place: string
}

type Values = OptionValues<typeof configuredOptions>

/** The name of an option that describes a server. */
export type ConfiguredName = keyof Values & string

/** The configuration of one server. */
export type Configuration = {
  readonly values: Values
  readonly origins: { readonly [name in ConfiguredName]: Origin }
  /** The absolute path of the data directory. */
  readonly directory: string
  /** The absolute path of the configuration file; undefined where there is none. */
  readonly file: string | undefined
}

/** The sources of a configuration, besides the file. */
export type ConfigurationSources = {
  /** The options on the command line, as the argument parser found them. */
  readonly given: ParsedArguments['options']
  readonly environment: Variables
  /** True for a server that a command started for a data directory. */
  readonly isBackground: boolean
}

/** The names of all options that describe a server, in the order of their declarations. */
export const configuredNames = Object.keys(configuredOptions) as readonly ConfiguredName[]

/** Reads the configuration of a server. Throws ConfigurationError (all mistakes at once), UsageError
 *  (flags that cannot stand beside one another), EPERM (others may write the file). */
export async function readConfiguration(sources: ConfigurationSources): Promise<Configuration> {
  const { given } = sources
  const environment = await environmentOf(sources)
  const problems: string[] = []
  const fromFlags = flagsOf(given)
  const wrong = new Set<string>()
  const fromVariables = variablesOf(environment, { problems, wrong })
  const source = await fileOf(
    { ...sources, environment },
    fromFlags.get('data') ?? fromVariables.get('data'),
  )
  const fromFile = source ? fileValues(source, problems) : new Map<string, Candidate>()
  for (const name of source?.wrong ?? []) wrong.add(name)
  const chosen = new Map([...fromFile, ...fromVariables, ...fromFlags])
  // A value that is wrong is told once: who needs it has it, and who excludes it does not.
  const counts = (name: string) => wrong.has(name) || isGiven(chosen.get(name))
  const broken = brokenRules(configuredOptions, counts).filter(
    ({ name, other, kind }) => !wrong.has(name) && !(kind === 'excludes' && wrong.has(other)),
  )
  const [usage] = broken.filter(({ name }) => chosen.get(name)?.origin.from === 'flag')
  if (usage && problems.length === 0 && isOfFlags(usage, chosen)) {
    throw new UsageError(ruleText(configuredOptions, usage))
  }
  problems.push(...broken.map((rule) => brokenText(rule, chosen)))
  if (problems.length > 0) throw new ConfigurationError(bounded(problems))
  const values = Object.fromEntries(
    Object.entries(configuredOptions).map(([name, { read }]) => {
      return [name, read(chosen.get(name)?.found)]
    }),
  ) as Values
  const origins = Object.fromEntries(
    configuredNames.map((name) => [
      name,
      chosen.get(name)?.origin ?? { from: 'default', place: '' },
    ]),
  ) as Configuration['origins']
  return {
    ...{ values, origins, file: source?.path },
    directory: absolutePath(values.data ?? defaultDirectory(environment)),
  }
}

/** A value that a source has for an option, in the form of the argument parser. */
type Candidate = { readonly found: unknown; readonly origin: Origin }

function isGiven(candidate: Candidate | undefined): boolean {
  const { found } = candidate ?? {}
  return found !== undefined && found !== false && !(Array.isArray(found) && found.length === 0)
}

function flagsOf(given: ParsedArguments['options']): Map<string, Candidate> {
  const all = Object.entries(configuredOptions).map(([name, { flags }]) => {
    const origin = { from: 'flag', place: longFlag(flags) } as const
    return [name, { found: given[name], origin }] as const
  })
  return new Map(all.filter(([, candidate]) => isGiven(candidate)))
}

/** Reads the variables of the environment; what is wrong becomes a problem. */
function variablesOf(
  environment: Variables,
  { problems, wrong }: { readonly problems: string[]; readonly wrong: Set<string> },
): Map<string, Candidate> {
  const values = new Map<string, Candidate>()
  for (const [name, option] of Object.entries<Option<unknown, string>>(configuredOptions)) {
    const place = option.configured?.variable ?? ''
    const text = environment[place]
    if (!text) continue
    try {
      const found = foundIn(text, option, `${place}:`)
      option.read(found, `${place}:`)
      values.set(name, { found, origin: { from: 'environment', place } })
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      problems.push(error.message)
      wrong.add(name)
    }
  }
  return values
}

const booleans: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
])

/** Returns the text of a variable in the form of the argument parser. Throws UsageError. */
function foundIn(text: string, { many, takes }: Option<unknown, string>, what: string): unknown {
  if (many) {
    return text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '')
  }
  if (takes === 'value') return text
  const found = booleans.get(text)
  if (takes === 'nothing' && found === undefined) {
    throw new UsageError(`${what} takes true or false, not "${text}"`)
  }
  // The text 1 of an option with a value is that value.
  return takes === 'nothing' || Number.isNaN(Number(text)) ? (found ?? text) : text
}

type SourceFile = ParsedFile & {
  readonly path: string
  /** True if it was found by its data directory. */
  readonly isOfDirectory: boolean
}

/** Finds and reads the file (rfc/30, rules 5 and 6). */
async function fileOf(
  { given, environment, isBackground }: ConfigurationSources,
  data: Candidate | undefined,
): Promise<SourceFile | undefined> {
  const option = typeof data?.found === 'string' ? data.found : undefined
  const directory = absolutePath(option ?? defaultDirectory(environment))
  const flag = given['config']
  const named = typeof flag === 'string' ? flag : environment.TAILRACE_CONFIG
  if (named) {
    const path = absolutePath(named)
    const parsed = await readConfigurationFile(path, configuredOptions, { mayBeMissing: false })
    const meant = parsed?.values.get('data')?.found
    const isOther = typeof meant === 'string' && !(await isSamePath(meant, directory))
    if (parsed && !(isBackground && isOther)) return { ...parsed, path, isOfDirectory: false }
  }
  const path = join(directory, configurationFile)
  const parsed = await readConfigurationFile(path, configuredOptions, { mayBeMissing: true })
  return parsed && { ...parsed, path, isOfDirectory: true }
}

/** Returns the environment that describes a server: without the variables of servers if they are those
 *  of another directory (rfc/30, rule 6). */
async function environmentOf({
  given,
  environment,
  isBackground,
}: ConfigurationSources): Promise<Variables> {
  const { data } = given
  const { TAILRACE_DATA: meant } = environment
  if (!isBackground || typeof data !== 'string' || !meant) return environment
  if (await isSamePath(absolutePath(meant), absolutePath(data))) return environment
  const isOther = (name: string) => serveVariables.some((one) => one === name)
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !isOther(name)))
}

async function isSamePath(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([a, b].map((path) => realpath(path).catch(() => path)))
  return one === other
}

/** Returns the values of a file; what is wrong becomes a problem. */
function fileValues(file: SourceFile, problems: string[]): Map<string, Candidate> {
  const { path, values, isOfDirectory } = file
  for (const { line, column, message } of file.problems) {
    problems.push(`${path}:${line}:${column}: ${message}`)
  }
  const own = isOfDirectory ? values.get('data')?.position : undefined
  if (own) {
    const message = 'data: the file of a data directory names none: remove the line'
    problems.push(`${path}:${own.line}:${own.column}: ${message}`)
  }
  const candidates = new Map<string, Candidate>()
  for (const [name, { found, position }] of values) {
    const place = `${path}:${position.line}:${position.column}`
    candidates.set(name, { found, origin: { from: 'file', place } })
  }
  return candidates
}

function isOfFlags({ other, kind }: BrokenRule, chosen: ReadonlyMap<string, Candidate>): boolean {
  return kind === 'needs' || chosen.get(other)?.origin.from === 'flag'
}

/** Writes a rule that does not hold, with the places of its options. */
function brokenText(
  { name, other, kind }: BrokenRule,
  chosen: ReadonlyMap<string, Candidate>,
): string {
  const origin = chosen.get(name)?.origin
  const options: Options = configuredOptions
  const field = options[name]?.configured?.field ?? name
  const start = origin?.from === 'file' ? `${origin.place}: ${field}:` : `${origin?.place}:`
  const beside = chosen.get(other)?.origin.place
  const { field: otherField, variable } = options[other]?.configured ?? { field: other }
  const flag = longFlag(options[other]?.flags ?? other)
  if (kind === 'excludes') return `${start} does not go with ${otherField} (${beside})`
  return `${start} goes with ${otherField} (${flag}, ${variable}), which is not given`
}

function bounded(problems: readonly string[]): readonly string[] {
  if (problems.length <= problemsMax) return problems
  return [...problems.slice(0, problemsMax), `${problems.length - problemsMax} mistakes more`]
}
