/** Requests about the server itself: its health and status, its end, its documents. See rfc/12. */

import type { Usage } from '../api/upkeep.js'
import { request } from './request.js'
import {
  answered,
  anyObject,
  arrayOf,
  asked,
  constant,
  count,
  flag,
  named,
  number,
  optional,
  text,
} from './schema.js'
import { usageShape } from './upkeep.js'

/** The status of a server. */
export type ServerStatus = {
  readonly version: string
  readonly storeId: string
  readonly pid: number
  /** The start of the server, in ms since 1970. */
  readonly started: number
  /** The real path of the data directory. */
  readonly directory: string
  /** `HOST:PORT` of each TCP address. */
  readonly listen: readonly string[]
  /** The addresses besides the data directory's socket, as `connect` takes them: `http://HOST:PORT`,
   *  `https://HOST:PORT`, `unix:/path`. */
  readonly urls: readonly string[]
  /** The memory of the process, in bytes: all of it, and the part that no file backs. */
  readonly memory: { readonly rss: number; readonly anonymous: number }
  /** The number of watchers. */
  readonly watchers: number
  /** The number of open websockets. */
  readonly connections: number
  /** The number of bytes that wait to be sent to websockets. */
  readonly backlog: number
  /** The number of jobs that run, and of jobs that wait for a place. */
  readonly jobs: { readonly running: number; readonly waiting: number }
  readonly usage: Usage
}

type Health = { readonly ok: true; readonly version: string; readonly storeId: string }

export const health = request({
  name: 'server.health',
  method: 'GET',
  path: '/healthz',
  summary: 'Tell that the server answers, and which store it serves',
  right: 'anyone',
  answer: named('Health', answered<Health>({ ok: constant(true), version: text, storeId: text })),
  errors: [],
})

export const ready = request({
  name: 'server.ready',
  method: 'GET',
  path: '/readyz',
  summary: 'Tell that the server takes reads and writes',
  right: 'anyone',
  answer: answered<{ readonly ready: true }>({ ready: constant(true) }),
  errors: ['ECLOSED'],
})

export const metrics = request({
  name: 'server.metrics',
  method: 'GET',
  path: '/metrics',
  summary: 'Show the metrics of the server, as text for Prometheus',
  right: 'metrics',
  download: ['text'],
  errors: [],
})

export const status = request({
  name: 'server.status',
  method: 'GET',
  path: '/v1/status',
  summary: 'Show the status of the server: its version, memory, connections, jobs and usage',
  right: 'read',
  ownerOnly: true,
  answer: named(
    'ServerStatus',
    answered<ServerStatus>({
      version: text,
      storeId: text,
      pid: count,
      started: number,
      directory: text,
      listen: arrayOf(text),
      urls: arrayOf(text),
      memory: answered<ServerStatus['memory']>({ rss: count, anonymous: count }),
      watchers: count,
      connections: count,
      backlog: count,
      jobs: answered<ServerStatus['jobs']>({ running: count, waiting: count }),
      usage: usageShape,
    }),
  ),
  errors: [],
})

export const stop = request({
  name: 'server.stop',
  method: 'POST',
  path: '/v1/stop',
  summary: 'Stop the server; while jobs run, only with force',
  right: 'owner',
  body: asked<{ readonly force?: boolean }>({ force: optional(flag) }),
  answer: answered<{ readonly stopping: true }>({ stopping: constant(true) }),
  errors: ['EBUSY'],
})

export const openapi = request({
  name: 'server.openapi',
  method: 'GET',
  path: '/openapi.json',
  summary: 'Describe all requests, as OpenAPI 3.1',
  right: 'anyone',
  answer: anyObject,
  errors: [],
})

export const docs = request({
  name: 'server.docs',
  method: 'GET',
  path: '/docs',
  summary: 'Describe all requests, as a page',
  right: 'anyone',
  download: ['html'],
  errors: [],
})
