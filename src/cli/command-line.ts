/** Reads words of a command line by the declarations of commands, without running anything: which
 *  command is meant, which options are given, and what the next word stands for. Completion and
 *  colours use it. See rfc/13, rules 28 and 30.
 *  Invariant: it never throws. Words that no declaration explains are passed over. */

import {
  argument,
  type Command,
  choice,
  command,
  flag,
  longFlag,
  type Option,
  type Options,
  option,
} from './command.js'
import { colorWords } from './output.js'

/** Options that stand before or behind the name of any command. */
export const globalOptions = {
  color: option(
    '--color <when>',
    'when to write colours: auto, always or never',
    choice(colorWords),
  ),
}

/** Options that stand before the name of a command only. */
export const rootOptions = {
  ...globalOptions,
  version: flag('-V, --version', 'print the version'),
}

/** Makes the command that shows the help of another one. The argument parser runs it itself. */
export function helpCommand(commands: readonly Command[]): Command {
  const names = commands.filter(({ hidden }) => hidden !== true).map(({ name }) => name)
  return command({
    name: 'help',
    summary: 'show the help of a command',
    parameters: { command: argument('[command]', choice(names)) },
    run: async () => {},
  })
}

/** The state of a command line after some of its words. */
export type Standing = {
  /** The innermost command that is named; undefined before the name of a command. */
  readonly command: Command | undefined
  /** The commands that may be named next. */
  readonly children: readonly Command[]
  /** The options that may be given next. */
  readonly options: Options
  /** Values of those options, by their declared names; true where an option has no value. */
  readonly given: ReadonlyMap<string, string | true>
  /** The option whose value is the next word. */
  readonly awaiting: Option<unknown, string> | undefined
  /** The number of arguments so far. */
  readonly count: number
  /** True if the next word is no option, whatever it begins with. */
  readonly isLiteral: boolean
}

/** Reads `words`, which stand behind the name of the program. */
export function standingAfter(commands: readonly Command[], words: readonly string[]): Standing {
  const reader = new Reader(commands)
  for (const word of words) reader.take(word)
  return reader
}

class Reader implements Standing {
  command: Command | undefined
  given = new Map<string, string | true>()
  awaiting: Option<unknown, string> | undefined
  count = 0
  isLiteral = false
  children: readonly Command[]
  options: Options = rootOptions

  constructor(commands: readonly Command[]) {
    this.children = [...commands, helpCommand(commands)]
  }

  take(word: string): void {
    const { awaiting } = this
    this.awaiting = undefined
    // The value of an option like `--idle-exit [ms]` may be left out.
    if (awaiting && (takesValue(awaiting) === 'required' || !word.startsWith('-'))) {
      this.#give(awaiting, word)
    } else if (this.isLiteral) this.count++
    else if (word === '--') this.isLiteral = true
    else if (word.startsWith('--')) this.#takeLong(word)
    else if (word.startsWith('-') && word.length > 1) this.#takeShort(word.slice(1))
    else this.#takeWord(word)
  }

  #takeWord(word: string): void {
    const child = this.children.find(({ name }) => name === word)
    if (!child || this.count > 0) {
      this.count++
      this.isLiteral = this.command?.passThrough === true
      return
    }
    this.command = child
    this.given = new Map([...this.given].filter(([name]) => name in globalOptions))
    this.children = child.commands ?? []
    this.options = { ...child.options, ...globalOptions }
  }

  #takeLong(word: string): void {
    const [flag = '', value] = splitFlag(word)
    const found = optionOf(this.options, flag)
    if (!found) return
    if (value !== undefined) this.#give(found, value)
    else this.#open(found)
  }

  /** Takes short options: `-rf` is `-r -f`, and `-nx` is `-n x`. */
  #takeShort(letters: string): void {
    for (let at = 0; at < letters.length; at++) {
      const found = optionOf(this.options, `-${letters[at]}`)
      if (!found) continue
      const value = letters.slice(at + 1)
      if (takesValue(found) === undefined || value === '') this.#open(found)
      else {
        this.#give(found, value)
        return
      }
    }
  }

  #open(found: Option<unknown, string>): void {
    this.#give(found, true)
    if (takesValue(found) !== undefined) this.awaiting = found
  }

  #give(found: Option<unknown, string>, value: string | true): void {
    const name = Object.keys(this.options).find((each) => this.options[each] === found)
    if (name !== undefined) this.given.set(name, value)
  }
}

/** The value of `--color`; undefined where it is not given. An option of a job's command is the
 *  job's. */
export function colorAsked(
  commands: readonly Command[],
  argv: readonly string[],
): string | undefined {
  const when = standingAfter(commands, argv).given.get('color')
  return typeof when === 'string' ? when : undefined
}

/** Splits `--mode=append` into `--mode` and `append`; the value is undefined where there is
 *  none. */
export function splitFlag(word: string): readonly [flag: string, value: string | undefined] {
  const end = word.indexOf('=')
  return end < 0 ? [word, undefined] : [word.slice(0, end), word.slice(end + 1)]
}

/** The option with a flag such as `-n` or `--namespace`. */
export function optionOf(options: Options, flag: string): Option<unknown, string> | undefined {
  return Object.values(options).find(
    ({ flags }) => longFlag(flags) === flag || (flag.length === 2 && flags.startsWith(`${flag},`)),
  )
}

function takesValue({ flags }: Option<unknown, string>): 'required' | 'optional' | undefined {
  if (flags.includes('<')) return 'required'
  return flags.includes('[') ? 'optional' : undefined
}
