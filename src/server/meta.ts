/** What is known about keys and namespaces: stat, treeobj, list, root, ns. See rfc/12. */

import { pageMax } from '../api/kvs.js'
import { invalid } from '../wire/parse.js'
import type { App, Reply, Request } from './app.js'
import type { Context } from './context.js'
import { missing, some } from './kv-read.js'
import { checkNoQuery, keyOf, namespaceOf, queryOf } from './query.js'
import { signalOf } from './stream.js'

export function serveMeta(app: App, context: Context): void {
  // Without a key: the root directory.
  for (const end of ['', '/*']) {
    app.get(`/v1/stat${end}`, (request, reply) => stat(context, request, reply))
    app.get(`/v1/treeobj${end}`, (request, reply) => treeobj(context, request, reply))
    app.get(`/v1/list${end}`, (request, reply) => list(context, request, reply))
  }
  app.get('/v1/root', (request, reply) => root(context, request, reply))
  app.get('/v1/usage', async (request) => {
    checkNoQuery(request)
    return context.store.upkeep.usage()
  })
}

async function stat(context: Context, request: Request, reply: Reply): Promise<unknown> {
  const query = queryOf(request, { at: 'at', minSeq: 'integer', nofollow: 'flag' })
  const key = keyOf(request)
  const found = await context.store.stat(key, {
    ...scopeOf(context, request, reply, query),
    ...query,
  })
  if (!found) throw missing(key)
  return found
}

async function treeobj(context: Context, request: Request, reply: Reply): Promise<unknown> {
  const query = queryOf(request, {
    at: 'at',
    minSeq: 'integer',
    after: 'integer',
    limit: 'integer',
  })
  checkLimit(query.limit)
  const key = keyOf(request)
  const scope = scopeOf(context, request, reply, query)
  const found = await context.store.treeobj(key, { ...scope, ...query })
  if (!found) throw missing(key)
  return found
}

async function list(context: Context, request: Request, reply: Reply): Promise<unknown> {
  const query = queryOf(request, {
    at: 'at',
    minSeq: 'integer',
    after: 'text',
    limit: 'integer',
    recursive: 'flag',
  })
  checkLimit(query.limit)
  const scope = scopeOf(context, request, reply, query)
  return context.store.list(keyOf(request), { ...scope, ...query })
}

async function root(context: Context, request: Request, reply: Reply): Promise<unknown> {
  const query = queryOf(request, { waitSeq: 'integer' })
  const scope = scopeOf(context, request, reply, { minSeq: query.waitSeq })
  return context.store.root({ ...scope, ...query })
}

/** A request that may wait for a seq ends with its client. */
function scopeOf(
  context: Context,
  request: Request,
  reply: Reply,
  query: { readonly minSeq?: number | undefined },
): { readonly namespace: string; readonly signal?: AbortSignal } {
  const signal = query.minSeq === undefined ? undefined : signalOf(context.activity, reply)
  return { namespace: namespaceOf(request), ...some({ signal }) }
}

function checkLimit(limit: number | undefined): void {
  if (limit === undefined || (limit >= 1 && limit <= pageMax)) return
  throw invalid(`?limit is from 1 to ${pageMax}`)
}
