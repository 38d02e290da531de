/** The requests of `/v1/kv/KEY`, which read and write the bytes of a key. See rfc/12, rules 18 and
 *  20.
 *  Invariant: a `PUT` of any size is stored without ever being whole in memory. */

import { primary } from '../api/namespace.js'
import { transactionSizeMax } from '../api/transaction.js'
import { defined } from '../base/shape.js'
import { blobSizeMax } from '../blob/blob.js'
import { isCode } from '../error.js'
import { appendKey, getKey, headKey, putKey, unlinkKey } from '../wire/keys.js'
import type { ArgsOf } from '../wire/request.js'
import { parse } from '../wire/schema.js'
import { contentType } from '../wire/transaction.js'
import type { Reply, Request } from './app.js'
import { contentLengthOf, readBody, streamHeldBody } from './body.js'
import { withCap } from './cap.js'
import type { ServedStore, ServerContext } from './context.js'
import { conditionally, conditionsOf, guardsOf } from './etag.js'
import { get, head, missing, placeHeader } from './kv-read.js'
import { idempotencyOf, producerOf } from './once.js'
import type { Routes } from './routes.js'

/** The content types that curl and browsers send by themselves. They say nothing of the bytes. */
const meaninglessTypes = new Set(['application/octet-stream', 'application/x-www-form-urlencoded'])

type Http = {
  readonly request: Request
  readonly reply: Reply
  readonly trace?: string | undefined
}

export function serveKeys(routes: Routes): void {
  routes.serveHttp(getKey, (args, http) => get(http.context, args, http.request, http.reply))
  routes.serveHttp(headKey, (args, http) => head(http.context, args, http.request, http.reply))
  routes.serveHttp(putKey, (args, http) => put(http.context, args, http))
  routes.serveHttp(appendKey, (args, http) => append(http.context, args, http))
  routes.serveHttp(unlinkKey, (args, http) => unlink(http.context, args, http))
}

async function put(
  { store }: ServerContext,
  { key, namespace = primary, ...args }: ArgsOf<typeof putKey>,
  { request, reply, trace }: Http,
): Promise<Reply> {
  const length = contentLengthOf(request)
  const conditions = conditionsOf(request)
  const once = idempotencyOf(request, conditions)
  const options = {
    namespace,
    ...contentTypeOf(request),
    ...withCap(args),
    ...once,
    ...defined({ trace }),
  }
  const small = length !== undefined && length <= blobSizeMax
  const value = small ? await readBody(request, blobSizeMax) : streamHeldBody(request)
  const look = () => store.stat(key, { namespace })
  const judged = { look, guards: guardsOf(request), again: small }
  const committed = await conditionally(conditions, key, judged, (guards) =>
    store.put(key, value, { ...options, guards }),
  )
  if (committed.result.ref) reply.header('etag', `"${committed.result.ref}"`)
  return reply.send(committed)
}

async function append(
  context: ServerContext,
  { key, namespace = primary, ...args }: ArgsOf<typeof appendKey>,
  { request, reply, trace }: Http,
): Promise<Reply> {
  const { store } = context
  const conditions = conditionsOf(request)
  const once = { ...producerOf(request), ...idempotencyOf(request, conditions) }
  const options = { namespace, ...withCap(args), ...once, ...defined({ trace }) }
  const value = await readBody(request, transactionSizeMax)
  const look = () => store.stat(key, { namespace })
  const judged = { look, guards: guardsOf(request), again: true }
  const committed = await conditionally(conditions, key, judged, (guards) =>
    store.append(key, value, { ...options, guards }),
  )
  reply.headers(await placeHeader(context, key, { namespace, at: committed.seq }))
  return reply.send(committed)
}

async function unlink(
  { store }: ServerContext,
  { key, namespace = primary, recursive }: ArgsOf<typeof unlinkKey>,
  { request, trace }: Http,
): Promise<unknown> {
  const conditions = conditionsOf(request)
  const once = idempotencyOf(request, conditions)
  // With an idempotency key the request may be a repeat, and the first one has removed the key.
  const sure = once.idempotencyKey !== undefined
  if (!sure && !(await mayBeThere(store, key, namespace))) throw missing(key)
  const op = { op: 'unlink', key, ...defined({ recursive }) } as const
  const look = () => store.stat(key, { namespace })
  const judged = { look, guards: guardsOf(request), again: true }
  const committed = await conditionally(conditions, key, judged, (guards) =>
    store.commit({ ops: [op], guards }, { namespace, ...once, ...defined({ trace }) }),
  )
  const { results, ...rest } = committed
  return { ...rest, result: results[0] ?? {} }
}

/** Returns false if a key is known not to be there. Who may write and not read is not told. */
async function mayBeThere(store: ServedStore, key: string, namespace: string): Promise<boolean> {
  try {
    return (await store.stat(key, { namespace, nofollow: true })) !== undefined
  } catch (error) {
    if (isCode(error, 'EPERM')) return true
    throw error
  }
}

function contentTypeOf(request: Request): { readonly contentType?: string } {
  const header = request.headers['content-type']
  if (header === undefined || header === '' || meaninglessTypes.has(header.toLowerCase())) return {}
  return { contentType: parse(contentType, header, 'Content-Type') }
}
