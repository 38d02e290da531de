/** What is known about keys and namespaces: stat, treeobj, list, root, ns. See rfc/12. */

import { pageMax } from '../api/kvs.js'
import { reservedNamespaces } from '../api/namespace.js'
import { TailraceError } from '../error.js'
import { parseAt } from '../wire/op.js'
import { invalid, optional, parseFields, parseText } from '../wire/parse.js'
import type { App, Reply, Request } from './app.js'
import { readJsonBody } from './body.js'
import type { Context } from './context.js'
import { missing, some } from './kv-read.js'
import { checkNoQuery, checkWritable, keyOf, nameOf, namespaceOf, queryOf } from './query.js'
import { admitted, checkOwner } from './rights.js'
import { signalOf } from './stream.js'

const namespaceFields = new Set(['name', 'from'])
const fromFields = new Set(['namespace', 'at'])

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
  app.get('/v1/ns', (request) => namespaces(context, request))
  app.post('/v1/ns', (request, reply) => createNamespace(context, request, reply))
  app.delete('/v1/ns/:name', (request) => removeNamespace(context, request))
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

async function namespaces(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  return { namespaces: await context.store.namespaces.list() }
}

async function createNamespace(context: Context, request: Request, reply: Reply): Promise<Reply> {
  checkNoQuery(request)
  const fields = parseFields(await readJsonBody(request), 'namespace', namespaceFields)
  const name = parseText(fields['name'], 'name')
  checkWritable(name)
  const from = optional('from', fields, 'namespace', parseFrom)
  if (from.from) checkOwner(admitted, 'make a namespace of the tree of another')
  return reply.code(201).send(await context.store.namespaces.create(name, from))
}

function parseFrom(input: unknown, what: string) {
  const fields = parseFields(input, what, fromFields)
  return {
    ...optional('namespace', fields, what, parseText),
    ...optional('at', fields, what, parseAt),
  }
}

async function removeNamespace(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  const name = nameOf(request)
  if (reservedNamespaces.has(name)) {
    throw new TailraceError('EPERM', `the namespace "${name}" is reserved and stays`)
  }
  await context.store.namespaces.remove(name)
  return {}
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
