/** Schemas of what crosses the wire. Each shape is written once; its parser, its error messages and
 *  its JSON Schema are made from it.
 *  Invariant: a schema of a type has a field for each field of the type, or it does not compile.
 *  Wrong input is refused with EINVAL and the path of the first wrong field. Input that fits is not
 *  copied: its only owner is the reader. Runs in browsers, and generates no code (no `new
 *  Function`). */

import { decodeBase64 } from '../blob/base64.js'
import { type Blobref, isBlobref } from '../blob/blobref.js'
import { type Failed, isCode, TailraceError } from '../error.js'
import { base64Of, encodeText } from './bytes.js'

/** A schema: it parses any input to a `T`. */
export type Schema<T = unknown> = {
  /** Returns the value. Throws a `Mismatch` if the input does not fit. */
  readonly read: (input: unknown) => T
  readonly json: JsonSchema
}
/** The schema of a field that may be left out. */
export type OptionalSchema<T> = Schema<T | undefined> & { readonly optional: true }
/** The type of a schema's values. */
export type ValueOf<S> = S extends Schema<infer T> ? T : never
/** A JSON Schema (2020-12), as OpenAPI 3.1 has it. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** The schemas of the fields of an object of type `T`. */
export type FieldsOf<T> = {
  readonly [name in keyof T]-?: undefined extends T[name]
    ? OptionalSchema<Exclude<T[name], undefined>>
    : Schema<T[name]>
}
/** The number of characters of an unknown field's name that a message shows. */
const nameShownMax = 100

type Fields = Readonly<Record<string, unknown>>

/** The reason why an input does not fit, and the place. It is not an `Error`: an attacker can cause
 *  many of them, and each stack trace would cost time. */
class Mismatch {
  /** Names and indices, from the outermost to the wrong one. */
  readonly path: (string | number)[] = []
  readonly message: string
  /** The op or guard of a transaction that does not fit. */
  failed: Failed | undefined

  /** The message completes the name of the wrong field: "must be …". */
  constructor(message: string) {
    this.message = message
  }
}

function refuse(message: string): never {
  throw new Mismatch(message)
}

/** Puts `step` in front of a mismatch's path, and returns what was thrown. */
function below(step: string | number, thrown: unknown): unknown {
  if (thrown instanceof Mismatch) thrown.path.unshift(step)
  return thrown
}

/** Gives a shape a title. OpenAPI describes a shape with a title once, and refers to it
 *  elsewhere. */
export function named<T>(title: string, { read, json }: Schema<T>): Schema<T> {
  return { read, json: { title, ...json } }
}

/** Makes the schema of a value for which `is` returns true. `expected` completes "… must be". */
export function scalar<T>(
  is: (input: unknown) => boolean,
  expected: string,
  json: JsonSchema,
): Schema<T> {
  const message = `must be ${expected}`
  return { read: (input) => (is(input) ? (input as T) : refuse(message)), json }
}

/** Makes the schema of a value that is written in another form than it is used in. `read` converts
 *  it, or throws EINVAL with a message that completes the name of the field. */
export function converted<T>(read: (input: unknown) => T, json: JsonSchema): Schema<T> {
  const convert = (input: unknown) => {
    try {
      return read(input)
    } catch (error) {
      throw isCode(error, 'EINVAL') ? new Mismatch(error.message) : error
    }
  }
  return { read: convert, json }
}

/** A string. */
export const text = scalar<string>((input) => typeof input === 'string', 'text', {
  type: 'string',
})
/** A boolean. */
export const flag = scalar<boolean>((input) => typeof input === 'boolean', 'true or false', {
  type: 'boolean',
})
/** Any value. The code that uses it checks it. */
export const anything: Schema<unknown> = { read: (input) => input, json: {} }
/** Any object. The code that uses it checks its fields. */
export const anyObject = scalar<object>(isObject, 'an object', { type: 'object' })

/** Makes the schema of this one value. */
export function constant<const T extends string | number | boolean>(value: T): Schema<T> {
  return scalar((input) => input === value, JSON.stringify(value), { const: value })
}

/** Makes the schema of an integer from `min` to `max`, both inclusive. A 64-bit integer of msgpack
 *  comes in as a bigint, and becomes a number. */
export function integer(min = 0, max = Number.MAX_SAFE_INTEGER): Schema<number> {
  const json = {
    type: 'integer',
    ...(min === Number.MIN_SAFE_INTEGER ? {} : { minimum: min }),
    ...(max === Number.MAX_SAFE_INTEGER ? {} : { maximum: max }),
  }
  const message = `must be ${rangeOf(json)}`
  const read = (input: unknown) => {
    const value = typeof input === 'bigint' ? Number(input) : input
    return isWithin(value, min, max) ? value : refuse(message)
  }
  return { read, json }
}

function isWithin(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
}

function rangeOf({ minimum, maximum }: { readonly minimum?: number; readonly maximum?: number }) {
  if (minimum === undefined) return 'an integer'
  const bounds = maximum === undefined ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`
  return `an integer ${bounds}`
}

/** An integer of at least 0. */
export const count = integer()
/** A finite number, such as a time in ms. */
export const number: Schema<number> = {
  read: (input) => {
    const value = typeof input === 'bigint' ? Number(input) : input
    const isExact = typeof input !== 'bigint' || BigInt(Number(input)) === input
    if (typeof value === 'number' && Number.isFinite(value) && isExact) return value
    return refuse('must be a number')
  },
  json: { type: 'number' },
}
/** A blobref. */
export const blobref = named(
  'Blobref',
  scalar<Blobref>(
    (input) => typeof input === 'string' && isBlobref(input),
    'a blobref: blake3- and 64 hex digits',
    { type: 'string', pattern: '^blake3-[0-9a-f]{64}$' },
  ),
)
/** A root, named by its seq or its ref. */
export const at: Schema<number | string> = {
  read: (input) => {
    if (typeof input === 'string' && isBlobref(input)) return input
    const seq = typeof input === 'bigint' ? Number(input) : input
    return isWithin(seq, 0, Number.MAX_SAFE_INTEGER)
      ? seq
      : refuse('must be a seq or the ref of a root')
  },
  json: { oneOf: [count.json, blobref.json] },
}

const bytesJson: JsonSchema = {
  title: 'Bytes',
  type: 'object',
  properties: { base64: { type: 'string', contentEncoding: 'base64' } },
  required: ['base64'],
  additionalProperties: false,
}
/** Bytes: raw in msgpack, `{"base64": "…"}` in JSON. */
export const bytes = converted(
  (input) => bytesOf(input) ?? refuse('must be bytes, or {"base64": "…"}'),
  bytesJson,
)
/** Bytes, or text, which is encoded as UTF-8. */
export const textOrBytes = converted<Uint8Array>(
  (input) =>
    typeof input === 'string'
      ? encodeText(input)
      : (bytesOf(input) ?? refuse('must be text, bytes, or {"base64": "…"}')),
  { oneOf: [{ type: 'string' }, bytesJson] },
)

function bytesOf(input: unknown): Uint8Array | undefined {
  if (input instanceof Uint8Array) return input
  const base64 = typeof input === 'object' && input !== null ? base64Of(input) : undefined
  return base64 === undefined ? undefined : decodeBase64(base64)
}

/** Makes the schema of a field that may be left out. */
export function optional<T>({ read, json }: Schema<T>): OptionalSchema<T> {
  return { read: (input) => (input === undefined ? undefined : read(input)), json, optional: true }
}

/** Returns true if `optional` made the schema. */
export function isOptional(schema: Schema): boolean {
  return 'optional' in schema
}

/** Makes the schema of a value that may be null. */
export function nullable<T>({ read, json }: Schema<T>): Schema<T | null> {
  return {
    read: (input) => (input === null ? null : read(input)),
    json: { anyOf: [json, { type: 'null' }] },
  }
}

/** Makes the schema of an array. With more items than `limit.max` it throws E2BIG with the
 *  message. */
export function arrayOf<T>(
  { read, json }: Schema<T>,
  limit?: { readonly max: number; readonly message: string },
): Schema<T[]> {
  const readAll = (input: unknown): T[] => {
    if (!Array.isArray(input)) return refuse('must be an array')
    if (limit && input.length > limit.max) throw new TailraceError('E2BIG', limit.message)
    let values: T[] = input
    for (let index = 0; index < input.length; index++) {
      try {
        const value = read(input[index])
        if (value === input[index]) continue
        if (values === input) values = [...input]
        values[index] = value
      } catch (error) {
        throw below(index, error)
      }
    }
    return values
  }
  const bound = limit ? { maxItems: limit.max } : {}
  return { read: readAll, json: { type: 'array', items: json, ...bound } }
}

/** Makes the schema of an object with any names, whose values have one schema. Names such as
 *  `constructor` are names like all others. */
export function mapOf<T>({ read, json }: Schema<T>): Schema<Record<string, T>> {
  const readAll = (input: unknown) => {
    if (!isObject(input)) return refuse('must be an object')
    for (const [name, value] of Object.entries(input)) {
      try {
        read(value)
      } catch (error) {
        throw below(name, error)
      }
    }
    return input as Record<string, T>
  }
  return { read: readAll, json: { type: 'object', additionalProperties: json } }
}

/** Makes the schema of a string that is one of these. */
export function oneOf<const T extends string>(...names: readonly T[]): Schema<T> {
  return scalar((input) => names.some((name) => name === input), `one of ${names.join(', ')}`, {
    type: 'string',
    enum: names,
  })
}

/** Makes the schema of an object that a client sends. An unknown field is refused, so that a typing
 *  error never means a default (rfc/12, rule 5). */
export function asked<T extends object>(fields: FieldsOf<T>): Schema<T> {
  return { read: readerOf<T>(fields, 'refused'), json: objectJson(fields, false) }
}

/** Makes the schema of an object that a server sends. Unknown fields are dropped: the server may be
 *  newer than the client. */
export function answered<T extends object>(fields: FieldsOf<T>): Schema<T> {
  return { read: readerOf<T>(fields, 'dropped'), json: objectJson(fields, true) }
}

/** Makes the `read` of an object's schema. `others` says what happens to unknown fields. */
function readerOf<T extends object>(
  fields: object,
  others: 'refused' | 'dropped',
): (input: unknown) => T {
  const known = new Map(Object.entries(fields) as [string, Schema][])
  const required = [...known].filter(([, schema]) => !isOptional(schema)).map(([name]) => name)
  return (input) => {
    if (!isObject(input)) return refuse('must be an object')
    // The input is copied only once a field has to change.
    let values: Record<string, unknown> = input as Record<string, unknown>
    for (const name in input) {
      const schema = known.get(name)
      if (schema === undefined) {
        if (others === 'refused') {
          return refuse(
            `has a field "${name.slice(0, nameShownMax)}" that is not known here; see rfc/12`,
          )
        }
        if (values === input) values = { ...input }
        delete values[name]
        continue
      }
      const given = (input as Fields)[name]
      if (given === undefined) continue
      try {
        const value = schema.read(given)
        if (value === given) continue
        if (values === input) values = { ...input }
        values[name] = value
      } catch (error) {
        throw below(name, error)
      }
    }
    for (const name of required) {
      if ((input as Fields)[name] === undefined) throw below(name, new Mismatch('is missing'))
    }
    return values as T
  }
}

/** Makes the schema of one of several objects. `choose` returns the schema for the input, or the
 *  reason why there is none. */
export function chosenOf<T>(
  options: readonly Schema[],
  choose: (fields: Fields) => Schema | string,
): Schema<T> {
  const read = (input: unknown) => {
    if (!isObject(input)) return refuse('must be an object')
    const chosen = choose(input as Fields)
    return (typeof chosen === 'string' ? refuse(chosen) : chosen.read(input)) as T
  }
  return { read, json: { oneOf: options.map(({ json }) => json) } }
}

/** Makes the schema of one of several objects, which the text in their field `tag` tells apart. */
export function variantOf<T>(tag: string, options: Readonly<Record<string, Schema>>): Schema<T> {
  const known = new Map<unknown, Schema>(Object.entries(options))
  const message = `must be one of ${[...known.keys()].join(', ')}`
  const schemas = Object.values(options)
  return chosenOf(schemas, (fields) => {
    const found = known.get(fields[tag])
    if (found) return found
    throw below(tag, new Mismatch(message))
  })
}

/** Adds a rule to a schema: `check` looks at the whole value, and throws if it is wrong. */
export function checkedBy<T>({ read, json }: Schema<T>, check: (value: T) => void): Schema<T> {
  const checked = (input: unknown) => {
    const value = read(input)
    check(value)
    return value
  }
  return { read: checked, json }
}

/** Adds to each mismatch the op or guard of a transaction that it is about, as the errors of the
 *  store have it in `failed`. */
export function withFailed<T>(
  { read, json }: Schema<T>,
  failedOf: (path: readonly (string | number)[]) => Failed | undefined,
): Schema<T> {
  const named = (input: unknown) => {
    try {
      return read(input)
    } catch (error) {
      if (error instanceof Mismatch) error.failed = failedOf(error.path)
      throw error
    }
  }
  return { read: named, json }
}

/** Parses an input by a schema. Throws EINVAL; its message begins with `what` and the path of the
 *  wrong field. `what` may be empty. */
export function parse<T>(schema: Schema<T>, input: unknown, what: string): T {
  try {
    return schema.read(input)
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error
    const options = error.failed && { failed: error.failed }
    throw new TailraceError('EINVAL', complaintOf(error, what), options)
  }
}

/** Parses the text of a query parameter: `limit=10`, `newest`, `newest=true`, `at=17`. Throws
 *  EINVAL. */
export function parseParameter<T>(schema: Schema<T>, input: string, what: string): T {
  return parse(schema, typedOf(schema.json, input), what)
}

function typedOf({ type, oneOf: forms }: JsonSchema, input: string): unknown {
  if (type === 'boolean') {
    if (input === '' || input === 'true') return true
    return input === 'false' ? false : input
  }
  const isNumber = type === 'integer' || type === 'number' || forms !== undefined
  return isNumber && /^-?[0-9]{1,16}$/.test(input) ? Number(input) : input
}

function objectJson(fields: object, open: boolean): JsonSchema {
  const entries = Object.entries(fields) as [string, Schema][]
  const required = entries.filter(([, schema]) => !isOptional(schema)).map(([name]) => name)
  return {
    type: 'object',
    properties: Object.fromEntries(entries.map(([name, { json }]) => [name, json])),
    ...(required.length > 0 && { required }),
    ...(open ? {} : { additionalProperties: false }),
  }
}

function isObject(input: unknown): input is object {
  return (
    typeof input === 'object' &&
    input !== null &&
    !Array.isArray(input) &&
    !(input instanceof Uint8Array)
  )
}

/** Makes the message of a mismatch: the place, and what the value must be. */
function complaintOf({ path, message }: Mismatch, what: string): string {
  const place = path.reduce<string>((above, step) => {
    if (typeof step === 'number') return `${above}[${step}]`
    return above === '' ? step : `${above}.${step}`
  }, what)
  const follows = /^(must|is|has) /.test(message) ? ' ' : ': '
  return `${place || 'the body'}${follows}${message}`
}
