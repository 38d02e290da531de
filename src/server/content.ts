/** `/v1/content`: blobs by their own names, and `PUT /v1/treeobj`: keys that name them. See rfc/6, rules 30 to
 *  34. */

import type { Op } from '../api/transaction.js'
import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import type { App, Reply, Request } from './app.js'
import { readBody, readJsonBody } from './body.js'
import type { Context } from './context.js'
import { cacheForever, conditionally, conditionsOf, guardsOf } from './etag.js'
import { some } from './kv-read.js'
import { idempotencyOf, refuseProducer } from './once.js'
import { checkNoQuery, keyOf, queryOf, writableNamespaceOf } from './query.js'
import { admitted, checkOwner } from './rights.js'

export function serveContent(app: App, context: Context): void {
  app.get('/v1/content/:ref', (request, reply) => load(context, request, reply))
  app.post('/v1/content', (request, reply) => store(context, request, reply))
  for (const end of ['', '/*']) {
    app.put(`/v1/treeobj${end}`, (request, reply) => putTreeobj(context, request, reply))
  }
}

async function load(context: Context, request: Request, reply: Reply): Promise<Reply> {
  checkNoQuery(request)
  checkOwner(admitted, 'load blobs by their refs')
  const { ref = '' } = request.params as { readonly ref?: string }
  const bytes = await context.store.blobs.load(ref)
  if (!bytes) throw new TailraceError('ENOENT', `there is no blob ${ref}`)
  return reply
    .headers({
      'content-type': 'application/octet-stream',
      'cache-control': cacheForever,
      etag: `"${ref}"`,
    })
    .send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
}

async function store(context: Context, request: Request, reply: Reply): Promise<Reply> {
  checkNoQuery(request)
  checkOwner(admitted, 'store blobs that nothing names')
  const bytes = await readBody(request, blobSizeMax)
  return reply.code(201).send({ ref: await context.store.blobs.store(bytes) })
}

async function putTreeobj(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const { dangling } = queryOf(request, { dangling: 'flag' })
  refuseProducer(request)
  const namespace = writableNamespaceOf(request)
  const key = keyOf(request)
  const conditions = conditionsOf(request)
  const scope = { namespace, ...idempotencyOf(request, conditions) }
  if (dangling) checkOwner(admitted, 'store a treeobj that dangles')
  const treeobj = await readJsonBody(request)
  const op: Op = { op: 'treeobj', key, treeobj, ...some({ dangling }) }
  const look = () => context.store.stat(key, { namespace })
  const judged = { look, guards: guardsOf(request), again: true }
  const committed = await conditionally(conditions, key, judged, (guards) =>
    context.store.commit({ ops: [op], guards }, scope),
  )
  const { results, ...rest } = committed
  const [result = {}] = results
  if (result.ref) reply.header('etag', `"${result.ref}"`)
  return reply.send({ ...rest, result })
}
