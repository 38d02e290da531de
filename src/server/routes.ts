/** The requests of `wire/` on a server: what a request takes is parsed here, once, for HTTP and for the websocket.
 *  See rfc/12.
 *  Invariant: a handler gets arguments that have passed the request's schemas; a parameter or a field that the
 *  request does not know is EINVAL. */

import { invalid } from '../base/shape.js'
import { toJson } from '../wire/bytes.js'
import type { AnswerOf, ArgsOf, RequestSpec } from '../wire/request.js'
import { parse, parseParameter, type Schema } from '../wire/schema.js'
import type { Activity } from './activity.js'
import type { App, Reply, Request } from './app.js'
import { readJsonBody } from './body.js'
import { checkWritable, namespaceOf } from './query.js'
import { signalOf } from './stream.js'

/** How a request came. */
export type Call = {
  /** Aborted when the client has gone or cancels, or the server stops. Only for what waits. */
  readonly signal: AbortSignal
}

type Handler<R extends RequestSpec> = (args: ArgsOf<R>, call: Call) => Promise<AnswerOf<R>>
type HttpHandler<R extends RequestSpec> = (
  args: ArgsOf<R>,
  http: { readonly request: Request; readonly reply: Reply },
) => Promise<unknown>

export class Routes {
  readonly #app: App
  readonly #activity: Activity

  constructor(app: App, activity: Activity) {
    this.#app = app
    this.#activity = activity
  }

  /** Serves a request whose body and answer are JSON. */
  serve<const R extends RequestSpec>(spec: R, handle: Handler<R>): void {
    const activity = this.#activity
    this.#route(spec, async (request, reply) => {
      const args = { ...argsOf(spec, request), ...(await bodyOf(spec, request)) }
      const call: Call = {
        get signal() {
          return signalOf(activity, reply)
        },
      }
      const answer = await handle(args as ArgsOf<R>, call)
      return reply.code(spec.status ?? 200).send(toJson(answer))
    })
  }

  /** Serves a request that reads its body or writes its answer itself. */
  serveHttp<const R extends RequestSpec>(spec: R, handle: HttpHandler<R>): void {
    this.#route(spec, async (request, reply) =>
      handle(argsOf(spec, request) as ArgsOf<R>, { request, reply }),
    )
  }

  #route(
    { method, path }: RequestSpec,
    handler: (request: Request, reply: Reply) => Promise<unknown>,
  ): void {
    // The empty key is the root directory.
    const urls = path.endsWith('/*') ? [path.slice(0, -'/*'.length), path] : [path]
    for (const url of urls) this.#app.route({ method, url, handler })
  }
}

/** What stands in the path and the query. Throws EINVAL, EPERM (a reserved namespace). */
function argsOf(spec: RequestSpec, request: Request): Readonly<Record<string, unknown>> {
  const { '*': key = '', ...names } = request.params as Readonly<Record<string, string>>
  return {
    ...names,
    ...(spec.path.endsWith('*') && { key }),
    ...namespaceArg(spec, request),
    ...queryOf(spec, request),
  }
}

function namespaceArg(spec: RequestSpec, request: Request): { readonly namespace?: string } {
  if (!spec.namespaced) return {}
  const namespace = namespaceOf(request)
  return { namespace: spec.right === 'write' ? checkWritable(namespace) : namespace }
}

function queryOf(spec: RequestSpec, request: Request): Readonly<Record<string, unknown>> {
  const known = (spec.query ?? {}) as Readonly<Record<string, Schema>>
  const given = request.query as Readonly<Record<string, unknown>>
  const values: Record<string, unknown> = {}
  for (const [name, input] of Object.entries(given)) {
    if (spec.namespaced && (name === 'namespace' || name === 'ns')) continue
    const schema = Object.hasOwn(known, name) ? known[name] : undefined
    if (schema === undefined) throw unknownParameter(spec, name)
    if (typeof input !== 'string') throw invalid(`?${name} may stand once only`)
    values[name] = parseParameter(schema, input, `?${name}`)
  }
  for (const [name, schema] of Object.entries(known)) {
    if (!Object.hasOwn(given, name)) parse(schema, undefined, `?${name}`)
  }
  return values
}

function unknownParameter(spec: RequestSpec, name: string): Error {
  const known = [...(spec.namespaced ? ['namespace'] : []), ...Object.keys(spec.query ?? {})]
  const there = known.length === 0 ? 'it takes none' : `there are ${known.join(', ')}`
  return invalid(`there is no parameter "${name}" here; ${there}`)
}

async function bodyOf(spec: RequestSpec, request: Request): Promise<object> {
  if (spec.body === undefined) return {}
  const body = (await readJsonBody(request)) ?? {}
  return parse(spec.body as Schema<object>, body, spec.name)
}
