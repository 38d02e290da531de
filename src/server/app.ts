/** One HTTP server of Fastify with our manners: bodies come as streams, every error is our envelope,
 *  and Host, Origin and token are checked before anything else. The only import of fastify. See
 *  rfc/12, rules 3 and 7. */

import {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
} from 'fastify'
import { TailraceError, toTailraceError } from '../error.js'
import { errorBodyOf, statusOf } from '../wire/status.js'
import { type Access, bearerOf, checkHost, checkOrigin, checkToken } from './access.js'
import type { Activity } from './activity.js'
import { dropBody } from './body.js'
import { faultLine } from './fault.js'

export type App = FastifyInstance
export type Request = FastifyRequest
export type Reply = FastifyReply

export type AppOptions = {
  readonly activity: Activity
  /** Asked at each request: the addresses are known only once the server listens. */
  readonly access: () => Access
  /** Of a TCP server: requests must name it, and carry the token. */
  readonly token?: string
  readonly log: (line: string) => void
}

/** Headers that a page of an allowed origin may send and see. */
const allowedHeaders =
  'authorization, content-type, if-match, if-none-match, tailrace-guards, idempotency-key, producer-id, producer-epoch, producer-seq'
const exposedHeaders = 'etag, tailrace-seq, tailrace-count, tailrace-stat, tailrace-error'
/** Bytes of a name in a path that is no key: of a namespace, a pin, a job. */
const nameSizeMax = 255
const allowedMethods = 'GET, HEAD, PUT, POST, PATCH, DELETE'

export function createApp(options: AppOptions): App {
  const app = fastify({
    logger: false,
    // A name in a path may be percent-encoded.
    routerOptions: { maxParamLength: 3 * nameSizeMax },
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    frameworkErrors: (error, request, reply) => {
      void answerError(options, error, request, reply)
    },
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => done(null, body))
  app.addHook('onRequest', async (request, reply) => {
    countRequest(options.activity, request, reply)
    // The socket of an upgrade that is answered as a request is nobody's: it would stay open, and
    // keep the server from closing.
    if (isUpgrade(request)) reply.raw.once('finish', () => request.raw.socket.destroySoon())
    return admit(options, request, reply)
  })
  app.setErrorHandler((error, request, reply) => answerError(options, error, request, reply))
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0]
    throw new TailraceError('ENOENT', `there is no route ${request.method} ${path}; see rfc/12`)
  })
  return app
}

/** Whether the request wants to become a websocket. */
export function isUpgrade(request: Request): boolean {
  return request.headers.upgrade !== undefined
}

function countRequest(activity: Activity, request: Request, reply: Reply): void {
  const counted = activity.begin()
  const open = isUpgrade(request) ? request.raw.socket : reply.raw
  open.once('close', counted.end)
}

/** Throws EPERM, EUNAUTH. Gives the reply where it has answered the request itself. */
function admit(options: AppOptions, request: Request, reply: Reply): Reply | undefined {
  if (options.activity.closed)
    throw new TailraceError('ECLOSED', 'the server is stopping: try again')
  const { authorization, host, origin } = request.headers
  const access = options.access()
  if (options.token !== undefined) checkHost(access, host)
  checkOrigin(access, origin)
  if (origin !== undefined) {
    reply.headers({
      'access-control-allow-origin': origin,
      'access-control-expose-headers': exposedHeaders,
      vary: 'origin',
    })
    if (request.method === 'OPTIONS') return answerPreflight(reply)
  }
  const path = request.routeOptions.url
  if (options.token === undefined || path === '/healthz') return undefined
  // A browser's websocket can carry no header: its first frame brings the token (ws.ts).
  if (path === '/v1/ws' && isUpgrade(request) && authorization === undefined) return undefined
  checkToken(options.token, bearerOf(authorization))
  return undefined
}

function answerPreflight(reply: Reply): Reply {
  return reply
    .code(204)
    .headers({
      'access-control-allow-headers': allowedHeaders,
      'access-control-allow-methods': allowedMethods,
    })
    .send()
}

async function answerError(
  options: AppOptions,
  thrown: unknown,
  request: Request,
  reply: Reply,
): Promise<Reply> {
  const error = errorOf(thrown)
  const where = `${request.method} ${request.url}`
  const fault = statusOf(error.code) === 500 ? faultLine(where, thrown) : undefined
  // A client that has gone is no fault of ours.
  if (fault !== undefined && !request.raw.aborted) options.log(fault)
  await dropBody(request, reply)
  return reply
    .code(statusOf(error.code))
    .header('tailrace-error', error.code)
    .type('application/json; charset=utf-8')
    .send(JSON.stringify({ error: errorBodyOf(error) }))
}

/** A library's error may have a number for its code, and what is thrown may be no error at all. */
function isFrameworkError(thrown: unknown): thrown is FastifyError {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined
  return typeof code === 'string' && code.startsWith('FST_')
}

/** What Fastify refuses has one of its own codes. */
function errorOf(thrown: unknown): TailraceError {
  if (thrown instanceof TailraceError || !isFrameworkError(thrown)) return toTailraceError(thrown)
  const { code, statusCode, message } = thrown
  if (statusCode === 413) return new TailraceError('E2BIG', message ?? code)
  if (statusCode !== undefined && statusCode < 500) {
    return new TailraceError('EINVAL', message ?? code)
  }
  return toTailraceError(thrown)
}
