/** Requests that read and write one key, its metadata and its treeobj. See rfc/6, rfc/12. */

import { type ListEntry, type Listing, pageMax, type RootView, type Stat } from '../api/kvs.js'
import type { Attrs, TreeobjJson } from '../treeobj/treeobj.js'
import { type RequestHeader, request } from './request.js'
import {
  answered,
  anyObject,
  anything,
  arrayOf,
  at,
  blobref,
  constant,
  count,
  flag,
  integer,
  named,
  number,
  oneOf,
  optional,
  text,
} from './schema.js'
import { capGiven, committedOp, contentType, totals } from './transaction.js'

const attrs = named(
  'Attrs',
  answered<Attrs>({ contentType: optional(text), sealed: optional(constant(true)) }),
)
/** The type of a treeobj. */
export const treeobjType = oneOf('val', 'valref', 'dir', 'symlink')

/** The metadata of a key, as an answer has it. */
export const stat = named(
  'Stat',
  answered<Stat>({
    type: treeobjType,
    ref: blobref,
    count,
    size: count,
    sealed: flag,
    base: optional(totals),
    attrs: optional(attrs),
    expires: optional(count),
    cap: optional(capGiven),
    target: optional(text),
    namespace: optional(text),
    seq: count,
  }),
)
const listEntry = named(
  'ListEntry',
  answered<ListEntry>({ name: text, type: treeobjType, count, size: count }),
)
const listing = named(
  'Listing',
  answered<Listing>({ entries: arrayOf(listEntry), more: flag, seq: count }),
)
const treeobj = named(
  'Treeobj',
  answered<TreeobjJson>({
    ver: constant(1),
    type: oneOf('val', 'valref', 'dir', 'dirref', 'symlink'),
    data: optional(anything),
    attrs: optional(attrs),
    sizes: optional(arrayOf(count)),
    more: optional(arrayOf(flag)),
    count: optional(count),
    size: optional(count),
    base: optional(totals),
    ref: optional(blobref),
    next: optional(count),
  }),
)
const rootView = named(
  'RootView',
  answered<RootView>({
    namespace: text,
    seq: count,
    ref: blobref,
    incarnation: text,
    time: number,
  }),
)

/** Parameters of a read: the root to read, and the seq to wait for. */
const reading = { at: optional(at), minSeq: optional(count) }
const limit = optional(integer(1, pageMax))
/** Parameters of a write that say how much of a log is kept. */
export const capping = {
  keep: optional(count),
  keepBytes: optional(count),
  keepAge: optional(count),
  uncap: optional(flag),
}
/** Parameters of a write that say when the value expires, and how much of a log is kept. */
const life = { ttl: optional(count), sliding: optional(flag), ...capping }
const conditions = ['if-match', 'if-none-match'] as const satisfies readonly RequestHeader[]
/** Headers of a write: its conditions and guards, and its idempotency key. */
const writing = [...conditions, 'tailrace-guards', 'idempotency-key', 'idempotency-since'] as const
const valueHeaders = ['etag', 'tailrace-seq', 'tailrace-count', 'tailrace-stat'] as const
const missing = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENONS', 'ECOMPACTED'] as const
const refused = [
  ...['ECONFLICT', 'EISDIR', 'ENOTDIR', 'ELOOP', 'ENONS', 'EPERM', 'E2BIG', 'EDQUOT'],
] as const

export const getKey = request({
  name: 'key.get',
  method: 'GET',
  path: '/v1/kv/*',
  summary: 'Read the bytes of a key, a part of them, or follow what is appended',
  right: 'read',
  namespaced: true,
  query: {
    ...reading,
    index: optional(integer(Number.MIN_SAFE_INTEGER)),
    from: optional(count),
    to: optional(count),
    position: optional(text),
    waitCreate: optional(flag),
    follow: optional(flag),
    heartbeat: optional(count),
  },
  headers: [...conditions, 'range', 'if-range', 'last-event-id'],
  download: ['bytes', 'events'],
  answerHeaders: [...valueHeaders, 'tailrace-position', 'content-range'],
  statuses: [204, 206, 304],
  errors: [...missing, 'EISDIR', 'ECONFLICT', 'EOVERWRITTEN', 'E2BIG', 'EDANGLING', 'ECORRUPT'],
  waits: 'minSeq',
})

export const headKey = request({
  name: 'key.head',
  method: 'HEAD',
  path: '/v1/kv/*',
  summary: 'Show the metadata of a key in headers, without its bytes',
  right: 'read',
  namespaced: true,
  query: { ...reading, from: optional(count), position: optional(text) },
  headers: conditions,
  download: ['bytes'],
  answerHeaders: [...valueHeaders, 'tailrace-position'],
  statuses: [304],
  errors: [...missing, 'EISDIR', 'ECONFLICT', 'EOVERWRITTEN'],
  waits: 'minSeq',
})

/** The longest time for which a long poll may wait, in ms. */
const pollMsMax = 300_000

export const watchKey = request({
  name: 'key.watch',
  method: 'GET',
  path: '/v1/watch/*',
  summary: 'Watch the values of a key, or the keys that change below it',
  right: 'read',
  namespaced: true,
  query: {
    mode: oneOf('value', 'changes'),
    since: optional(text),
    initial: optional(flag),
    uniq: optional(flag),
    lease: optional(flag),
    waitCreate: optional(flag),
    heartbeat: optional(count),
    timeout: optional(integer(0, pollMsMax)),
  },
  headers: ['last-event-id'],
  answer: named(
    'WatchPoll',
    answered<{ readonly events: readonly object[]; readonly next?: string }>({
      events: arrayOf(anyObject),
      next: optional(text),
    }),
  ),
  download: ['events'],
  errors: [...missing, 'EISDIR', 'EOVERWRITTEN'],
  waits: true,
})

export const putKey = request({
  name: 'key.put',
  method: 'PUT',
  path: '/v1/kv/*',
  summary: 'Set a key to the bytes of the body, whatever it was before',
  right: 'write',
  namespaced: true,
  query: { ...life, contentType: optional(contentType) },
  headers: [...writing, 'content-type'],
  upload: 'bytes',
  answer: committedOp,
  answerHeaders: ['etag'],
  errors: refused,
})

export const appendKey = request({
  name: 'key.append',
  method: 'POST',
  path: '/v1/kv/*',
  summary: 'Append the body to the log at a key',
  right: 'write',
  namespaced: true,
  query: { ...life, seal: optional(flag) },
  headers: [...writing, 'producer-id', 'producer-epoch', 'producer-seq'],
  upload: 'bytes',
  answer: committedOp,
  answerHeaders: ['tailrace-position'],
  errors: [...refused, 'ESEALED', 'EFENCED'],
})

export const unlinkKey = request({
  name: 'key.unlink',
  method: 'DELETE',
  path: '/v1/kv/*',
  summary: 'Remove a key',
  right: 'write',
  namespaced: true,
  query: { recursive: optional(flag) },
  headers: writing,
  answer: committedOp,
  errors: ['ENOENT', 'ENOTEMPTY', 'ECONFLICT', 'ENOTDIR', 'ELOOP', 'ENONS', 'EPERM'],
})

export const statKey = request({
  name: 'stat',
  method: 'GET',
  path: '/v1/stat/*',
  summary: 'Show the metadata of a key, without its bytes',
  right: 'read',
  namespaced: true,
  query: { ...reading, nofollow: optional(flag) },
  answer: stat,
  errors: missing,
  waits: 'minSeq',
})

export const getTreeobj = request({
  name: 'treeobj',
  method: 'GET',
  path: '/v1/treeobj/*',
  summary: 'Show the treeobj at a key, a page of its refs at a time',
  right: 'read',
  ownerOnly: true,
  namespaced: true,
  query: { ...reading, after: optional(count), limit },
  answer: treeobj,
  errors: missing,
  waits: 'minSeq',
})

export const putTreeobj = request({
  name: 'treeobj.put',
  method: 'PUT',
  path: '/v1/treeobj/*',
  summary: 'Set a key to a treeobj that names stored blobs',
  right: 'write',
  ownerOnly: true,
  namespaced: true,
  query: { dangling: optional(flag) },
  headers: writing,
  // The transaction checks its fields, together with the blobs that they name.
  body: named('TreeobjPut', anyObject),
  answer: committedOp,
  answerHeaders: ['etag'],
  errors: [...refused, 'ENOENT'],
})

export const listKeys = request({
  name: 'list',
  method: 'GET',
  path: '/v1/list/*',
  summary: 'List the names in a directory',
  right: 'read',
  namespaced: true,
  query: { ...reading, after: optional(text), limit, recursive: optional(flag) },
  answer: listing,
  errors: missing,
  waits: 'minSeq',
})

export const root = request({
  name: 'root',
  method: 'GET',
  path: '/v1/root',
  summary: 'Show the newest root of a namespace, wait for one, or show that of a time',
  right: 'read',
  namespaced: true,
  query: { waitSeq: optional(count), time: optional(count) },
  answer: rootView,
  errors: ['ENONS', 'ECOMPACTED'],
  waits: 'waitSeq',
})
