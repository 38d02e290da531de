/** What `meta` keeps of producers and of answers: golden bytes (rfc/20, rules 2 and 7), and their bounds. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type OpResult, opsMax, producerResultsMax } from '../../src/api/transaction.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { decode, encode } from '../../src/blob/codec.js'
import { hashBlob } from '../../src/blob/hash.js'
import { Content } from '../../src/content/content.js'
import { Draft } from '../../src/draft/draft.js'
import { recordSizeMax, setRecord } from '../../src/draft/meta.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import {
  type AnswerRecord,
  answered,
  answerFloorPath,
  answerName,
  answerOrderEntry,
  decodeAnswer,
  encodeAnswer,
} from '../../src/present/answers.js'
import { decodeProducer, encodeProducer, type ProducerState } from '../../src/present/producers.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import type { Key } from '../../src/treeobj/key.js'
import { emptyDir, inlineSizeMax } from '../../src/treeobj/treeobj.js'
import { refusal } from '../kvs/expect.js'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const ref = hashBlob(Buffer.from('x'))

describe('the record of a producer', () => {
  const state: ProducerState = {
    epoch: 1,
    last: 300,
    used: 70_000,
    landed: [
      { index: 298, count: 299 },
      { index: 299, count: 302 },
    ],
  }

  it('has golden bytes', () => {
    expect(hex(encode(encodeProducer(state)))).toBe('9701cd012cce00011170cd012acd012bcd012bcd012e')
    expect(decodeProducer(decode(encode(encodeProducer(state))) as unknown[])).toEqual(state)
  })

  it('is one value, whatever its numbers', () => {
    const max = Number.MAX_SAFE_INTEGER
    const landed = Array.from({ length: producerResultsMax }, () => ({ index: max, count: max }))
    const record = encode(encodeProducer({ epoch: max, last: max, used: max, landed }))
    expect(record.length).toBeLessThanOrEqual(inlineSizeMax)
  })

  it.each([[[]], [[1, 2]], [[1, 2, 'three']], [[1, 2, 3, 4]], [[1, -2, 3]], [[1, 2, 3, 4.5, 5]]])(
    'that is %j is ECORRUPT',
    async (record) => {
      const read = async () => decodeProducer(record)
      expect(await refusal(read())).toMatchObject({ code: 'ECORRUPT' })
    },
  )
})

describe('the record of an answer', () => {
  const answer: AnswerRecord = {
    digest: new Uint8Array(32).fill(1),
    seq: 7,
    time: 1_700_000_000_000,
    results: [
      { ref },
      { index: 3, count: 4 },
      {},
      { index: 3, count: 4, repeated: true },
      { token: { incarnation: 'ab', seq: 5 } },
      { base: { count: 2, size: 9 } },
    ],
  }

  it('has golden bytes', () => {
    expect(hex(encode(encodeAnswer(answer)))).toBe(
      `99c420${'01'.repeat(32)}07cb4278bcfe5680000091c420${ref.slice(7)}93c0030490`.concat(
        '94c00304c395c0c0c0c092a261620596c0c0c0c0c0920209',
      ),
    )
    expect(answerOrderEntry(255)).toEqual(['answer-order', '000000000000ff'])
    expect(answerFloorPath).toEqual(['answer-floor'])
    expect(answerName('a')).toBe(hashBlob(Buffer.from('a')).slice(7))
  })

  it('of the floor has golden bytes, and another one is ECORRUPT', async () => {
    const nodes = new Nodes(new Content(new MemoryEngine(systemEnvironment)))
    const meta = new Draft(nodes, new NodeWriter(nodes), emptyDir)
    const ask = (since: number) => {
      const once = { name: answerName('k'), digest: answer.digest, since }
      return answered({ meta, now: 0 }, once, 1_000)
    }
    // [300]
    await setRecord(meta, answerFloorPath, [300])
    const { entry } = await meta.locate(answerFloorPath[0] as Key, { follow: false })
    expect(entry?.type === 'val' && hex(entry.data)).toBe('91cd012c')
    expect(await ask(300)).toBeUndefined()
    expect(await refusal(ask(299))).toMatchObject({ code: 'EUNKNOWN' })
    await setRecord(meta, answerFloorPath, [-1])
    expect(await refusal(ask(300))).toMatchObject({ code: 'ECORRUPT' })
    await setRecord(meta, answerFloorPath, [])
    expect(await refusal(ask(300))).toMatchObject({ code: 'ECORRUPT' })
  })

  it('gives back every answer', () => {
    const count = fc.nat()
    const result: fc.Arbitrary<OpResult> = fc.record(
      {
        ref: fc.constant(ref),
        index: count,
        count,
        repeated: fc.constant(true as const),
        token: fc.record({ incarnation: fc.string(), seq: count }),
        base: fc.record({ count, size: count }),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.array(result), count, count, (results, seq, time) => {
        const each = { digest: answer.digest, seq, time, results }
        const again = decodeAnswer(decode(encode(encodeAnswer(each))) as unknown[])
        expect({ ...again, digest: new Uint8Array(again.digest) }).toEqual(each)
      }),
    )
  })

  it('has room for as many results as there may be', () => {
    const max = Number.MAX_SAFE_INTEGER
    const result: OpResult = { ref, index: max, count: max, repeated: true }
    const results = Array.from({ length: opsMax }, () => result)
    expect(encode(encodeAnswer({ ...answer, results })).length).toBeLessThan(recordSizeMax)
    const token = { incarnation: 'f'.repeat(32), seq: max }
    const leases = Array.from({ length: opsMax }, () => ({
      token,
      base: { count: max, size: max },
    }))
    expect(encode(encodeAnswer({ ...answer, results: leases })).length).toBeLessThan(recordSizeMax)
  })

  it.each([
    [[]],
    [[new Uint8Array(32), -1, 0]],
    [['digest', 1, 0]],
    [[new Uint8Array(32), 1, 0, 'result']],
    [[new Uint8Array(32), 1, 0, [new Uint8Array(31)]]],
    [[new Uint8Array(32), 1, 0, [null, -1]]],
    [[new Uint8Array(32), 1, 0, [null, null, null, null, ['a']]]],
  ])('that is wrong (%#) is ECORRUPT', async (record) => {
    const read = async () => decodeAnswer(record)
    expect(await refusal(read())).toMatchObject({ code: 'ECORRUPT' })
  })
})
