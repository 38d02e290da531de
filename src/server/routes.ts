/** The table of requests of `wire/`, served over HTTP and over the websocket. The arguments of a
 *  request are parsed here, once for both. See rfc/12, rules 2, 5, 8 and 10.
 *  Invariant: a handler gets arguments that have passed the schemas of its request. A parameter, a
 *  field or a header that the request does not know is EINVAL. */

import { primary } from '../api/namespace.js'
import { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'
import { servedSpan } from '../base/tracing.js'
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
import type { App, Reply, Request } from './app.js'
import type { Backlog } from './backlogs.js'
import { bodyShareOf, readJsonBody } from './body.js'
import type { ServerContext } from './context.js'
import type { FrontRequest } from './front-request.js'
import { holdPrincipal } from './held-principal.js'
import { secretParameters } from './linked.js'
import { type Log, roundedMs } from './log.js'
import type { Meters, RequestMeter } from './meters.js'
import { checkHeaders } from './misplaced.js'
import { idempotencyOf } from './once.js'
import type { Principal, PrincipalSource } from './principal.js'
import { checkWritable, namespaceOf } from './scope.js'
import { signalOf } from './stream.js'

/** The parts of a request besides its arguments. */
export type Call = {
  /** The context, with the store as the principal sees it. */
  readonly context: ServerContext
  /** Aborted when the client goes or cancels, and when the server stops. Read it only in a handler
   *  that may wait: reading it makes the request count as a wait, and throws EBUSY if there are too
   *  many. */
  readonly signal: AbortSignal
  readonly idempotencyKey?: string | undefined
  /** The place of the request in a trace. */
  readonly trace?: string | undefined
  /** The part of the client in the backlogs of the server. */
  readonly backlog: Backlog | undefined
  readonly idempotencySince?: number | undefined
  /** Calls `act` after the answer was sent. */
  readonly afterwards: (act: () => void) => void
}

type Args = Readonly<Record<string, unknown>>
type Handler<R extends RequestSpec> = (args: ArgsOf<R>, call: Call) => Promise<AnswerOf<R>>
/** Returns the answer if it is in memory, and undefined if the handler must be called. */
type Now<R extends RequestSpec> = (
  args: ArgsOf<R>,
  context: ServerContext,
) => AnswerOf<R> | undefined
type HttpHandler<R extends RequestSpec> = (args: ArgsOf<R>, http: HttpCall) => Promise<unknown>

/** The parts of a request that reads its body or writes its answer itself. */
type HttpCall = {
  readonly request: Request
  readonly reply: Reply
  /** The context, with the store as the principal sees it. */
  readonly context: ServerContext
  /** The place of the request in a trace. */
  readonly trace?: string | undefined
}

/** Tells who sends a request, and what its handlers get. `Principals` implements it. */
type RoutePrincipals = PrincipalSource & {
  contextOf(principal: Principal): ServerContext
}

type Served = {
  readonly spec: RequestSpec
  /** Resolves with the body of the answer, or with the reply if it was sent already. */
  readonly handle: (http: HttpCall, args: Args) => Promise<unknown>
  readonly meter: RequestMeter
}
type ServedCall = {
  readonly spec: RequestSpec
  readonly meter: RequestMeter
  readonly parseArgs: (input: unknown) => object
  readonly handle: (args: Args, call: Call) => Promise<unknown>
  readonly now: ((args: Args, context: ServerContext) => unknown) | undefined
}

/** The parsed request of a frame. */
export class AskedCall {
  readonly args: Args
  readonly #served: ServedCall

  constructor(served: ServedCall, args: Args) {
    this.#served = served
    this.args = args
  }

  get spec(): RequestSpec {
    return this.#served.spec
  }

  /** The counts of this request over websockets. */
  get meter(): RequestMeter {
    return this.#served.meter
  }

  /** Runs the handler and resolves with its answer, which the caller counts. Throws what the handler
   *  throws. */
  run(call: Call): Promise<unknown> {
    return this.#served.handle(this.args, call)
  }

  /** Returns the answer if it is in memory; undefined if `run` must be called. Throws what the
   *  handler throws. */
  now(context: ServerContext): unknown {
    const { now, meter } = this.#served
    try {
      const answer = now?.(this.args, context)
      if (answer !== undefined) meter.answered++
      return answer
    } catch (error) {
      meter.fail(error)
      throw error
    }
  }
}

export type RoutesPorts = { readonly meters: Meters; readonly log: Log }

/** The handlers of all requests. Register each once, then `mount` them on the HTTP servers. */
export class Routes {
  readonly #meters: Meters
  readonly #log: Log
  readonly #served: Served[] = []
  readonly #calls = new Map<string, ServedCall>()

  constructor({ meters, log }: RoutesPorts) {
    this.#meters = meters
    this.#log = log
  }

  /** Serves a request whose body and answer are JSON. `now`: answers it without a promise where that
   *  is possible. REQUIRES: `isCall(spec)`. */
  serve<const R extends RequestSpec>(spec: R, handle: Handler<R>, now?: Now<R>): void {
    if (!isCall(spec)) throw new TypeError(`${spec.name} is for HTTP only`)
    const parseArgs = argsParserOf(spec)
    const handleArgs = (args: Args, call: Call) => handle(args as ArgsOf<R>, call)
    const nowArgs = now && ((args: Args, context: ServerContext) => now(args as ArgsOf<R>, context))
    const meter = this.#meters.request(spec.name, 'websocket')
    this.#calls.set(spec.name, { spec, meter, parseArgs, handle: handleArgs, now: nowArgs })
    this.#add(spec, async ({ request, reply, context, trace }, args) => {
      const once = spec.headers?.includes('idempotency-key') ? idempotencyOf(request) : {}
      const body = await bodyOf(spec, request)
      const call: Call = {
        ...once,
        context,
        trace,
        backlog: (request.raw as FrontRequest).backlog,
        get signal() {
          return signalOf(context.activity, reply)
        },
        afterwards: (act) => reply.raw.once('close', act),
      }
      const answer = await handleArgs({ ...args, ...body }, call)
      return reply.code(spec.status ?? 200).send(answer)
    })
  }

  /** Serves a request that reads its body or writes its answer itself. */
  serveHttp<const R extends RequestSpec>(spec: R, handle: HttpHandler<R>): void {
    this.#add(spec, async (http, args) => handle(args as ArgsOf<R>, http))
  }

  /** Adds the routes to an HTTP server. REQUIRES: each request of the table is served. */
  mount(app: App, principals: RoutePrincipals): void {
    this.#checkAll()
    for (const { spec, handle, meter } of this.#served) {
      const { method, path } = spec
      // A path without a key names the root directory.
      const urls = path.endsWith('/*') ? [path.slice(0, -'/*'.length), path] : [path]
      const answer = async (request: Request, reply: Reply) => {
        checkHeaders(spec, request)
        const args = argsOf(spec, request)
        const context = principals.contextOf(
          holdPrincipal(principals, { request, reply }, spec, args),
        )
        context.checkRate()
        const span = servedSpan(spec.name, traceParentOf(request))
        const handled = () => handle({ request, reply, context, trace: span?.parent }, args)
        const work = span ? () => span.during(handled) : handled
        return bodyShareOf(request)?.during(work) ?? work()
      }
      const handler = (request: Request, reply: Reply) => {
        if (this.#log.takes('debug')) this.#logEnd(request, reply)
        return meter.during(() => answer(request, reply))
      }
      for (const url of urls) app.route({ method, url, handler })
    }
  }

  /** Parses the request of a frame, and takes the frame's body for its arguments. REQUIRES: called
   *  once for a frame. Throws EINVAL, E2BIG, EPERM (a reserved namespace). */
  asked(frame: CallFrame): AskedCall {
    const { op, namespace, idempotencyKey, idempotencySince, body = {} } = frame
    const served = this.#calls.get(op)
    if (!served) {
      throw invalid(`op must be one of ${[...controlNames, ...this.#calls.keys()].join(', ')}`)
    }
    const { spec, meter, parseArgs } = served
    if (namespace !== undefined && !spec.namespaced) {
      throw invalid(`${op}.namespace means nothing: it is of the whole store`)
    }
    if (idempotencyKey !== undefined && !spec.headers?.includes('idempotency-key')) {
      throw invalid(`${op}.idempotencyKey means nothing: it does no harm twice, or cannot tell`)
    }
    if (idempotencySince !== undefined && idempotencyKey === undefined) {
      throw invalid(`${op}.idempotencySince means nothing without idempotencyKey`)
    }
    try {
      const args = parseArgs(body) as Args & { namespace?: string }
      if (spec.namespaced) args.namespace = scopeOf(spec, namespace ?? primary)
      return new AskedCall(served, args)
    } catch (error) {
      meter.fail(error)
      throw error
    }
  }

  /** Logs a request when its answer has ended. */
  #logEnd({ id, method, url, raw }: Request, reply: Reply): void {
    const begun = performance.now()
    reply.raw.once('close', () => {
      this.#log.request({
        ...{ way: 'http', request: id, what: `${method} ${url}` },
        outcome: reply.raw.statusCode,
        ms: roundedMs(performance.now() - begun),
        token: (raw as FrontRequest).principal?.id ?? 'owner',
      })
    })
  }

  /** Checks that the served requests are those of the table, since the documents are made from the
   *  table. */
  #checkAll(): void {
    const served = new Set(this.#served.map(({ spec }) => spec))
    const missing = [...requests.values()].filter((spec) => !served.delete(spec))
    const strange = [...served]
    if (missing.length + strange.length === 0) return
    const names = [...missing, ...strange].map(({ name }) => name).join(', ')
    throw new TypeError(`not both in the table of requests and served: ${names}`)
  }

  #add(spec: RequestSpec, handle: Served['handle']): void {
    this.#served.push({ spec, handle, meter: this.#meters.request(spec.name, 'http') })
  }
}

/** Returns the header `traceparent` of a request. */
function traceParentOf({ headers }: Request): string | undefined {
  const { traceparent } = headers
  return typeof traceparent === 'string' ? traceparent : undefined
}

/** Parses the arguments in the path and the query. Throws EINVAL, EPERM (a reserved namespace). */
function argsOf(spec: RequestSpec, request: Request): Args {
  const { '*': key = '', ...names } = request.params as Readonly<Record<string, string>>
  return {
    ...names,
    ...(spec.path.endsWith('*') && { key }),
    ...(spec.namespaced && { namespace: scopeOf(spec, namespaceOf(request)) }),
    ...queryOf(spec, request),
  }
}

/** Returns the namespace of a request that takes one. Throws EPERM if the request writes to a
 *  reserved namespace. */
function scopeOf(spec: RequestSpec, namespace: string): string {
  return spec.right === 'write' ? checkWritable(namespace) : namespace
}

/** Parses the query. Throws EINVAL. */
function queryOf(spec: RequestSpec, request: Request): Args {
  const known = (spec.query ?? {}) as Readonly<Record<string, Schema>>
  const given = request.query as Args
  const values: Record<string, unknown> = {}
  for (const [name, input] of Object.entries(given)) {
    if (spec.namespaced && (name === 'namespace' || name === 'ns')) continue
    if (secretParameters.has(name)) continue // the judge has read it
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

/** Parses the body of a request. JSON is parsed in slices. Its schema is checked in one step, and
 *  after a long step the event loop turns. Throws EINVAL, E2BIG. */
async function bodyOf(spec: RequestSpec, request: Request): Promise<object> {
  if (spec.body === undefined) return {}
  const body = await readJsonBody(request)
  const slice = new LoopSlice()
  const parsed = parse(spec.body as Schema<object>, body, '')
  if (slice.over) await slice.turn()
  return parsed
}
