/** The requests of `wire/` on a server: what a request takes is parsed here, once, for HTTP and for the websocket.
 *  See rfc/12.
 *  Invariant: a handler gets arguments that have passed the request's schemas; a parameter, a field or a header that
 *  the request does not know is EINVAL. */

import { primary } from '../api/namespace.js'
import { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'
import { type CallFrame, controlNames } from '../wire/frames.js'
import {
  type AnswerOf,
  type ArgsOf,
  argsParserOf,
  isCall,
  type RequestSpec,
} from '../wire/request.js'
import { requests } from '../wire/requests.js'
import { isOptional, parse, parseParameter, type Schema } from '../wire/schema.js'
import type { Activity } from './activity.js'
import type { App, Reply, Request } from './app.js'
import { readJsonBody } from './body.js'
import { checkHeaders } from './misplaced.js'
import { idempotencyOf } from './once.js'
import { checkWritable, namespaceOf } from './scope.js'
import { signalOf } from './stream.js'

/** How a request came. */
export type Call = {
  /** Aborted when the client has gone or cancels, or the server stops. Only for what waits. */
  readonly signal: AbortSignal
  readonly idempotencyKey?: string
  /** Runs when the answer has gone out. */
  readonly afterwards: (act: () => void) => void
}

type Args = Readonly<Record<string, unknown>>
type Handler<R extends RequestSpec> = (args: ArgsOf<R>, call: Call) => Promise<AnswerOf<R>>
type HttpHandler<R extends RequestSpec> = (
  args: ArgsOf<R>,
  http: { readonly request: Request; readonly reply: Reply },
) => Promise<unknown>

type Served = {
  readonly spec: RequestSpec
  /** Resolves with the answer's body, or with the reply itself where it was sent. */
  readonly handle: (activity: Activity, request: Request, reply: Reply) => Promise<unknown>
}
type ServedCall = {
  readonly spec: RequestSpec
  readonly parseArgs: (input: unknown) => object
  readonly handle: (args: Args, call: Call) => Promise<unknown>
}

/** A request of a frame, parsed. */
export type AskedCall = {
  readonly spec: RequestSpec
  readonly args: Args
  /** Throws what the request's handler throws. */
  readonly run: (call: Call) => Promise<unknown>
}

export class Routes {
  readonly #served: Served[] = []
  readonly #calls = new Map<string, ServedCall>()

  /** Serves a request whose body and answer are JSON. REQUIRES: `isCall(spec)`. */
  serve<const R extends RequestSpec>(spec: R, handle: Handler<R>): void {
    if (!isCall(spec)) throw new TypeError(`${spec.name} is for HTTP only`)
    const parseArgs = argsParserOf(spec)
    const handleArgs = (args: Args, call: Call) => handle(args as ArgsOf<R>, call)
    this.#calls.set(spec.name, { spec, parseArgs, handle: handleArgs })
    this.#add(spec, async (activity, request, reply) => {
      const once = spec.headers?.includes('idempotency-key') ? idempotencyOf(request) : {}
      const args = argsOf(spec, request)
      const body = await bodyOf(spec, request)
      const call: Call = {
        ...once,
        get signal() {
          return signalOf(activity, reply)
        },
        afterwards: (act) => reply.raw.once('close', act),
      }
      const answer = await handleArgs({ ...args, ...body }, call)
      return reply.code(spec.status ?? 200).send(answer)
    })
  }

  /** Serves a request that reads its body or writes its answer itself. */
  serveHttp<const R extends RequestSpec>(spec: R, handle: HttpHandler<R>): void {
    this.#add(spec, async (_activity, request, reply) =>
      handle(argsOf(spec, request) as ArgsOf<R>, { request, reply }),
    )
  }

  /** Gives an HTTP server its routes. REQUIRES: each request of the table is served. */
  mount(app: App, activity: Activity): void {
    this.#checkAll()
    for (const { spec, handle } of this.#served) {
      const { method, path } = spec
      // The empty key is the root directory.
      const urls = path.endsWith('/*') ? [path.slice(0, -'/*'.length), path] : [path]
      const handler = async (request: Request, reply: Reply) => {
        checkHeaders(spec, request)
        return handle(activity, request, reply)
      }
      for (const url of urls) app.route({ method, url, handler })
    }
  }

  /** The request that a frame asks for. Throws EINVAL, E2BIG, EPERM (a reserved namespace). */
  asked(frame: CallFrame): AskedCall {
    const { op, namespace, idempotencyKey, body = {} } = frame
    const served = this.#calls.get(op)
    if (!served) {
      throw invalid(`op must be one of ${[...controlNames, ...this.#calls.keys()].join(', ')}`)
    }
    const { spec, parseArgs, handle } = served
    if (namespace !== undefined && !spec.namespaced) {
      throw invalid(`${op}.namespace means nothing: it is of the whole store`)
    }
    if (idempotencyKey !== undefined && !spec.headers?.includes('idempotency-key')) {
      throw invalid(`${op}.idempotencyKey means nothing: it does no harm twice, or cannot tell`)
    }
    const args = { ...parseArgs(body), ...scopeOf(spec, namespace ?? primary) }
    return { spec, args, run: (call) => handle(args, call) }
  }

  /** What the table has and what is served are the same: documents are made of the table. */
  #checkAll(): void {
    const served = new Set(this.#served.map(({ spec }) => spec))
    const missing = [...requests.values()].filter((spec) => !served.delete(spec))
    const strange = [...served]
    if (missing.length + strange.length === 0) return
    const names = [...missing, ...strange].map(({ name }) => name).join(', ')
    throw new TypeError(`not both in the table of requests and served: ${names}`)
  }

  #add(spec: RequestSpec, handle: Served['handle']): void {
    this.#served.push({ spec, handle })
  }
}

/** What stands in the path and the query. Throws EINVAL, EPERM (a reserved namespace). */
function argsOf(spec: RequestSpec, request: Request): Args {
  const { '*': key = '', ...names } = request.params as Readonly<Record<string, string>>
  return {
    ...names,
    ...(spec.path.endsWith('*') && { key }),
    ...(spec.namespaced && scopeOf(spec, namespaceOf(request))),
    ...queryOf(spec, request),
  }
}

/** Throws EPERM. */
function scopeOf(spec: RequestSpec, namespace: string): { readonly namespace?: string } {
  if (!spec.namespaced) return {}
  return { namespace: spec.right === 'write' ? checkWritable(namespace) : namespace }
}

function queryOf(spec: RequestSpec, request: Request): Args {
  const known = (spec.query ?? {}) as Readonly<Record<string, Schema>>
  const given = request.query as Args
  const values: Record<string, unknown> = {}
  for (const [name, input] of Object.entries(given)) {
    if (spec.namespaced && (name === 'namespace' || name === 'ns')) continue
    const schema = Object.hasOwn(known, name) ? known[name] : undefined
    if (schema === undefined) throw unknownParameter(spec, name)
    if (typeof input !== 'string') throw invalid(`?${name} may stand once only`)
    values[name] = parseParameter(schema, input, `?${name}`)
  }
  for (const [name, schema] of Object.entries(known)) {
    if (!isOptional(schema) && !Object.hasOwn(given, name)) throw invalid(`?${name} is missing`)
  }
  return values
}

function unknownParameter(spec: RequestSpec, name: string): Error {
  const known = [...(spec.namespaced ? ['namespace'] : []), ...Object.keys(spec.query ?? {})]
  const there = known.length === 0 ? 'it takes none' : `there are ${known.join(', ')}`
  return invalid(`there is no parameter "${name}" here; ${there}`)
}

/** A long body is parsed in slices; its shape is checked at once, after which the event loop turns. */
async function bodyOf(spec: RequestSpec, request: Request): Promise<object> {
  if (spec.body === undefined) return {}
  const body = await readJsonBody(request)
  const slice = new LoopSlice()
  const parsed = parse(spec.body as Schema<object>, body, '')
  if (slice.over) await slice.turn()
  return parsed
}
