/** Small parsers that everything from the wire goes through once. See rfc/12. Each takes what came
 *  in and a name for it, and throws EINVAL with that name.
 *  Invariant: a field that nobody knows is an error, so that a typing error is not a default. */

import { TailraceError } from '../error.js'

/** An object's own fields. Read them by `fields['name']`. */
export type Fields = Readonly<Record<string, unknown>>

export function invalid(message: string): TailraceError {
  return new TailraceError('EINVAL', message)
}

/** `known`: the names that may be there; left out, any may (answers of a newer server). */
export function parseFields(input: unknown, what: string, known?: ReadonlySet<string>): Fields {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw invalid(`${what} must be an object`)
  }
  if (input instanceof Uint8Array) throw invalid(`${what} must be an object, not bytes`)
  if (!known) return input as Fields
  for (const name of Object.keys(input)) {
    if (!known.has(name)) {
      throw invalid(`${what} has a field "${name}" that is not known here; see rfc/12`)
    }
  }
  return input as Fields
}

export function parseText(input: unknown, what: string): string {
  if (typeof input !== 'string') throw invalid(`${what} must be text`)
  return input
}

/** A safe integer of at least `min`. msgpack's 64-bit integers come in as bigint. */
export function parseInteger(input: unknown, what: string, min = 0): number {
  const value = typeof input === 'bigint' ? Number(input) : input
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min) {
    throw invalid(`${what} must be an integer${min === 0 ? ' of at least 0' : ''}`)
  }
  return value
}

export function parseNumber(input: unknown, what: string): number {
  const value = typeof input === 'bigint' ? Number(input) : input
  const isExact = typeof input !== 'bigint' || BigInt(Number(input)) === input
  if (typeof value !== 'number' || !Number.isFinite(value) || !isExact)
    throw invalid(`${what} must be a number`)
  return value
}

export function parseFlag(input: unknown, what: string): boolean {
  if (typeof input !== 'boolean') throw invalid(`${what} must be true or false`)
  return input
}

export function parseArray(input: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(input)) throw invalid(`${what} must be an array`)
  return input
}

export function parseTexts(input: unknown, what: string): string[] {
  return parseArray(input, what).map((item, index) => parseText(item, `${what}[${index}]`))
}

/** Text by name. */
export function parseTextMap(input: unknown, what: string): Record<string, string> {
  const fields = Object.entries(parseFields(input, what))
  return Object.fromEntries(
    fields.map(([name, text]) => [name, parseText(text, `${what}[${JSON.stringify(name)}]`)]),
  )
}

/** `{name: value}` with the value parsed, or `{}` where it is undefined: to be spread. */
export function optional<Name extends string, T>(
  name: Name,
  fields: Fields,
  what: string,
  parse: (input: unknown, what: string) => T,
): { readonly [K in Name]?: T } {
  const value = fields[name]
  if (value === undefined) return {}
  return { [name]: parse(value, `${what}.${name}`) } as { readonly [K in Name]?: T }
}
