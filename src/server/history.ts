/** The time of namespaces: roots, differences, pasts of keys, pins, and the settings that say how long it
 *  is kept. See rfc/10, rfc/12. */

import { TailraceError } from '../error.js'
import { parseNamespaceName } from '../tree/namespace-name.js'
import { parsePinBody, parseSettingsChange } from '../wire/history.js'
import { invalid } from '../wire/parse.js'
import type { App, Request } from './app.js'
import { readJsonBody } from './body.js'
import type { Context } from './context.js'
import { checkNoQuery, keyOf, nameOf, namespaceOf, queryOf } from './query.js'

export function serveHistory(app: App, context: Context): void {
  app.get('/v1/roots', (request) => roots(context, request))
  app.get('/v1/diff', (request) => diff(context, request))
  // Without a key: the root directory.
  for (const end of ['', '/*']) app.get(`/v1/log${end}`, (request) => log(context, request))
  app.get('/v1/pins', (request) => pins(context, request))
  app.put('/v1/pins/:name', (request) => pin(context, request))
  app.delete('/v1/pins/:name', (request) => unpin(context, request))
  app.get('/v1/ns/:name', (request) => show(context, request))
  app.patch('/v1/ns/:name', (request) => configure(context, request))
}

function roots(context: Context, request: Request): Promise<unknown> {
  const query = queryOf(request, {
    after: 'integer',
    before: 'integer',
    newest: 'flag',
    limit: 'integer',
  })
  return context.store.history.roots({ namespace: namespaceOf(request), ...query })
}

function diff(context: Context, request: Request): Promise<unknown> {
  const query = queryOf(request, {
    from: 'at',
    to: 'at',
    prefix: 'text',
    after: 'text',
    limit: 'integer',
  })
  const { from } = query
  if (from === undefined) throw invalid('?from says which root to compare: a seq or a ref')
  return context.store.history.diff({ namespace: namespaceOf(request), ...query, from })
}

function log(context: Context, request: Request): Promise<unknown> {
  const query = queryOf(request, { before: 'integer', limit: 'integer' })
  return context.store.history.log(keyOf(request), { namespace: namespaceOf(request), ...query })
}

async function pins(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  return { pins: await context.store.history.pins() }
}

async function pin(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  const body = await readJsonBody(request)
  return context.store.history.pin(nameOf(request), parsePinBody(body))
}

async function unpin(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  await context.store.history.unpin(nameOf(request))
  return {}
}

async function show(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  const name = parseNamespaceName(nameOf(request))
  const found = (await context.store.namespaces.list()).find((each) => each.name === name)
  if (!found) throw new TailraceError('ENONS', `there is no namespace ${name}`)
  return found
}

async function configure(context: Context, request: Request): Promise<unknown> {
  checkNoQuery(request)
  const change = parseSettingsChange(await readJsonBody(request))
  return context.store.namespaces.configure(nameOf(request), change)
}
