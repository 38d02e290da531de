/** One example of each request and of its answer, for the documents of rfc/12, rule 35.
 *  Invariant: each example has the types of its request, and a server gives an answer of this
 *  shape. `test/server/openapi.test.ts` checks it. */

import { parseBlobref } from '../blob/blobref.js'
import type { AnswerOf, ArgsOf } from '../wire/request.js'
import type { RequestName, requestGroups } from '../wire/requests.js'

type SpecOf<Name> = Extract<
  (typeof requestGroups)[keyof typeof requestGroups][number],
  { readonly name: Name }
>
type ExampleOf<Name extends RequestName> = {
  readonly args: ArgsOf<SpecOf<Name>>
  /** The answer as JSON; absent if the answer is a stream only. */
  readonly answer?: AnswerOf<SpecOf<Name>>
  /** The body of a request whose body is not JSON. */
  readonly upload?: string
  /** The answer of a request whose answer is not JSON. */
  readonly download?: string
}
/** An example of any request, as the documents show it. */
export type Example = {
  readonly args: Readonly<Record<string, unknown>>
  readonly answer?: unknown
  readonly upload?: string
  readonly download?: string
}

const ref = parseBlobref(`blake3-${'1f2e3d4c'.repeat(8)}`)
const incarnation = 'ae1648659fc76daf0a955e663e659e2d'
const time = 1_795_938_994_348
const id = 'f1k8j4sib7000'
const hello = new TextEncoder().encode('hello')

const committed = { seq: 7, ref }
const pin = {
  name: 'release-1',
  namespace: 'primary',
  incarnation,
  seq: 7,
  ref,
  time,
  pinned: time,
}
const settings = { historyCount: 4096, historyAgeMs: 3_600_000, historySize: 1_073_741_824 }
const namespace = {
  ...{ name: 'primary', incarnation, owner: 'owner', created: time, seq: 7, ref },
  ...{ keys: 3, size: 95, historySize: 4373, settings },
}
const submitted = {
  id,
  state: 'submitted',
  command: ['echo', 'hello'],
  cwd: '/',
  submitted: time,
} as const
const finished = {
  ...submitted,
  ...({ state: 'finished', started: time + 5, pid: 4712, finished: time + 8, status: 0 } as const),
}
const token = {
  id: '4f2a9c01b7de',
  name: 'ci',
  grants: ['read,watch@primary/ci'],
  created: time,
  expires: time + 90 * 24 * 3_600_000,
}
const treeobj = { ver: 1, type: 'val', data: 'aGVsbG8=' } as const
const usage = { disk: 229_376, stored: 55_217, live: 5756, history: 9672 }

const byName: { readonly [Name in RequestName]: ExampleOf<Name> } = {
  'key.get': { args: { key: 'greeting' }, download: 'hello' },
  'key.head': { args: { key: 'greeting' } },
  'key.watch': {
    args: { key: 'ci', mode: 'changes', initial: true },
    answer: {
      events: [
        {
          type: 'changes',
          seq: 7,
          entries: [
            { key: 'ci', change: 'added', after: { type: 'dir', ref, count: 1, size: 12 } },
            { key: 'ci/log', change: 'added', after: { type: 'valref', ref, count: 1, size: 12 } },
          ],
          position: { incarnation, seq: 7, ref },
        },
      ],
      next: 'WyJ…',
    },
  },
  'key.put': {
    args: { key: 'greeting' },
    upload: 'hello',
    answer: { ...committed, result: { ref } },
  },
  'key.append': {
    args: { key: 'ci/log' },
    upload: 'tests passed\n',
    answer: { ...committed, result: { index: 1, count: 2 } },
  },
  'key.unlink': { args: { key: 'greeting' }, answer: { ...committed, result: {} } },
  stat: {
    args: { key: 'ci/log' },
    answer: { type: 'valref', ref, count: 2, size: 25, sealed: false, seq: 7 },
  },
  list: {
    args: { key: 'ci' },
    answer: { entries: [{ name: 'log', type: 'valref', count: 2, size: 25 }], more: false, seq: 7 },
  },
  root: { args: {}, answer: { namespace: 'primary', seq: 7, ref, incarnation, time } },
  txn: {
    args: {
      guards: [{ key: 'lock', absent: true }],
      ops: [
        { op: 'put', key: 'greeting', value: hello },
        { op: 'append', key: 'ci/log', value: hello },
      ],
    },
    answer: { ...committed, results: [{ ref }, { index: 1, count: 2 }] },
  },
  read: { args: { keys: ['greeting', 'nothing'] }, answer: { seq: 7, values: [hello, null] } },
  'eventlog.read': {
    args: { key: 'deploy' },
    download: '{"timestamp":1.5,"name":"start","context":{"version":"1.2"}}\n',
  },
  'eventlog.append': {
    args: { key: 'deploy' },
    upload: '{"timestamp":1.5,"name":"start","context":{"version":"1.2"}}\n',
    answer: { ...committed, result: { index: 1, count: 2 } },
  },
  'history.roots': {
    args: { newest: true, limit: 1 },
    answer: { roots: [{ seq: 7, ref, time, keys: ['greeting'] }], more: true },
  },
  'history.diff': {
    args: { from: 0, limit: 1 },
    answer: {
      entries: [{ key: 'ci', change: 'added', after: { type: 'dir', ref, count: 1, size: 25 } }],
      from: 0,
      to: 7,
      more: true,
    },
  },
  'history.log': {
    args: { key: 'ci/log', limit: 1 },
    answer: {
      entries: [{ seq: 7, time, value: { type: 'valref', ref, count: 2, size: 25 } }],
      next: 7,
      oldest: 0,
    },
  },
  'history.pins': { args: {}, answer: { pins: [pin] } },
  'history.pin': { args: { name: 'release-1' }, answer: pin },
  'history.unpin': { args: { name: 'release-1' }, answer: {} },
  'namespaces.list': { args: {}, answer: { namespaces: [namespace] } },
  'namespaces.show': { args: { name: 'primary' }, answer: namespace },
  'namespaces.create': {
    args: { name: 'builds', from: { namespace: 'primary' } },
    answer: { ...namespace, name: 'builds', historySize: 0 },
  },
  'namespaces.configure': {
    args: { name: 'primary', historyCount: 1000, quota: 1_000_000 },
    answer: { ...settings, historyCount: 1000, quota: 1_000_000 },
  },
  'namespaces.remove': { args: { name: 'builds' }, answer: {} },
  'jobs.submit': {
    args: { command: ['echo', 'hello'], cwd: '/', env: { PATH: '/usr/bin:/bin' } },
    answer: submitted,
  },
  'jobs.list': {
    args: { state: ['finished'], name: 'greeter' },
    answer: { jobs: [{ ...finished, name: 'greeter' }], more: false, total: 1, size: 700 },
  },
  'jobs.show': { args: { id }, answer: finished },
  'jobs.events': {
    args: { id },
    download: '{"timestamp":1795938994.551,"name":"submit","context":{}}\n',
  },
  'jobs.output': { args: { id }, download: 'hello\n' },
  'jobs.stdin': { args: { id }, upload: 'yes\n', answer: {} },
  'jobs.signal': { args: { id, signal: 'SIGTERM' }, answer: {} },
  'jobs.resize': { args: { id, columns: 120, rows: 40 }, answer: {} },
  'jobs.remove': { args: { id }, answer: {} },
  'jobs.removeOutput': { args: { id }, answer: {} },
  'jobs.prune': { args: { olderThan: 604_800_000, dryRun: true }, answer: { jobs: [] } },
  treeobj: { args: { key: 'greeting' }, answer: treeobj },
  'treeobj.put': {
    args: { key: 'greeting', ...treeobj },
    answer: { ...committed, result: { ref } },
  },
  'blobs.load': { args: { ref }, download: 'hello' },
  'blobs.store': { args: {}, upload: 'hello', answer: { ref } },
  'upkeep.export': { args: {} },
  'upkeep.import': {
    args: { namespace: 'builds' },
    answer: {
      namespace: 'builds',
      seq: 1,
      ref,
      keys: 3,
      size: 95,
      stored: { count: 0, size: 0 },
      read: { count: 8, size: 397 },
    },
  },
  'tokens.create': {
    args: { name: 'ci', grants: ['read,watch@primary/ci'] },
    answer: { ...token, token: `tailrace_${token.id}_${'x'.repeat(43)}` },
  },
  'tokens.list': { args: {}, answer: { tokens: [token] } },
  'links.create': {
    args: { key: 'ci/log', follow: true },
    answer: {
      path: `/v1/kv/ci/log?follow=true&link=f.${time + 3_600_000}.owner.${'x'.repeat(43)}`,
      expires: time + 3_600_000,
    },
  },
  'tickets.create': {
    args: {},
    answer: { ticket: `ticket_${'x'.repeat(43)}`, expires: time + 30_000 },
  },
  'tokens.renew': { args: { id: token.id }, answer: token },
  'tokens.revoke': { args: { id: token.id }, answer: { revoked: [token.id] } },
  'upkeep.usage': { args: {}, answer: usage },
  'upkeep.collect': {
    args: { dryRun: true },
    answer: {
      dryRun: true,
      live: { count: 122, size: 12_473 },
      freed: { count: 165, size: 42_744 },
      longestStepMs: 6.1,
      steps: 1,
    },
  },
  'upkeep.forget': { args: { key: 'greeting' }, answer: { roots: 4, pins: 1, seq: 8 } },
  'server.health': { args: {}, answer: { ok: true, version: '0.1.0', storeId: incarnation } },
  'server.ready': { args: {}, answer: { ready: true } },
  'server.metrics': { args: {}, download: '# HELP tailrace_build_info The versions' },
  'server.status': {
    args: {},
    answer: {
      version: '0.1.0',
      storeId: incarnation,
      pid: 4711,
      started: time,
      directory: '/home/ada/.tailrace',
      listen: ['127.0.0.1:7780'],
      urls: ['http://127.0.0.1:7780'],
      memory: { rss: 147_566_592, anonymous: 95_965_184 },
      watchers: 2,
      connections: 1,
      backlog: 0,
      jobs: { running: 1, waiting: 0 },
      usage,
    },
  },
  'server.stop': { args: {}, answer: { stopping: true } },
  'server.openapi': { args: {}, answer: { openapi: '3.1.0' } },
  'server.docs': { args: {}, download: '<!doctype html>' },
}

export const examples: ReadonlyMap<string, Example> = new Map(Object.entries(byName))
