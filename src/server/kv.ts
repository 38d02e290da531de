/** `/v1/kv/KEY`: the bytes of a key. See rfc/12.
 *  Invariant: a value of any size goes in and out without ever being whole in memory. */

import { transactionSizeMax } from '../api/transaction.js'
import { blobSizeMax } from '../blob/blob.js'
import { parseContentType } from '../wire/op.js'
import type { App, Reply, Request } from './app.js'
import { contentLengthOf, readBody, streamBody } from './body.js'
import { capKinds, withCap } from './cap.js'
import type { Context } from './context.js'
import { conditionally, conditionsOf, guardsOf } from './etag.js'
import { get, head, missing, placeHeader, some } from './kv-read.js'
import { idempotencyOf, producerOf, refuseProducer } from './once.js'
import { keyOf, queryOf, writableNamespaceOf } from './query.js'

/** What curl and browsers send when nobody said what the bytes are. */
const meaninglessTypes = new Set(['application/octet-stream', 'application/x-www-form-urlencoded'])

export function serveKeys(app: App, context: Context): void {
  app.get('/v1/kv/*', (request, reply) => get(context, request, reply))
  app.head('/v1/kv/*', (request, reply) => head(context, request, reply))
  app.put('/v1/kv/*', (request, reply) => put(context, request, reply))
  app.post('/v1/kv/*', (request, reply) => append(context, request, reply))
  app.delete('/v1/kv/*', (request) => unlink(context, request))
}

async function put(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request, {
    ttl: 'integer',
    sliding: 'flag',
    ...capKinds,
    contentType: 'text',
  })
  refuseProducer(request)
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const length = contentLengthOf(request)
  const conditions = conditionsOf(request)
  const once = idempotencyOf(request, conditions)
  const options = { namespace, ...contentTypeOf(request), ...withCap(query), ...once }
  const small = length !== undefined && length <= blobSizeMax
  const value = small ? await readBody(request, blobSizeMax) : streamBody(request)
  const judged = { look: lookerOf(context, key, namespace), guards: guardsOf(request) }
  const committed = await conditionally(conditions, key, { ...judged, again: small }, (guards) =>
    context.store.put(key, value, { ...options, guards }),
  )
  if (committed.result.ref) reply.header('etag', `"${committed.result.ref}"`)
  return reply.send(committed)
}

async function append(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request, { ttl: 'integer', sliding: 'flag', ...capKinds, seal: 'flag' })
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const conditions = conditionsOf(request)
  const once = { ...producerOf(request), ...idempotencyOf(request, conditions) }
  const options = { namespace, ...withCap(query), ...once }
  const value = await readBody(request, transactionSizeMax)
  const judged = { look: lookerOf(context, key, namespace), guards: guardsOf(request) }
  const committed = await conditionally(conditions, key, { ...judged, again: true }, (guards) =>
    context.store.append(key, value, { ...options, guards }),
  )
  reply.headers(await placeHeader(context, key, { namespace, at: committed.seq }))
  return reply.send(committed)
}

async function unlink(context: Context, request: Request): Promise<unknown> {
  const { recursive } = queryOf(request, { recursive: 'flag' })
  refuseProducer(request)
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const conditions = conditionsOf(request)
  const once = idempotencyOf(request, conditions)
  // Sent again, what it removes is not there any more.
  const sure = once.idempotencyKey !== undefined
  if (!sure && !(await context.store.stat(key, { namespace, nofollow: true }))) throw missing(key)
  const op = { op: 'unlink', key, ...some({ recursive }) } as const
  const judged = { look: lookerOf(context, key, namespace), guards: guardsOf(request) }
  const committed = await conditionally(conditions, key, { ...judged, again: true }, (guards) =>
    context.store.commit({ ops: [op], guards }, { namespace, ...once }),
  )
  const { results, ...rest } = committed
  return { ...rest, result: results[0] ?? {} }
}

/** What conditions are judged on: the key behind its links, as guards see it. */
function lookerOf(context: Context, key: string, namespace: string) {
  return () => context.store.stat(key, { namespace })
}

function contentTypeOf(request: Request): { readonly contentType?: string } {
  const header = request.headers['content-type']
  if (header === undefined || header === '' || meaninglessTypes.has(header.toLowerCase())) return {}
  return { contentType: parseContentType(header, 'Content-Type') }
}
