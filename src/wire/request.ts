/** A request as both ends know it: its name, its route, what it takes and gives. See rfc/12.
 *  Invariant: server and client are driven by the same definition, over HTTP and over the websocket; no two fields
 *  of one request (path, query, body) have the same name, so that all of them are one object of arguments. */

import type { Code } from '../error.js'
import {
  answered,
  asked,
  type OptionalSchema,
  parse,
  type Schema,
  text,
  type ValueOf,
} from './schema.js'

export type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
type AnySchema = Schema<never> | Schema
/** Fields by name. An optional one may be left out. */
export type FieldSchemas = Readonly<Record<string, unknown>>

/** `read`: changes nothing. `write`: changes keys. `jobs`: runs commands. `owner`: looks after the store, or reads
 *  what no key names. `anyone`: needs no token. */
export type Right = 'anyone' | 'read' | 'write' | 'jobs' | 'owner'

/** What crosses the wire besides JSON: bytes of any length, events for `EventSource`, JSON line by line. */
export type Streamed = 'bytes' | 'events' | 'lines' | 'html'

/** Headers that change what a request means. Those that it does not name are refused on it. */
export type RequestHeader =
  | 'content-type'
  | 'if-match'
  | 'if-none-match'
  | 'if-range'
  | 'range'
  | 'last-event-id'
  | 'idempotency-key'
  | 'tailrace-guards'
  | 'producer-id'
  | 'producer-epoch'
  | 'producer-seq'

export type AnswerHeader =
  | 'etag'
  | 'content-range'
  | 'tailrace-count'
  | 'tailrace-position'
  | 'tailrace-seq'
  | 'tailrace-stat'

export type RequestSpec = {
  /** As the websocket has it: `history.diff`. */
  readonly name: string
  readonly method: Method
  /** `:name` stands for one name, `*` at the end for a key (an empty one too). */
  readonly path: string
  /** One sentence for people. */
  readonly summary: string
  readonly right: Right
  /** Takes `?namespace`; `primary` if left out. A reserved one is refused where the right is `write`. */
  readonly namespaced?: true
  readonly query?: FieldSchemas
  readonly headers?: readonly RequestHeader[]
  /** JSON. A body that is left out is `{}`. */
  readonly body?: AnySchema
  /** The body is a stream. */
  readonly upload?: 'bytes' | 'lines'
  /** JSON; `{}` where there is nothing to say. */
  readonly answer?: AnySchema
  readonly download?: readonly Streamed[]
  readonly answerHeaders?: readonly AnswerHeader[]
  /** Status of an answer, where it is not 200. */
  readonly status?: number
  /** Other statuses that are no errors: of a part (206), or that there is nothing to send (204, 304). */
  readonly statuses?: readonly number[]
  /** Besides those that every request may meet. */
  readonly errors: readonly Code[]
  /** Answered when something has happened, however long that takes: always, or where this argument is given. */
  readonly waits?: true | string
}

type Optionals<F> = {
  [name in keyof F]: F[name] extends OptionalSchema<unknown> ? name : never
}[keyof F]
type Simple<T> = { [name in keyof T]: T[name] }
/** Values of fields. */
export type Values<F> = Simple<
  { readonly [name in Exclude<keyof F, Optionals<F>>]: ValueOf<F[name]> } & {
    readonly [name in Optionals<F>]?: F[name] extends OptionalSchema<infer T> ? T : never
  }
>
type Given<R, name extends string> = R extends { readonly [key in name]: infer F } ? F : unknown
type PathArgs<P extends string> = P extends `${string}:${infer name}/${infer rest}`
  ? { readonly [key in name]: string } & PathArgs<rest>
  : P extends `${string}:${infer name}`
    ? { readonly [key in name]: string }
    : P extends `${string}*`
      ? { readonly key: string }
      : unknown
type QueryArgs<R> = Given<R, 'query'> extends infer F extends FieldSchemas ? Values<F> : unknown
type BodyArgs<R> = Given<R, 'body'> extends infer S extends Schema ? ValueOf<S> : unknown
type NamespaceArg<R> = R extends { readonly namespaced: true }
  ? { readonly namespace?: string }
  : unknown

/** All that a request takes. */
export type ArgsOf<R extends RequestSpec> = Simple<
  PathArgs<R['path']> & QueryArgs<R> & BodyArgs<R> & NamespaceArg<R>
>
/** What it gives. */
export type AnswerOf<R extends RequestSpec> = R extends { readonly answer: infer S }
  ? ValueOf<S>
  : Record<never, never>

export function request<const R extends RequestSpec>(spec: R): R {
  return spec
}

/** Whether body and answer are JSON, and no header changes what it means: such a request goes over the websocket,
 *  too. */
export function isCall(spec: RequestSpec): boolean {
  const { headers = [], method, upload, download } = spec
  const isPlain = headers.every((header) => header === 'idempotency-key')
  return isPlain && method !== 'HEAD' && upload === undefined && download === undefined
}

/** Whether it is answered only when something has happened. */
export function isWaiting(
  { waits }: RequestSpec,
  args: Readonly<Record<string, unknown>>,
): boolean {
  if (waits === undefined || waits === true) return waits === true
  return args[waits] !== undefined && args[waits] !== false
}

/** Names in the path: `key` for a key. */
export function pathNames({ path }: RequestSpec): string[] {
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name]) => name ?? '')
  return path.endsWith('*') ? [...names, 'key'] : names
}

/** A parser of all that a request takes, as one object: what a frame of the websocket has. It throws EINVAL, E2BIG. */
export function argsParserOf(spec: RequestSpec): (input: unknown) => object {
  const head = { ...Object.fromEntries(pathNames(spec).map((name) => [name, text])), ...spec.query }
  const body = spec.body as Schema<object> | undefined
  const names = Object.keys(head)
  if (!body) {
    const all = asked<object>(head)
    return (input) => parse(all, input, '')
  }
  if (names.length === 0) return (input) => parse(body, input, '')
  const picked = answered<object>(head)
  return (input) => {
    const args = parse(picked, input, '')
    const rest: Record<string, unknown> = { ...(input as object) }
    for (const name of names) delete rest[name]
    return { ...args, ...parse(body, rest, '') }
  }
}
