/** `/healthz`, `/v1/status`, `/v1/stop`. See rfc/12. */

import { readFile } from 'node:fs/promises'
import { TailraceError } from '../error.js'
import { optional, parseFields, parseFlag } from '../wire/parse.js'
import type { App, Reply, Request } from './app.js'
import { readJsonBody } from './body.js'
import type { Context } from './context.js'
import { checkNoQuery } from './query.js'

const stopFields = new Set(['force'])

export function serveStatus(app: App, context: Context): void {
  app.get('/healthz', (request, reply) => {
    checkNoQuery(request)
    const { version, store } = context
    return reply.send({ ok: true, version, storeId: store.storeId })
  })
  app.get('/v1/status', async (request) => {
    checkNoQuery(request)
    return status(context)
  })
  app.post('/v1/stop', (request, reply) => stop(context, request, reply))
}

async function status(context: Context): Promise<unknown> {
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

async function stop(context: Context, request: Request, reply: Reply): Promise<Reply> {
  checkNoQuery(request)
  const body = (await readJsonBody(request)) ?? {}
  const { force = false } = optional(
    'force',
    parseFields(body, 'stop', stopFields),
    'stop',
    parseFlag,
  )
  const { running, waiting } = context.store.jobs
  if (!force && running + waiting > 0) {
    const message = `${running} jobs run and ${waiting} wait: wait for them, or stop with force`
    throw new TailraceError('EBUSY', message)
  }
  reply.raw.once('close', context.stop)
  return reply.send({ stopping: true })
}

/** Bytes that are the process's own, without mapped files: LMDB maps its whole store. */
async function anonymousMemory(): Promise<number> {
  try {
    const text = await readFile('/proc/self/status', 'utf8')
    const kibibytes = /^RssAnon:\s+([0-9]+) kB$/m.exec(text)?.[1]
    if (kibibytes !== undefined) return Number(kibibytes) * 1024
  } catch {
    // No /proc here: the nearest figure is all that there is.
  }
  return process.memoryUsage.rss()
}
