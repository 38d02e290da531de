/** Answers: read as they were meant, or an EIO that says so. */

import { describe, expect, it } from 'vitest'
import { blobrefOfHex } from '../../src/blob/blobref.js'
import { answerOf } from '../../src/client/call.js'
import { toJson } from '../../src/wire/bytes.js'
import { listJobs, showJob } from '../../src/wire/jobs.js'
import { getTreeobj, listKeys, putKey, root, statKey } from '../../src/wire/keys.js'
import { showNamespace } from '../../src/wire/namespaces.js'
import type { RequestSpec } from '../../src/wire/request.js'
import { read, txn } from '../../src/wire/transaction.js'

const ref = blobrefOfHex('cd'.repeat(32))
const stat = {
  type: 'valref',
  ref,
  count: 2,
  size: 9,
  sealed: true,
  attrs: { contentType: 'a/b', sealed: true },
  seq: 4,
}
const job = {
  id: '01',
  state: 'finished',
  command: ['sh'],
  cwd: '/',
  submitted: 1.5,
  started: 2,
  finished: 3,
  pid: 4,
  signal: 'SIGTERM',
  exception: { type: 'lost', message: 'm' },
}
const namespace = {
  name: 'n',
  incarnation: 'i',
  owner: 'o',
  created: 1,
  seq: 0,
  ref,
  keys: 0,
  size: 0,
  historySize: 9,
  settings: { historyCount: 4_096, historyAgeMs: 3_600_000, historySize: 2 ** 30, quota: 7 },
}

const cases: [string, RequestSpec, unknown][] = [
  ['Committed', txn, { seq: 1, ref, results: [{ ref }, { index: 0, count: 1 }, {}] }],
  ['CommittedOp', putKey, { seq: 1, ref, result: {} }],
  ['Stat', statKey, stat],
  [
    'Listing',
    listKeys,
    { entries: [{ name: 'a', type: 'dir', count: 1, size: 2 }], more: false, seq: 1 },
  ],
  [
    'TreeobjJson',
    getTreeobj,
    { ver: 1, type: 'valref', data: [ref], sizes: [3], count: 1, size: 3, next: 1 },
  ],
  ['RootView', root, { namespace: 'n', seq: 1, ref, incarnation: 'i', time: 5 }],
  ['NamespaceView', showNamespace, namespace],
  ['JobView', showJob, job],
  ['JobPage', listJobs, { jobs: [job], more: true, next: 'f1', total: 3, size: 7 }],
]

describe.each(cases)('%s', (_, spec, answer) => {
  const parse = (input: unknown) => answerOf(spec, input)

  it('comes through JSON as it was', () => {
    expect(parse(JSON.parse(JSON.stringify(answer)))).toEqual(answer)
  })

  it('lets a newer field through', () => {
    expect(parse({ ...(answer as object), later: 1 })).toEqual(answer)
  })

  it('is EIO without any one of its fields', () => {
    const fields = Object.keys(answer as object)
    const required = fields.filter((name) => !optionalFields.has(name))
    for (const name of required) {
      const { [name]: _gone, ...rest } = answer as Record<string, unknown>
      expect(() => parse(rest), name).toThrow(expect.objectContaining({ code: 'EIO' }))
    }
  })
})

const optionalFields = new Set(
  'attrs sizes count size next started finished pid signal exception data'.split(' '),
)

it('values come through JSON as bytes, missing ones as null', () => {
  const sent = toJson({ seq: 3, values: [Uint8Array.of(1, 255), null] })
  expect(answerOf(read, sent)).toEqual({ seq: 3, values: [Buffer.from([1, 255]), null] })
})
