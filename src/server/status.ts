/** The requests about the server itself: health, status, stop, and the documents of its requests.
 *  See rfc/12. */

import { readFile } from 'node:fs/promises'
import { TailraceError } from '../error.js'
import { docs, health, openapi, type ServerStatus, status, stop } from '../wire/server.js'
import type { ServerContext } from './context.js'
import { docsPage, openApi } from './openapi.js'
import type { Routes } from './routes.js'

export function serveStatus(routes: Routes, context: ServerContext): void {
  const { version, store } = context
  routes.serve(health, async () => ({ ok: true as const, version, storeId: store.storeId }))
  routes.serve(status, () => statusOf(context))
  routes.serve(stop, async ({ force = false }, call) => {
    const { running, waiting } = store.jobs
    if (!force && running + waiting > 0) {
      const message = `${running} jobs run and ${waiting} wait: wait for them, or stop with force`
      throw new TailraceError('EBUSY', message)
    }
    call.afterwards(context.stop)
    return { stopping: true as const }
  })
  // The document is made once: that takes milliseconds, and clients without a token may ask for it.
  let document: object | undefined
  routes.serve(openapi, async () => {
    document ??= openApi(version)
    return document
  })
  routes.serveHttp(docs, async (_args, { reply }) =>
    reply.headers(docsHeaders).send(docsPage(version)),
  )
}

/** The headers of the page: it may run no script and load nothing from another host. */
const docsHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}

async function statusOf(context: ServerContext): Promise<ServerStatus> {
  const { version, store, started, directory, activity } = context
  return {
    version,
    storeId: store.storeId,
    pid: process.pid,
    started,
    directory,
    listen: context.listen(),
    memory: { rss: process.memoryUsage.rss(), anonymous: await anonymousMemory() },
    watchers: activity.watchers,
    connections: context.connections(),
    backlog: context.backlog(),
    jobs: { running: store.jobs.running, waiting: store.jobs.waiting },
    usage: await store.upkeep.usage(),
  }
}

/** Returns the memory of the process without mapped files, in bytes: LMDB maps its whole store. */
async function anonymousMemory(): Promise<number> {
  try {
    const text = await readFile('/proc/self/status', 'utf8')
    const kibibytes = /^RssAnon:\s+([0-9]+) kB$/m.exec(text)?.[1]
    if (kibibytes !== undefined) return Number(kibibytes) * 1024
  } catch {
    // Without /proc the resident size is the nearest figure.
  }
  return process.memoryUsage.rss()
}
