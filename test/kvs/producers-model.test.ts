/** Random appends of several producers against the simplest model: a Map of keys to what was appended, and of
 *  producers to an epoch and what it appended in it. With what ends the value in between, many to a group, on
 *  a plain engine and on one that times out, answers late and refuses falsely. rfc/20, rules 1 to 4. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Guard,
  type Op,
  type OpResult,
  producerResultsMax,
} from '../../src/api/transaction.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Engine } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type Code, TailraceError } from '../../src/error.js'
import { openOn } from '../../src/open.js'
import { FlakyEngine } from '../engine/flaky.js'

type Log = {
  blobs: string[]
  sealed: boolean
  producers: Map<string, { epoch: number; indexes: number[] }>
}
type Model = Map<string, Log>
type Transaction = { readonly guards: readonly Guard[]; readonly ops: readonly Op[] }

const keys = ['d/a', 'd/b', 'c']
const key = fc.constantFrom(...keys)
const id = fc.constantFrom('p', 'q', 'd')
const epoch = fc.nat(2)
const seq = fc.oneof({ weight: 4, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(12) })

const numbered: fc.Arbitrary<Op> = fc
  .record({ key, producer: fc.record({ id, epoch, seq }), seal: fc.nat(20) })
  .map(({ seal, ...op }) => ({
    op: 'append',
    ...op,
    value: `${op.producer.id}${op.producer.epoch}.${op.producer.seq}`,
    seal: seal === 0,
  }))
const other: fc.Arbitrary<Op> = fc.oneof(
  key.map((each): Op => ({ op: 'append', key: each, value: 'plain' })),
  key.map((each): Op => ({ op: 'put', key: each, value: 'put' })),
  key.map((each): Op => ({ op: 'unlink', key: each })),
  fc.constant<Op>({ op: 'unlink', key: 'd', recursive: true }),
  fc.tuple(key, key).map(([from, to]): Op => ({ op: 'move', from, key: to })),
  fc.tuple(key, key).map(([from, to]): Op => ({ op: 'copy', from, key: to })),
)
const guard: fc.Arbitrary<Guard> = fc.record({ key, producer: id, epoch, next: seq })
const transactions: fc.Arbitrary<Transaction[]> = fc.array(
  fc.record({
    guards: fc.oneof(
      { weight: 5, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: guard.map((each) => [each]) },
    ),
    ops: fc.array(fc.oneof({ weight: 6, arbitrary: numbered }, { weight: 1, arbitrary: other }), {
      minLength: 1,
      maxLength: 3,
    }),
  }),
  { maxLength: 60 },
)

function copyOf({ blobs, sealed }: Log): Log {
  return { blobs: [...blobs], sealed, producers: new Map() }
}

/** What an append by a producer is: the next, a repeat of an earlier one, or neither. */
function turn(log: Log | undefined, producer: { id: string; epoch: number; seq: number }) {
  const known = log?.producers.get(producer.id)
  if (known && producer.epoch < known.epoch) return 'EFENCED'
  if (known && producer.epoch === known.epoch && producer.seq < known.indexes.length)
    return 'repeat'
  const next = known?.epoch === producer.epoch ? known.indexes.length : 0
  return producer.seq === next ? 'next' : 'ECONFLICT'
}

function append(model: Model, op: Extract<Op, { op: 'append' }>): OpResult | Code {
  const log: Log = model.get(op.key) ?? { blobs: [], sealed: false, producers: new Map() }
  const { producer } = op
  const known = producer && log.producers.get(producer.id)
  const what = producer ? turn(log, producer) : 'next'
  if (what === 'repeat' && producer && known) {
    const isKept = producer.seq >= known.indexes.length - producerResultsMax
    const index = known.indexes[producer.seq] ?? -1
    return { ...(isKept ? { index, count: index + 1 } : {}), repeated: true }
  }
  if (what !== 'next') return what as Code
  if (log.sealed) return 'ESEALED'
  const index = log.blobs.length
  log.blobs.push(`${op.value}`)
  log.sealed = op.seal ?? false
  if (producer) {
    const indexes = known?.epoch === producer.epoch ? known.indexes : []
    log.producers.set(producer.id, { epoch: producer.epoch, indexes: [...indexes, index] })
  }
  model.set(op.key, log)
  return { index, count: index + 1 }
}

function applyOp(model: Model, op: Op): OpResult | Code | undefined {
  switch (op.op) {
    case 'append':
      return append(model, op)
    case 'put':
      model.set(op.key, { blobs: ['put'], sealed: false, producers: new Map() })
      return undefined
    case 'unlink':
      for (const each of keys) {
        if (each === op.key || each.startsWith(`${op.key}/`)) model.delete(each)
      }
      return undefined
    case 'copy':
    case 'move': {
      const log = model.get(op.from)
      if (!log) return 'ENOENT'
      if (op.op === 'move' && op.from === op.key) return undefined
      model.set(op.key, copyOf(log))
      if (op.op === 'move') model.delete(op.from)
      return undefined
    }
    default:
      throw new Error('no such op')
  }
}

function clone(model: Model): Model {
  return new Map(
    [...model].map(([name, log]) => [
      name,
      { ...log, blobs: [...log.blobs], producers: new Map(log.producers) },
    ]),
  )
}

async function agrees(engine: Engine, history: readonly Transaction[]): Promise<void> {
  await using store = await openOn(engine)
  let model: Model = new Map()
  const answers = await Promise.allSettled(history.map((each) => store.commit(each)))
  for (const [at, { guards, ops }] of history.entries()) {
    const answer = answers[at]
    const held = guards.every((each) => {
      if (!('producer' in each)) return true
      const { producer, epoch: epochOf, next } = each
      return turn(model.get(each.key), { id: producer, epoch: epochOf, seq: next }) === 'next'
    })
    const draft = clone(model)
    const results = held ? ops.map((op) => applyOp(draft, op)) : []
    const failed = results.findIndex((result) => typeof result === 'string')
    if (held && failed < 0) {
      model = draft
      if (answer?.status !== 'fulfilled') throw answer?.reason
      for (const [index, result] of results.entries()) {
        if (result) expect(answer.value.results[index]).toEqual(result)
      }
    } else {
      const error = answer?.status === 'rejected' ? answer.reason : undefined
      expect(error).toBeInstanceOf(TailraceError)
      expect(error).toMatchObject(
        held
          ? { code: results[failed], failed: { op: failed } }
          : { code: 'ECONFLICT', failed: { guard: 0 } },
      )
    }
  }
  for (const name of keys) {
    const stat = await store.stat(name)
    const log = model.get(name)
    expect([stat?.count, stat?.sealed]).toEqual([log?.blobs.length, log?.sealed])
    expect((await store.get(name))?.toString()).toBe(log?.blobs.join(''))
  }
}

describe('producers agree with a Map', () => {
  it('on a plain engine', () =>
    fc.assert(
      fc.asyncProperty(transactions, (history) =>
        agrees(new MemoryEngine(systemEnvironment), history),
      ),
      { numRuns: 200 },
    ))

  it('on a flaky engine', () =>
    fc.assert(
      fc.asyncProperty(transactions, fc.integer(), (history, seed) =>
        agrees(new FlakyEngine(new MemoryEngine(systemEnvironment), { seed }), history),
      ),
      { numRuns: 100 },
    ))
})
