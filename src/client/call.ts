/** A request of `wire/` as a client sends it: its arguments put in their places, its answer read. See rfc/12. Pure. */

import { isCode, TailraceError } from '../error.js'
import { toJson } from '../wire/bytes.js'
import type { AnswerOf, ArgsOf, RequestSpec } from '../wire/request.js'
import { parse, type Schema } from '../wire/schema.js'
import { componentOf, pathOf, pathOfKey, type Query } from './path.js'

/** `body`: JSON; undefined where the request has none. */
export type Placed = { readonly path: string; readonly body: unknown }

/** Throws EINVAL: a name or a key that cannot stand in a path. */
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

/** Throws EIO: the server's answer is not what it says. */
export function answerOf<R extends RequestSpec>(spec: R, input: unknown): AnswerOf<R> {
  if (spec.answer === undefined) return {} as AnswerOf<R>
  try {
    return parse(spec.answer as Schema, input, 'the answer') as AnswerOf<R>
  } catch (cause) {
    if (!isCode(cause, 'EINVAL')) throw cause
    const message = `the server's answer could not be read (${cause.message}); are both of one version?`
    throw new TailraceError('EIO', message, { cause })
  }
}
