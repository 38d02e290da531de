/** Schemas of what crosses the wire: each shape is written once, and its parser, its error messages and its JSON
 *  Schema come from it. The only import of valibot.
 *  Invariant: a schema of a type has a field for each field of the type, or it does not compile. What comes in
 *  is refused with EINVAL and the path of the first field that is wrong. Runs in browsers. */

import * as v from 'valibot'
import { type Blobref, isBlobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'

/** Takes anything in; gives a `T`. */
export type Schema<T = unknown> = v.GenericSchema<unknown, T>
/** A field that may be left out. */
export type OptionalSchema<T> = v.OptionalSchema<Schema<T>, undefined>
export type Output<S> = S extends Schema<infer T> ? T : never
export type JsonSchema = Readonly<Record<string, unknown>>

/** The fields of an object of type `T`. */
export type FieldsOf<T> = {
  readonly [name in keyof T]-?: undefined extends T[name]
    ? OptionalSchema<Exclude<T[name], undefined>>
    : Schema<T[name]>
}

/** Given with each schema that is made here. */
const jsonSchemas = new WeakMap<object, JsonSchema>()

export function jsonSchemaOf(schema: object): JsonSchema {
  return jsonSchemas.get(schema) ?? {}
}

function known<T>(schema: unknown, json: JsonSchema): Schema<T> {
  jsonSchemas.set(schema as object, json)
  return schema as Schema<T>
}

/** A value that `is` tells from others. `expected` completes "… must be". */
export function scalar<T>(
  is: (input: unknown) => boolean,
  expected: string,
  json: JsonSchema,
): Schema<T> {
  return known(v.custom<T>(is, `must be ${expected}`), json)
}

/** A value that is written in another form than it is used. `parse` throws EINVAL; its message follows the value's
 *  name: "must be …". */
export function converted<T>(parse: (input: unknown) => T, json: JsonSchema): Schema<T> {
  const convert = v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
    try {
      return parse(dataset.value)
    } catch (error) {
      if (!(error instanceof TailraceError)) throw error
      addIssue({ message: error.message })
      return NEVER
    }
  })
  return known(v.pipe(v.unknown(), convert), json)
}

export const text = scalar<string>((input) => typeof input === 'string', 'text', {
  type: 'string',
})
export const flag = scalar<boolean>((input) => typeof input === 'boolean', 'true or false', {
  type: 'boolean',
})
/** Whatever it is, its use is to check. */
export const anything = known<unknown>(v.unknown(), {})

/** A whole number of at least `min`. The 64-bit integers of msgpack come in as bigint. */
export function integer(min = 0): Schema<number> {
  const expected = `an integer${min === 0 ? ' of at least 0' : ''}`
  const is = (input: unknown) => {
    const value = numberOf(input)
    return Number.isSafeInteger(value) && (value as number) >= min
  }
  const minimum = min === Number.MIN_SAFE_INTEGER ? {} : { minimum: min }
  return known(v.pipe(v.custom(is, `must be ${expected}`), v.transform(Number)), {
    type: 'integer',
    ...minimum,
  })
}

/** A whole number, 0 or more. */
export const count = integer()
/** A finite number, such as a time in ms. */
export const number = known<number>(
  v.pipe(
    v.custom(
      (input) =>
        Number.isFinite(numberOf(input)) &&
        (typeof input !== 'bigint' || BigInt(Number(input)) === input),
      'must be a number',
    ),
    v.transform(Number),
  ),
  { type: 'number' },
)
export const blobref = scalar<Blobref>(
  (input) => typeof input === 'string' && isBlobref(input),
  'a blobref: blake3- and 64 hex digits',
  { type: 'string', pattern: '^blake3-[0-9a-f]{64}$' },
)
/** A root: its seq, or its ref. */
export const at = known<number | string>(
  v.union([text, count], 'must be a seq or the ref of a root'),
  { oneOf: [{ type: 'integer', minimum: 0 }, { type: 'string' }] },
)

export function optional<T>(schema: Schema<T>): OptionalSchema<T> {
  const made = v.optional(schema)
  jsonSchemas.set(made, jsonSchemaOf(schema))
  return made
}

export function nullable<T>(schema: Schema<T>): Schema<T | null> {
  return known(v.nullable(schema), { anyOf: [jsonSchemaOf(schema), { type: 'null' }] })
}

export function arrayOf<T>(schema: Schema<T>): Schema<T[]> {
  return known(v.array(schema, 'must be an array'), { type: 'array', items: jsonSchemaOf(schema) })
}

/** Values of one kind by names that are not known before. */
export function mapOf<T>(schema: Schema<T>): Schema<Record<string, T>> {
  return known(v.pipe(isObject, v.record(text as v.GenericSchema<string, string>, schema)), {
    type: 'object',
    additionalProperties: jsonSchemaOf(schema),
  })
}

export function oneOf<const T extends string>(...names: readonly T[]): Schema<T> {
  return scalar((input) => names.some((name) => name === input), `one of ${names.join(', ')}`, {
    type: 'string',
    enum: names,
  })
}

/** What a peer asks: a field that is not known is refused, since a typing error is no default. */
export function asked<T extends object>(fields: FieldsOf<T>): Schema<T> {
  const json = { ...objectJson(fields), additionalProperties: false }
  return known(v.pipe(isObject, v.strictObject(fields as unknown as v.ObjectEntries)), json)
}

/** What a server answers: fields that are not known are passed over, since it may be newer. */
export function answered<T extends object>(fields: FieldsOf<T>): Schema<T> {
  const schema = v.pipe(isObject, v.object(fields as unknown as v.ObjectEntries))
  return known(schema, objectJson(fields))
}

/** One of several objects, told apart by the text in their field `name`. */
export function variantOf<T>(name: string, options: readonly Schema<unknown>[]): Schema<T> {
  const objects = options.map(objectIn) as unknown as v.VariantOptions<string>
  return known(v.pipe(isObject, v.variant(name, objects as never)), {
    oneOf: options.map(jsonSchemaOf),
  })
}

/** Throws EINVAL; `what` names the whole. */
export function parse<T>(schema: Schema<T>, input: unknown, what: string): T {
  const result = v.safeParse(schema, input, { abortEarly: true, abortPipeEarly: true })
  if (result.success) return result.output
  throw new TailraceError('EINVAL', complaintOf(result.issues[0], what))
}

/** The value that a parameter of a query stands for: `limit=10`, `newest`, `newest=true`, `at=17`. Throws EINVAL. */
export function parseParameter<T>(schema: Schema<T>, input: string, what: string): T {
  return parse(schema, typedOf(jsonSchemaOf(schema), input), what)
}

function typedOf({ type, oneOf: forms }: JsonSchema, input: string): unknown {
  if (type === 'boolean') {
    if (input === '' || input === 'true') return true
    return input === 'false' ? false : input
  }
  const isNumber = type === 'integer' || type === 'number' || forms !== undefined
  return isNumber && /^-?[0-9]{1,16}$/.test(input) ? Number(input) : input
}

const isObject = v.custom<object>(
  (input) =>
    typeof input === 'object' &&
    input !== null &&
    !Array.isArray(input) &&
    !(input instanceof Uint8Array),
  'must be an object',
)

function objectIn(schema: Schema): unknown {
  const { pipe } = schema as unknown as { readonly pipe: readonly unknown[] }
  return pipe[1]
}

function objectJson(fields: object): JsonSchema {
  const entries = Object.entries(fields) as [string, Schema][]
  const required = entries.filter(([, schema]) => schema.type !== 'optional')
  return {
    type: 'object',
    properties: Object.fromEntries(entries.map(([name, schema]) => [name, jsonSchemaOf(schema)])),
    required: required.map(([name]) => name),
  }
}

/** Says where it is, and what it must be. */
function complaintOf(issue: v.BaseIssue<unknown>, what: string): string {
  const path = issue.path ?? []
  const isField = issue.type === 'strict_object' || issue.type === 'object'
  const last = path.at(-1)
  if (isField && last && issue.expected === 'never') {
    const owner = placeOf(path.slice(0, -1), what)
    return `${owner} has a field "${String(last.key)}" that is not known here; see rfc/12`
  }
  if (isField && last && issue.received === 'undefined') {
    return `${placeOf(path, what)} is missing`
  }
  const message = issue.type === 'variant' ? `must be one of ${issue.expected}` : issue.message
  return `${placeOf(path, what)} ${message}`
}

function placeOf(path: readonly v.IssuePathItem[], what: string): string {
  return path.reduce((place, { key }) => {
    if (typeof key === 'number') return `${place}[${key}]`
    return place === '' ? String(key) : `${place}.${String(key)}`
  }, what)
}

function numberOf(input: unknown): unknown {
  return typeof input === 'bigint' ? Number(input) : input
}
