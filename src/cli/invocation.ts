/** What a command is given: its arguments and options, still text, and where it prints. See rfc/13.
 *  Invariant: every option is parsed where it is read, by one of the methods here; what does not
 *  parse is a UsageError (exit code 2), never a default. */

import { isBlobref } from '../blob/blobref.js'
import type { Output } from './output.js'

/** The command line is wrong: exit code 2. The message says what was expected. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

export type Invocation = {
  /** Positional arguments, a variadic one spread out. */
  readonly arguments: readonly string[]
  /** How many of them stand behind `--`: the last ones. */
  readonly literals: number
  readonly options: Options
  /** Whether the command makes a store where there is none. */
  readonly makesStore: boolean
  readonly stdout: Output
  readonly stderr: Output
  readonly environment: Variables
}

/** The environment, and the names that mean something to us (rfc/13). */
export type Variables = Readonly<Record<string, string | undefined>> & {
  readonly TAILRACE_DATA?: string | undefined
  readonly TAILRACE_URL?: string | undefined
  readonly TAILRACE_TOKEN?: string | undefined
  readonly TAILRACE_LEASE?: string | undefined
}

/** The exit code; nothing is 0. */
export type Run = (invocation: Invocation) => Promise<number | undefined>

export class Options {
  readonly #values: Readonly<Record<string, unknown>>

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values
  }

  /** Copies the options, with another text for one. */
  with(name: string, text: string): Options {
    return new Options({ ...this.#values, [name]: text })
  }

  flag(name: string): boolean {
    return this.#values[name] === true
  }

  text(name: string): string | undefined {
    const value = this.#values[name]
    return typeof value === 'string' ? value : undefined
  }

  /** An option that may be given many times. */
  texts(name: string): readonly string[] {
    const value = this.#values[name]
    return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
  }

  /** A safe integer of at least `min`. */
  integer(name: string, min = 0): number | undefined {
    const value = this.text(name)
    return value === undefined ? undefined : parseInteger(flagOf(name), value, min)
  }

  /** A seq, or the ref of a root. */
  at(name: string): number | string | undefined {
    const value = this.text(name)
    if (value === undefined || isBlobref(value)) return value
    if (/^\d+$/.test(value)) return parseInteger(flagOf(name), value)
    throw new UsageError(
      `${flagOf(name)} takes a seq or the ref of a root, not "${value}"; \`tailrace pins\` shows those of pins`,
    )
  }
}

/** The options that name a root. */
export const rootOptions = ['at', 'since'] as const

/** Whether a text is `blake3-` and at least eight digits, but no whole ref. See short-refs.ts. */
export function isShortRef(text: string): boolean {
  return /^blake3-[0-9a-f]{8,}$/.test(text) && !isBlobref(text)
}

export function parseInteger(what: string, text: string, min = 0): number {
  const value = Number(text)
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(value) || value < min) {
    const bound = min === Number.MIN_SAFE_INTEGER ? '' : ` of at least ${min}`
    throw new UsageError(`${what} takes an integer${bound}, not "${text}"`)
  }
  return value
}

/** `ifRef` → `--if-ref`. */
function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** REQUIRES: the command declares at least `index + 1` required arguments. */
export function argument(invocation: Invocation, index: number): string {
  const value = invocation.arguments[index]
  if (value === undefined) throw new UsageError(`argument ${index + 1} is missing`)
  return value
}

/** Whether an argument is `-`, which stands for stdin; behind `--` it is itself. */
export function isStdin({ arguments: all, literals }: Invocation, index: number): boolean {
  return all[index] === '-' && index < all.length - literals
}

/** The same fields without those that are undefined: an option that was not given is not passed on. */
export function defined<T extends object>(
  fields: T,
): { -readonly [name in keyof T]?: Exclude<T[name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    -readonly [name in keyof T]?: Exclude<T[name], undefined>
  }
}
