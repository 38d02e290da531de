/** The requests for blobs by their refs, and the one that sets the treeobj of a key. See rfc/18,
 *  rules 7 to 11. */

import type { Op } from '../api/transaction.js'
import { defined } from '../base/shape.js'
import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { loadBlob, storeBlob } from '../wire/blobs.js'
import { putTreeobj } from '../wire/keys.js'
import { readBody, readJsonBody } from './body.js'
import { cacheForever, conditionally, conditionsOf, guardsOf } from './etag.js'
import { idempotencyOf } from './once.js'
import type { Routes } from './routes.js'

export function serveContent(routes: Routes): void {
  routes.serveHttp(loadBlob, async ({ ref }, { reply, context }) => {
    const bytes = await context.store.blobs.load(ref)
    if (!bytes) throw new TailraceError('ENOENT', `there is no blob ${ref}`)
    return reply
      .headers({
        'content-type': 'application/octet-stream',
        'cache-control': cacheForever,
        etag: `"${ref}"`,
      })
      .send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
  })
  routes.serveHttp(storeBlob, async (_args, { request, reply, context: { store } }) => {
    const bytes = await readBody(request, blobSizeMax)
    return reply.code(201).send({ ref: await store.blobs.store(bytes) })
  })
  routes.serveHttp(putTreeobj, async ({ key, namespace, dangling }, http) => {
    const { request, reply } = http
    const { store } = http.context
    const conditions = conditionsOf(request)
    const scope = { ...defined({ namespace }), ...idempotencyOf(request, conditions) }
    const treeobj = await readJsonBody(request)
    const op: Op = { op: 'treeobj', key, treeobj, ...defined({ dangling }) }
    const look = () => store.stat(key, defined({ namespace }))
    const judged = { look, guards: guardsOf(request), again: true }
    const committed = await conditionally(conditions, key, judged, (guards) =>
      store.commit({ ops: [op], guards }, scope),
    )
    const { results, ...rest } = committed
    const [result = {}] = results
    if (result.ref) reply.header('etag', `"${result.ref}"`)
    return reply.send({ ...rest, result })
  })
}
