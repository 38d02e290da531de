/** Shapes of arguments: one rule per field, checked where the argument comes in. See rfc/2,
 *  rule 11.
 *  Invariant: a checked argument has no unknown field, and no value of a wrong type. A field that
 *  is undefined counts as left out. A check is cheap: it reads the fields that are there, and
 *  allocates nothing. */

import { TailraceError } from '../error.js'

/** A rule for one value. */
export type Rule = {
  readonly is: (value: unknown) => boolean
  /** The end of the error "… must be". */
  readonly expected: string
}

/** The rules for the fields of an object, and the fields that it must have. */
export type Shape = {
  readonly rules: ReadonlyMap<string, Rule>
  readonly required: readonly string[]
}

type Rules<T> = { readonly [name in keyof Required<T>]: Rule }

/** Returns the shape of `T`. It does not compile unless every field of the type has its rule. */
export function shapeOf<T extends object>(
  rules: Rules<T>,
  required: readonly (keyof T & string)[] = [],
): Shape {
  return { rules: new Map(Object.entries<Rule>(rules)), required }
}

/** Throws EINVAL unless `value` has the shape. `what` names the value in the error. */
export function check(what: string, value: unknown, { rules, required }: Shape): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${what} must be an object`)
  }
  const fields = value as Readonly<Record<string, unknown>>
  for (const name in fields) {
    const field = fields[name]
    if (field === undefined) continue
    const rule = rules.get(name)
    if (!rule) throw unknownField(what, name, rules)
    if (!rule.is(field)) throw invalid(`${what}.${name} must be ${rule.expected}`)
  }
  for (const name of required) {
    if (fields[name] === undefined) throw invalid(`${what}.${name} is missing`)
  }
}

/** Throws EINVAL unless the options have the shape. They may be left out
 *  where no field is required. */
export function checkOptions(options: unknown, shape: Shape): void {
  if (options !== undefined || shape.required.length > 0) check('options', options, shape)
}

/** Throws EINVAL unless the value holds the rule. `what` names the value in the error. */
export function checkValue(what: string, value: unknown, { is, expected }: Rule): void {
  if (!is(value)) throw invalid(`${what} must be ${expected}`)
}

/** Returns an EINVAL. */
export function invalid(message: string): TailraceError {
  return new TailraceError('EINVAL', message)
}

function unknownField(what: string, name: string, rules: Shape['rules']): TailraceError {
  const shown = JSON.stringify(name.slice(0, 100))
  return invalid(`${what} has no field ${shown}: it knows ${[...rules.keys()].join(', ')}`)
}

/** A string. */
export const text: Rule = { is: (value) => typeof value === 'string', expected: 'text' }
/** A short name without blanks. */
export const shortName: Rule = {
  is: (value) => typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(value),
  expected: '1 to 63 of A-Z, a-z, 0-9, "_", "." and "-", beginning with a letter or digit',
}
/** A boolean. */
export const flag: Rule = { is: (value) => typeof value === 'boolean', expected: 'true or false' }
/** A whole number, 0 or more, that a double keeps exactly. */
export const count: Rule = {
  is: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  expected: 'a whole number, 0 or more',
}
/** A whole number that a double keeps exactly. */
export const integer: Rule = { is: Number.isSafeInteger, expected: 'a whole number' }
/** A number, 0 or more; `Infinity` is allowed, for a bound that bounds nothing. */
export const number: Rule = {
  is: (value) => typeof value === 'number' && value >= 0,
  expected: 'a number, 0 or more',
}
/** A time that a system timer can wait, in ms. */
export const waitMs: Rule = {
  is: (value) => Number.isInteger(value) && (value as number) > 0 && (value as number) < 2 ** 31,
  expected: 'a whole number of ms, 1 to 2147483647',
}
/** The seq or the ref of a root. */
export const at: Rule = {
  is: (value) => typeof value === 'string' || count.is(value),
  expected: 'a seq or the ref of a root',
}
/** A function. */
export const callback: Rule = {
  is: (value) => typeof value === 'function',
  expected: 'a function',
}
/** An object, an array too. */
export const object: Rule = {
  is: (value) => typeof value === 'object' && value !== null,
  expected: 'an object',
}
/** An array of anything. */
export const list: Rule = { is: Array.isArray, expected: 'an array' }
/** An array of strings. */
export const texts: Rule = {
  is: (value) => Array.isArray(value) && value.every(text.is),
  expected: 'an array of texts',
}
/** A Uint8Array, so a Buffer too. */
export const bytes: Rule = { is: (value) => value instanceof Uint8Array, expected: 'bytes' }
/** An async iterable. `bytesOf` checks its chunks. */
export const stream: Rule = {
  is: (value) => typeof value === 'object' && value !== null && Symbol.asyncIterator in value,
  expected: 'a stream: something to iterate with for await',
}
/** An AbortSignal, recognized by its members: each window of a browser has a class of its own. */
export const signal: Rule = {
  is: (value) =>
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    'addEventListener' in value,
  expected: 'an AbortSignal',
}

/** Returns the rule that a value is one of these. */
export function oneOf(...values: readonly unknown[]): Rule {
  return { is: (value) => values.includes(value), expected: values.join(' or ') }
}

/** Returns the rule that a value holds one of these rules. */
export function either(...rules: readonly Rule[]): Rule {
  return {
    is: (value) => rules.some((rule) => rule.is(value)),
    expected: rules.map(({ expected }) => expected).join(', or '),
  }
}

/** Returns the rule that a value has a shape, for an object within an object. */
export function within(shape: Shape): Rule {
  const is = (value: unknown) => {
    try {
      check('it', value, shape)
      return true
    } catch {
      return false
    }
  }
  const names = [...shape.rules.keys()].map((name) =>
    shape.required.includes(name) ? name : `${name}?`,
  )
  return { is, expected: `{${names.join(', ')}} with values as they are documented` }
}

/** Returns the fields of an object that are not undefined. */
export function defined<T extends object>(
  fields: T,
): { -readonly [name in keyof T]?: Exclude<T[name], undefined> } {
  // Each request makes such an object: a loop takes a fifth of the time of an array of entries.
  const given: { -readonly [name in keyof T]?: Exclude<T[name], undefined> } = {}
  for (const name in fields) {
    const value = fields[name]
    if (value !== undefined) given[name] = value as Exclude<T[typeof name], undefined>
  }
  return given
}

/** Yields the chunks of a stream, and throws EINVAL for one that is not bytes. */
export async function* bytesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    checkValue('a chunk of a stream', chunk, bytes)
    yield chunk
  }
}

/** True for an array, and for a plain object. */
export function isContainer(value: unknown): value is object {
  if (Array.isArray(value)) return true
  if (typeof value !== 'object' || value === null) return false
  return Object.getPrototypeOf(value) === Object.prototype
}
