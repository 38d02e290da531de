/** A request as both ends know it: its name, its route, what it takes and gives. See rfc/12.
 *  Invariant: server and client are driven by the same definition, over HTTP and over the websocket; no two fields
 *  of one request (path, query, body) have the same name, so that all of them are one object of arguments. */

import type { Code } from '../error.js'
import type { OptionalSchema, Output, Schema } from './schema.js'

export type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
type AnySchema = Schema<never> | Schema
/** Fields by name. An optional one may be left out. */
export type FieldSchemas = Readonly<Record<string, unknown>>

/** `read`: changes nothing. `write`: changes keys. `jobs`: runs commands. `owner`: looks after the store, or reads
 *  what no key names. */
export type Right = 'read' | 'write' | 'jobs' | 'owner'

/** What crosses the wire besides JSON: bytes of any length. */
export type Streamed = 'bytes' | 'events' | 'lines'

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
  /** JSON. A body that is left out is `{}`. */
  readonly body?: AnySchema
  /** The body is a stream. */
  readonly upload?: 'bytes' | 'lines'
  /** JSON; `{}` where there is nothing to say. */
  readonly answer?: AnySchema
  readonly download?: readonly Streamed[]
  /** Status of an answer, where it is not 200. */
  readonly status?: number
  /** Besides those that every request may meet. */
  readonly errors: readonly Code[]
  /** Answered when something has happened, however long that takes. */
  readonly waits?: true
}

type Optionals<F> = {
  [name in keyof F]: F[name] extends OptionalSchema<unknown> ? name : never
}[keyof F]
type Simple<T> = { [name in keyof T]: T[name] }
/** Values of fields. */
export type Values<F> = Simple<
  { readonly [name in Exclude<keyof F, Optionals<F>>]: Output<F[name]> } & {
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
type BodyArgs<R> = Given<R, 'body'> extends infer S extends Schema ? Output<S> : unknown
type NamespaceArg<R> = R extends { readonly namespaced: true }
  ? { readonly namespace?: string }
  : unknown

/** All that a request takes. */
export type ArgsOf<R extends RequestSpec> = Simple<
  PathArgs<R['path']> & QueryArgs<R> & BodyArgs<R> & NamespaceArg<R>
>
/** What it gives. */
export type AnswerOf<R extends RequestSpec> = R extends { readonly answer: infer S }
  ? Output<S>
  : Record<never, never>

export function request<const R extends RequestSpec>(spec: R): R {
  return spec
}
