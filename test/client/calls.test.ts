/** Wrong calls of what is not a Kvs: connect, open, jobs. See rfc/2, rule 11; calls of a Kvs are in its contract. */

import { expect, it } from 'vitest'
import type { Jobs } from '../../src/api/job.js'
import { connect } from '../../src/client/node.js'
import { connect as connectWeb } from '../../src/client/web.js'
import { checkStore, open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import { serve } from './serving.js'

const target = 'http://127.0.0.1:1'

it.each([
  null,
  'token',
  { tokn: 'x' },
  { token: 7 },
  { storeId: 7 },
  { reconnect: 1 },
  { reconnect: { minMs: 1 } },
  { reconnect: { minMs: -1, maxMs: 5 } },
  { timeoutMs: 0 },
  { timeoutMs: 1.5 },
  { timeoutMs: Number.NaN },
  { timeoutMs: 2 ** 31 },
  { credit: 0 },
  { credit: Number.POSITIVE_INFINITY },
  { signal: {} },
])('connect with %j is EINVAL', async (options) => {
  for (const each of [connect, connectWeb]) {
    expect(await refusal(each(target, options as never))).toMatchObject({ code: 'EINVAL' })
  }
})

it('connect to what is no text is EINVAL', async () => {
  // Without a target it is the local server.
  for (const wrong of [null, 7, new URL(target)]) {
    expect(await refusal(connect(wrong as never))).toMatchObject({ code: 'EINVAL' })
  }
})

it.each([
  null,
  '/tmp/x',
  { directory: '' },
  { directory: 7 },
  { dir: '/tmp/x' },
  { cacheSize: -1 },
  { runningMax: 'many' },
  { garbage: 1 },
  { environment: {} },
])('open with %j is EINVAL', async (options) => {
  expect(await refusal(open(options as never))).toMatchObject({ code: 'EINVAL' })
  expect(await refusal(checkStore(options as never))).toMatchObject({ code: 'EINVAL' })
})

it('calls of jobs are EINVAL, embedded and over a server', async () => {
  await using serving = await serve()
  await using client = await connect(serving.target)
  const job = { command: ['true'], cwd: '/', env: {} }
  const calls: readonly (readonly [keyof Jobs, ...unknown[]])[] = [
    ['submit'],
    ['submit', null],
    ['submit', 'true'],
    ['submit', { ...job, comand: [] }],
    ['submit', { ...job, env: { A: 1n } }],
    ['submit', { ...job, command: 'true' }],
    ['submit', { ...job, cwd: '.' }],
    ['submit', job, {}],
    ['list', { limit: -1 }],
    ['list', { before: 'x' }],
    ['list', null],
    ['show'],
    ['show', 7],
    ['wait', 'x', {}],
    ['signal', 'x', 15],
    ['signal', 'x', 'SIGNOPE'],
    ['stdin', 'x', 'text'],
    ['remove', 'x', { recursive: true }],
    ['prune'],
    ['prune', {}],
    ['prune', { olderThanMs: -1 }],
  ]
  for (const { jobs } of [serving.store, client]) {
    const loose = jobs as unknown as Record<string, (...given: readonly unknown[]) => unknown>
    for (const [name, ...given] of calls) {
      const call = async () => loose[name]?.call(jobs, ...given)
      expect(await refusal(call()), `${name}`).toMatchObject({ code: 'EINVAL' })
    }
  }
})
