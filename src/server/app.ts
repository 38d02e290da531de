/** The routes of one HTTP server, on Fastify. The only import of fastify. See rfc/12, rule 3.
 *  Invariant: bodies reach the routes as streams. Every error is answered in the envelope of rule
 *  3. */

import {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
} from 'fastify'
import { TailraceError, toTailraceError } from '../error.js'
import { statusOf } from '../wire/status.js'
import { Front, type FrontOptions } from './front.js'
import { encodeAnswer, isLong } from './json-answer.js'
import type { Log } from './log.js'
import { retryAfterMsOf, tooManyRequests } from './rate.js'
import { admittedRest, noRest, refuse } from './refusal.js'
import { type RequestIds, requestIdHeader } from './request-ids.js'

/** An HTTP server that takes routes. */
export type App = FastifyInstance
export type Request = FastifyRequest
export type Reply = FastifyReply

type AppOptions = FrontOptions & { readonly log: Log; readonly requestIds: RequestIds }

/** The largest name of a namespace, a pin or a job in a path, in bytes. */
const nameSizeMax = 255
const requestTimeout = 408
/** The time after which a client may try again after EBUSY, in seconds. */
const retryAfterSeconds = '1'

/** Makes an HTTP server without routes. Its requests come through the front, which also ends its
 *  connections. */
export function createApp(options: AppOptions): { readonly app: App; readonly front: Front } {
  let front: Front | undefined
  const app = fastify({
    logger: false,
    requestIdHeader: false,
    genReqId: ({ headers }) => options.requestIds.of(headers[requestIdHeader]),
    // A name in a path may be percent-encoded.
    routerOptions: { maxParamLength: 3 * nameSizeMax },
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    serverFactory: (route) => {
      front = new Front(options, route)
      return front.server
    },
    // The front answers requests that cannot be parsed.
    clientErrorHandler: () => {},
    frameworkErrors: (error, request, reply) => answerError(options, error, request, reply),
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => done(null, body))
  app.addHook('preSerialization', async (request, reply, answer) => {
    if (!isLong(answer)) return answer
    if (request.method === 'GET') options.backlogs?.checkRoom()
    // Fastify sends a Buffer, too, but its types allow only text.
    reply.serializer((made) => made)
    return encodeAnswer(answer)
  })
  app.setErrorHandler((error, request, reply) => answerError(options, error, request, reply))
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0]
    throw new TailraceError('ENOENT', `there is no route ${request.method} ${path}; see rfc/12`)
  })
  if (!front) throw new TypeError('fastify did not ask for its server')
  return { app, front }
}

function answerError(options: AppOptions, thrown: unknown, request: Request, reply: Reply): void {
  const error = errorOf(thrown)
  // A client that has gone is no fault of the server.
  if (statusOf(error.code) === 500 && !request.raw.aborted) {
    options.log.fault(`${request.method} ${request.url}`, thrown, request.id)
  }
  reply.hijack()
  // The body has stalled: do not wait for the rest of it.
  const stalled = error.code === 'ETIMEDOUT' && !request.raw.complete
  const retryAfterMs = retryAfterMsOf(error)
  const retryAfter =
    retryAfterMs === undefined ? retryAfterSeconds : String(Math.ceil(retryAfterMs / 1_000))
  refuse(request.raw, reply.raw, {
    error,
    ...(retryAfterMs !== undefined && { status: tooManyRequests }),
    headers: {
      [requestIdHeader]: request.id,
      ...(error.code === 'EBUSY' && { 'retry-after': retryAfter }),
    },
    ...(stalled ? { rest: noRest, status: requestTimeout } : { rest: admittedRest }),
  })
}

/** True if Fastify refused the request. `thrown` may be anything: an error of a library can have a
 *  number as its code. */
function isFrameworkError(thrown: unknown): thrown is FastifyError {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined
  return typeof code === 'string' && code.startsWith('FST_')
}

/** Returns the error to answer with: Fastify's own refusals get one of our codes. */
function errorOf(thrown: unknown): TailraceError {
  if (thrown instanceof TailraceError || !isFrameworkError(thrown)) return toTailraceError(thrown)
  const { code, statusCode, message } = thrown
  if (statusCode === 413) return new TailraceError('E2BIG', message ?? code)
  if (statusCode !== undefined && statusCode < 500) {
    return new TailraceError('EINVAL', message ?? code)
  }
  return toTailraceError(thrown)
}
