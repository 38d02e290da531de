/** Requests on the history: retained roots, their differences, the past of a key, and pins. See
 *  rfc/10, rfc/12. */

import type {
  DiffEntry,
  DiffPage,
  LogEntry,
  LogPage,
  Pin,
  RootEntry,
  RootPage,
  Side,
} from '../api/history.js'
import { treeobjType } from './keys.js'
import { request } from './request.js'
import {
  answered,
  arrayOf,
  asked,
  at,
  blobref,
  count,
  flag,
  named,
  number,
  oneOf,
  optional,
  text,
} from './schema.js'
import { totals } from './transaction.js'

const side = named(
  'Side',
  answered<Side>({
    type: treeobjType,
    ref: blobref,
    count,
    size: count,
    base: optional(totals),
  }),
)
const rootEntry = named(
  'RootEntry',
  answered<RootEntry>({
    seq: count,
    ref: blobref,
    time: number,
    pins: optional(arrayOf(text)),
    keys: optional(arrayOf(text)),
  }),
)
/** A key that differs, as an answer has it. */
export const diffEntry = named(
  'DiffEntry',
  answered<DiffEntry>({
    key: text,
    change: oneOf('added', 'removed', 'changed'),
    before: optional(side),
    after: optional(side),
  }),
)
const logEntry = named(
  'LogEntry',
  answered<LogEntry>({ seq: count, time: number, value: optional(side) }),
)
/** A pin, as an answer has it. */
export const pin = named(
  'Pin',
  answered<Pin>({
    name: text,
    namespace: text,
    incarnation: text,
    seq: count,
    ref: blobref,
    time: number,
    pinned: number,
  }),
)

export const roots = request({
  name: 'history.roots',
  method: 'GET',
  path: '/v1/roots',
  summary: 'List the retained roots of a namespace',
  right: 'read',
  namespaced: true,
  query: {
    after: optional(count),
    before: optional(count),
    newest: optional(flag),
    limit: optional(count),
  },
  answer: answered<RootPage>({ roots: arrayOf(rootEntry), more: flag }),
  errors: ['ENONS', 'EINVAL'],
})

export const diff = request({
  name: 'history.diff',
  method: 'GET',
  path: '/v1/diff',
  summary: 'List the keys that differ between two retained roots',
  right: 'read',
  namespaced: true,
  query: {
    from: at,
    to: optional(at),
    prefix: optional(text),
    after: optional(text),
    limit: optional(count),
  },
  answer: answered<DiffPage>({ entries: arrayOf(diffEntry), more: flag, from: count, to: count }),
  errors: ['ECOMPACTED', 'EINVAL', 'ENONS'],
})

export const log = request({
  name: 'history.log',
  method: 'GET',
  path: '/v1/log/*',
  summary: 'List the values that a key has at the retained roots',
  right: 'read',
  namespaced: true,
  query: { before: optional(count), limit: optional(count) },
  answer: answered<LogPage>({ entries: arrayOf(logEntry), next: optional(count), oldest: count }),
  errors: ['ENONS', 'EINVAL'],
})

export const makePin = request({
  name: 'history.pin',
  method: 'PUT',
  path: '/v1/pins/:name',
  summary: 'Keep a retained root until it is unpinned',
  right: 'admin',
  body: asked<{ readonly namespace?: string; readonly at?: number | string }>({
    namespace: optional(text),
    at: optional(at),
  }),
  answer: pin,
  errors: ['EEXIST', 'ECOMPACTED', 'ENONS', 'E2BIG'],
})

export const unpin = request({
  name: 'history.unpin',
  method: 'DELETE',
  path: '/v1/pins/:name',
  summary: 'Remove a pin, so that its root may be freed',
  right: 'admin',
  errors: ['ENOENT'],
})

export const pins = request({
  name: 'history.pins',
  method: 'GET',
  path: '/v1/pins',
  summary: 'List the pins',
  right: 'read',
  answer: answered<{ readonly pins: Pin[] }>({ pins: arrayOf(pin) }),
  errors: [],
})
