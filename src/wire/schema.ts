/** Schemas of what crosses the wire: each shape is written once, and its parser, its error messages and its JSON
 *  Schema come from it.
 *  Invariant: a schema of a type has a field for each field of the type, or it does not compile. What comes in
 *  is refused with EINVAL and the path of the first field that is wrong. What is as it must be is not copied: what
 *  comes from a wire is its reader's alone. Runs in browsers, and makes no code. */

import { decodeBase64 } from '../blob/base64.js'
import { type Blobref, isBlobref } from '../blob/blobref.js'
import { type Failed, isCode, TailraceError } from '../error.js'
import { base64Of, encodeText } from './bytes.js'

/** Takes anything in; gives a `T`. */
export type Schema<T = unknown> = {
  /** Throws a `Mismatch`. */
  readonly read: (input: unknown) => T
  readonly json: JsonSchema
}
/** A field that may be left out. */
export type OptionalSchema<T> = Schema<T | undefined> & { readonly optional: true }
export type ValueOf<S> = S extends Schema<infer T> ? T : never
export type JsonSchema = Readonly<Record<string, unknown>>

/** The fields of an object of type `T`. */
export type FieldsOf<T> = {
  readonly [name in keyof T]-?: undefined extends T[name]
    ? OptionalSchema<Exclude<T[name], undefined>>
    : Schema<T[name]>
}
/** Characters of a strange name that a message shows. */
const nameShownMax = 100

type Fields = Readonly<Record<string, unknown>>

/** What is wrong, and where. No error: it is made often where somebody means harm, and needs no stack. */
class Mismatch {
  readonly path: (string | number)[] = []
  readonly message: string
  /** Which op or guard of a transaction it is. */
  failed: Failed | undefined

  /** `message` follows the name of what is wrong: "must be …". */
  constructor(message: string) {
    this.message = message
  }
}

function refuse(message: string): never {
  throw new Mismatch(message)
}

/** The mismatch as it is seen from one level above. */
function below(step: string | number, thrown: unknown): unknown {
  if (thrown instanceof Mismatch) thrown.path.unshift(step)
  return thrown
}

/** A name for the shape, in documents: what has one stands there once. */
export function named<T>(title: string, { read, json }: Schema<T>): Schema<T> {
  return { read, json: { title, ...json } }
}

/** A value that `is` tells from others. `expected` completes "… must be". */
export function scalar<T>(
  is: (input: unknown) => boolean,
  expected: string,
  json: JsonSchema,
): Schema<T> {
  const message = `must be ${expected}`
  return { read: (input) => (is(input) ? (input as T) : refuse(message)), json }
}

/** A value that is written in another form than it is used. `read` may throw EINVAL, with a message that follows the
 *  value's name. */
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

export const text = scalar<string>((input) => typeof input === 'string', 'text', {
  type: 'string',
})
export const flag = scalar<boolean>((input) => typeof input === 'boolean', 'true or false', {
  type: 'boolean',
})
/** Whatever it is, its use is to check. */
export const anything: Schema<unknown> = { read: (input) => input, json: {} }
/** An object that its use is to check. */
export const anyObject = scalar<object>(isObject, 'an object', { type: 'object' })

/** Just this value. */
export function constant<const T extends string | number | boolean>(value: T): Schema<T> {
  return scalar((input) => input === value, JSON.stringify(value), { const: value })
}

/** A whole number from `min` to `max`. The 64-bit integers of msgpack come in as bigint. */
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

/** A whole number, 0 or more. */
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
export const blobref = named(
  'Blobref',
  scalar<Blobref>(
    (input) => typeof input === 'string' && isBlobref(input),
    'a blobref: blake3- and 64 hex digits',
    { type: 'string', pattern: '^blake3-[0-9a-f]{64}$' },
  ),
)
/** A root: its seq, or its ref. */
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
/** Bytes as they are, or in JSON as `{"base64": "…"}`. */
export const bytes = converted(
  (input) => bytesOf(input) ?? refuse('must be bytes, or {"base64": "…"}'),
  bytesJson,
)
/** Bytes, or text that stands for its UTF-8. */
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

export function optional<T>({ read, json }: Schema<T>): OptionalSchema<T> {
  return { read: (input) => (input === undefined ? undefined : read(input)), json, optional: true }
}

export function isOptional(schema: Schema): boolean {
  return 'optional' in schema
}

export function nullable<T>({ read, json }: Schema<T>): Schema<T | null> {
  return {
    read: (input) => (input === null ? null : read(input)),
    json: { anyOf: [json, { type: 'null' }] },
  }
}

/** `limit`: above so many, E2BIG with the message. */
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

/** Values of one kind by names that are not known before: any name, also those of an object's methods. */
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

export function oneOf<const T extends string>(...names: readonly T[]): Schema<T> {
  return scalar((input) => names.some((name) => name === input), `one of ${names.join(', ')}`, {
    type: 'string',
    enum: names,
  })
}

/** What a peer asks: a field that is not known is refused, since a typing error is no default. */
export function asked<T extends object>(fields: FieldsOf<T>): Schema<T> {
  return { read: readerOf<T>(fields, 'refused'), json: objectJson(fields, false) }
}

/** What a server answers: fields that are not known are passed over, since it may be newer. */
export function answered<T extends object>(fields: FieldsOf<T>): Schema<T> {
  return { read: readerOf<T>(fields, 'dropped'), json: objectJson(fields, true) }
}

/** `others`: what becomes of fields that are not known. */
function readerOf<T extends object>(
  fields: object,
  others: 'refused' | 'dropped',
): (input: unknown) => T {
  const known = new Map(Object.entries(fields) as [string, Schema][])
  const required = [...known].filter(([, schema]) => !isOptional(schema)).map(([name]) => name)
  return (input) => {
    if (!isObject(input)) return refuse('must be an object')
    // A copy is made with the first field that becomes another one.
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

/** One of several objects. `choose` gives the schema for what came in, or says what is wrong with it. */
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

/** One of several objects, told apart by the text in their field `tag`. */
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

/** With one more rule for the whole. `check` throws. */
export function checkedBy<T>({ read, json }: Schema<T>, check: (value: T) => void): Schema<T> {
  const checked = (input: unknown) => {
    const value = read(input)
    check(value)
    return value
  }
  return { read: checked, json }
}

/** Errors name the part of a transaction that they are about, as refusals of the store do. */
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

/** Throws EINVAL; `what` names the whole, and is empty where the names of its fields say enough. */
export function parse<T>(schema: Schema<T>, input: unknown, what: string): T {
  try {
    return schema.read(input)
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error
    const options = error.failed && { failed: error.failed }
    throw new TailraceError('EINVAL', complaintOf(error, what), options)
  }
}

/** The value that a parameter of a query stands for: `limit=10`, `newest`, `newest=true`, `at=17`. Throws EINVAL. */
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

/** Says where it is, and what it must be. */
function complaintOf({ path, message }: Mismatch, what: string): string {
  const place = path.reduce<string>((above, step) => {
    if (typeof step === 'number') return `${above}[${step}]`
    return above === '' ? step : `${above}.${step}`
  }, what)
  const follows = /^(must|is|has) /.test(message) ? ' ' : ': '
  return `${place || 'the body'}${follows}${message}`
}
