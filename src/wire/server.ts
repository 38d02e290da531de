/** The server itself: whether it is there, how it is, its end, and what it says of its requests. See rfc/12. */

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

/** What a server says of itself. */
export type ServerStatus = {
  readonly version: string
  readonly storeId: string
  readonly pid: number
  /** ms since 1970. */
  readonly started: number
  /** The data directory's real path. */
  readonly directory: string
  /** `HOST:PORT` of each TCP address. */
  readonly listen: readonly string[]
  /** Bytes: all, and those that are the process's own. */
  readonly memory: { readonly rss: number; readonly anonymous: number }
  readonly watchers: number
  /** Websockets, and the bytes that wait for their clients. */
  readonly connections: number
  readonly backlog: number
  readonly jobs: { readonly running: number; readonly waiting: number }
  readonly usage: Usage
}

export type Health = { readonly ok: true; readonly version: string; readonly storeId: string }

export const health = request({
  name: 'server.health',
  method: 'GET',
  path: '/healthz',
  summary: 'Tell that the server is there, and whose store it has',
  right: 'anyone',
  answer: named('Health', answered<Health>({ ok: constant(true), version: text, storeId: text })),
  errors: [],
})

export const status = request({
  name: 'server.status',
  method: 'GET',
  path: '/v1/status',
  summary: 'Tell how the server is',
  right: 'read',
  answer: named(
    'ServerStatus',
    answered<ServerStatus>({
      version: text,
      storeId: text,
      pid: count,
      started: number,
      directory: text,
      listen: arrayOf(text),
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
  summary: 'End the server, if no job runs or with force',
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
