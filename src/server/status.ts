/** The requests about the server itself: health, status, stop, and the documents of its requests.
 *  See rfc/12. */

import { TailraceError } from '../error.js'
import {
  docs,
  health,
  metrics,
  openapi,
  ready,
  type ServerStatus,
  status,
  stop,
} from '../wire/server.js'
import type { ServerContext } from './context.js'
import { anonymousMemory } from './memory.js'
import { docsPage, openApi } from './openapi.js'
import type { Routes } from './routes.js'

export function serveStatus(routes: Routes): void {
  routes.serve(health, async (_args, { context }) => ({
    ok: true as const,
    version: context.version,
    storeId: context.store.storeId,
  }))
  routes.serve(ready, async (_args, { context }) => {
    const reason = context.unready()
    if (reason !== undefined) throw new TailraceError('ECLOSED', reason)
    return { ready: true as const }
  })
  routes.serveHttp(metrics, async (_args, { reply, context }) => {
    context.checkMetrics()
    return reply.header('content-type', metricsType).send(await context.metrics())
  })
  routes.serve(status, (_args, { context }) => statusOf(context))
  routes.serve(stop, async ({ force = false }, call) => {
    call.context.checkOwner('stop the server')
    const { running, waiting } = call.context.store.jobs
    if (!force && running + waiting > 0) {
      const message = `${running} jobs run and ${waiting} wait: wait for them, or stop with force`
      throw new TailraceError('EBUSY', message)
    }
    call.afterwards(() => call.context.stop({ now: force }))
    return { stopping: true as const }
  })
  // The document is made once: that takes milliseconds, and clients without a token may ask for it.
  let document: object | undefined
  routes.serve(openapi, async (_args, { context }) => {
    document ??= openApi(context.version)
    return document
  })
  routes.serveHttp(docs, async (_args, { reply, context }) =>
    reply.headers(docsHeaders).send(docsPage(context.version)),
  )
}

/** The type of a text of Prometheus. */
const metricsType = 'text/plain; version=0.0.4; charset=utf-8'

/** The headers of the page: it may run no script and load nothing from another host. */
const docsHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}

async function statusOf(context: ServerContext): Promise<ServerStatus> {
  context.checkOwner('see the status of the server')
  const { version, store, started, directory, activity } = context
  return {
    version,
    storeId: store.storeId,
    pid: process.pid,
    started,
    directory,
    listen: context.listen(),
    urls: context.urls(),
    memory: { rss: process.memoryUsage.rss(), anonymous: await anonymousMemory() },
    watchers: activity.watchers,
    connections: context.connections(),
    backlog: context.backlog(),
    jobs: { running: store.jobs.running, waiting: store.jobs.waiting },
    usage: await store.upkeep.usage(),
  }
}
