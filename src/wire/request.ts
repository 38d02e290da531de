/** The definition of a request: its name, route, arguments, answer and errors. See rfc/12.
 *  Invariant: server and client use the same definition, over HTTP and over the websocket. All
 *  fields of a request (path, query, body) have different names, so that one object holds all
 *  arguments. */

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

type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
type AnySchema = Schema<never> | Schema
/** Schemas of fields, by the name of the field. */
type FieldSchemas = Readonly<Record<string, unknown>>

/** The right that a request needs, as its document tells it. `anyone`: none, and no token. `read`: to
 *  read keys. `write`: to change keys. `jobs`: to run commands. `admin`: to look after a namespace and
 *  its tokens. `metrics`: to see the metrics of the server. `owner`: to look after the store, or to read blobs by their refs. What a caller with
 *  an access token may do is checked on each key (rfc/28, rule 8). */
export type Right = 'anyone' | 'read' | 'write' | 'jobs' | 'admin' | 'metrics' | 'owner'

/** Forms of an answer that is not one JSON value: raw bytes, an event stream for `EventSource`,
 *  JSON line by line, a page, lines of text. */
type Streamed = 'bytes' | 'events' | 'lines' | 'html' | 'text'

/** Headers that change the meaning of a request. One that a request does not list is refused on
 *  it. */
export type RequestHeader =
  | 'content-type'
  | 'if-match'
  | 'if-none-match'
  | 'if-range'
  | 'range'
  | 'last-event-id'
  | 'idempotency-key'
  | 'idempotency-since'
  | 'tailrace-guards'
  | 'producer-id'
  | 'producer-epoch'
  | 'producer-seq'

type AnswerHeader =
  | 'etag'
  | 'content-range'
  | 'tailrace-count'
  | 'tailrace-position'
  | 'tailrace-seq'
  | 'tailrace-stat'

/** The definition of one request. */
export type RequestSpec = {
  /** The name, which the websocket uses as `op`: `history.diff`. */
  readonly name: string
  readonly method: Method
  /** The path of the route. `:name` stands for one name, `*` at the end for a key, which may be
   *  empty. */
  readonly path: string
  /** One sentence for people, without its full stop. */
  readonly summary: string
  readonly right: Right
  /** The request is for the owner alone, whatever its right says of it: it reads, or it writes. */
  readonly ownerOnly?: true
  /** The request takes `?namespace`; its default is `primary`. A request with the right `write`
   *  refuses reserved namespaces. */
  readonly namespaced?: true
  readonly query?: FieldSchemas
  readonly headers?: readonly RequestHeader[]
  /** The schema of a body in JSON. A body that is left out is `{}`. */
  readonly body?: AnySchema
  /** The form of a body that is a stream. */
  readonly upload?: 'bytes' | 'lines'
  /** The schema of an answer in JSON. Default: `{}`. */
  readonly answer?: AnySchema
  readonly download?: readonly Streamed[]
  readonly answerHeaders?: readonly AnswerHeader[]
  /** The status of an answer. Default: 200. */
  readonly status?: number
  /** Other statuses that are no errors: 206 for a part, 204 and 304 if there is nothing to send. */
  readonly statuses?: readonly number[]
  /** The errors of this request, besides those that any request may meet. */
  readonly errors: readonly Code[]
  /** The request is answered once something has happened, however long that takes: `true` for every
   *  call, or the name of the argument that makes a call wait. */
  readonly waits?: true | string
  /** Requests of this kind that come one behind the other on a websocket land in that order (those
   *  on several namespaces: in that order in each). Any other request may land at any time before
   *  its answer. */
  readonly inOrder?: true
}

type Optionals<F> = {
  [name in keyof F]: F[name] extends OptionalSchema<unknown> ? name : never
}[keyof F]
type Simple<T> = { [name in keyof T]: T[name] }
/** The values of fields, by the name of the field. */
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

/** The arguments of a request, as one object. */
export type ArgsOf<R extends RequestSpec> = Simple<
  PathArgs<R['path']> & QueryArgs<R> & BodyArgs<R> & NamespaceArg<R>
>
/** The answer of a request. */
export type AnswerOf<R extends RequestSpec> = R extends { readonly answer: infer S }
  ? ValueOf<S>
  : Record<never, never>

/** Defines a request; `R` keeps the literal types, from which `ArgsOf` and `AnswerOf` are made. */
export function request<const R extends RequestSpec>(spec: R): R {
  return spec
}

/** Returns true if a request is served over the websocket too: its body and its answer are JSON,
 *  and no header but those of the idempotency key changes its meaning. */
export function isCall(spec: RequestSpec): boolean {
  const { headers = [], method, upload, download } = spec
  const isPlain = headers.every((header) => header.startsWith('idempotency-'))
  return isPlain && method !== 'HEAD' && upload === undefined && download === undefined
}

/** Returns true if a call with these arguments is answered only once something has happened. */
export function isWaiting(
  { waits }: RequestSpec,
  args: Readonly<Record<string, unknown>>,
): boolean {
  if (waits === undefined || waits === true) return waits === true
  return args[waits] !== undefined && args[waits] !== false
}

/** Returns the names of the arguments in the path. A `*` at its end is the argument `key`. */
export function pathNames({ path }: RequestSpec): string[] {
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name]) => name ?? '')
  return path.endsWith('*') ? [...names, 'key'] : names
}

/** Returns a parser of all arguments of a request in one object, as a frame of the websocket has
 *  them. The parser throws EINVAL, E2BIG. */
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
