/** `/v1/export` and `/v1/import`: a namespace's tree out and in, as a stream. See rfc/12, rfc/15.
 *  Invariant: at a client's pace, with a chunk in memory; an export that fails in the middle ends its
 *  connection, an import whose client goes imports nothing. */

import type { App, Reply, Request } from './app.js'
import { streamBody } from './body.js'
import type { Context } from './context.js'
import { some } from './kv-read.js'
import { namespaceOf, queryOf, writableNamespaceOf } from './query.js'
import { sendStream, signalOf } from './stream.js'

export function serveTransfers(app: App, context: Context): void {
  app.get('/v1/export', (request, reply) => exportTree(context, request, reply))
  app.post('/v1/import', (request, reply) => importTree(context, request, reply))
}

async function exportTree(context: Context, request: Request, reply: Reply): Promise<Reply> {
  const { at, since, skipDamaged } = queryOf(request, {
    at: 'at',
    since: 'at',
    skipDamaged: 'flag',
  })
  const signal = signalOf(context.activity, reply)
  const scope = { namespace: namespaceOf(request), signal, ...some({ at, since, skipDamaged }) }
  await sendStream(reply, {
    headers: async () => ({ 'content-type': 'application/octet-stream' }),
    pieces: context.store.upkeep.export(scope),
    signal,
    log: context.log,
    pace: context.pace,
  })
  return reply
}

async function importTree(context: Context, request: Request, reply: Reply): Promise<unknown> {
  const { replace } = queryOf(request, { replace: 'flag' })
  const namespace = writableNamespaceOf(request)
  const signal = signalOf(context.activity, reply)
  const scope = { namespace, signal, ...some({ replace }) }
  return context.store.upkeep.import(streamBody(request), scope)
}
