/** Makes a request of `wire/` ready to send, and takes its answer. See rfc/12. */

import { isCode } from '../error.js'
import { toJson } from '../wire/bytes.js'
import type { AnswerOf, ArgsOf, RequestSpec } from '../wire/request.js'
import { parse, type Schema } from '../wire/schema.js'
import { readAnswer } from './answer.js'
import { componentOf, pathOf, pathOfKey, type Query } from './path.js'

/** A request that is ready to send. `body` is encoded as JSON later; it is undefined if the request
 *  has none. */
type Placed = { readonly path: string; readonly body: unknown }

/** Puts the arguments of a request into its path, its query and its body. Throws EINVAL for a name
 *  or a key that cannot stand in a path. */
export function placed<R extends RequestSpec>(spec: R, args: ArgsOf<R>): Placed {
  const rest: Record<string, unknown> = { ...args }
  const take = (name: string) => {
    const value = rest[name]
    delete rest[name]
    return value
  }
  const query: Record<string, Query[string]> = {}
  const names = [...(spec.namespaced ? ['namespace'] : []), ...Object.keys(spec.query ?? {})]
  for (const name of names) query[name] = take(name) as Query[string]
  const route = spec.path
    .slice('/v1/'.length)
    .replace(/:(\w+)/g, (_, name: string) => componentOf(String(take(name))))
  const path = route.endsWith('/*')
    ? pathOfKey(route.slice(0, -'/*'.length), String(take('key')), query)
    : pathOf(route, query)
  return { path, body: spec.body === undefined ? undefined : toJson(rest) }
}

/** Parses the answer of a request. Throws EIO if it has another shape. */
export function answerOf<R extends RequestSpec>(spec: R, input: unknown): AnswerOf<R> {
  const { answer } = spec
  if (answer === undefined) return {} as AnswerOf<R>
  return readAnswer(() => parse(answer as Schema, input, 'the answer') as AnswerOf<R>)
}

/** Returns the answer, and undefined for ENOENT. */
export async function missing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}
