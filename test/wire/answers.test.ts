/** Answers: read as they were meant, or an EIO that says so. */

import { describe, expect, it } from 'vitest'
import { blobrefOfHex } from '../../src/blob/blobref.js'
import * as answers from '../../src/wire/answers.js'
import { toJson } from '../../src/wire/bytes.js'

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

const cases: [string, (input: unknown) => unknown, unknown][] = [
  [
    'Committed',
    answers.parseCommitted,
    { seq: 1, ref, results: [{ ref }, { index: 0, count: 1 }, {}] },
  ],
  ['CommittedOp', answers.parseCommittedOp, { seq: 1, ref, result: {} }],
  ['Stat', answers.parseStat, stat],
  [
    'Listing',
    answers.parseListing,
    { entries: [{ name: 'a', type: 'dir', count: 1, size: 2 }], more: false, seq: 1 },
  ],
  [
    'TreeobjJson',
    answers.parseTreeobjJson,
    { ver: 1, type: 'valref', data: [ref], sizes: [3], count: 1, size: 3, next: 1 },
  ],
  ['RootView', answers.parseRootView, { namespace: 'n', seq: 1, ref, incarnation: 'i', time: 5 }],
  ['NamespaceView', answers.parseNamespaceView, namespace],
  ['JobView', answers.parseJobView, job],
  ['JobPage', answers.parseJobPage, { jobs: [job], more: true, next: 'f1', total: 3, size: 7 }],
]

describe.each(cases)('%s', (_, parse, answer) => {
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
      expect(() => answers.readAnswer(rest, parse), name).toThrow(
        expect.objectContaining({ code: 'EIO' }),
      )
    }
  })
})

const optionalFields = new Set(
  'attrs sizes count size next started finished pid signal exception data'.split(' '),
)

it('values come through JSON as bytes, missing ones as undefined', () => {
  const sent = toJson({ seq: 3, values: [Uint8Array.of(1, 255), null] })
  expect(answers.parseValues(sent)).toEqual({ seq: 3, values: [Buffer.from([1, 255]), undefined] })
})

it('readAnswer() hands other errors on', () => {
  const error = new RangeError('x')
  expect(() =>
    answers.readAnswer(1, () => {
      throw error
    }),
  ).toThrow(error)
})
