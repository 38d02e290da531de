/** Random transactions against the simplest model: a Map of keys to directories and lists of blobs.
 *  Codes, contents and atomicity agree, on a plain engine and on one that times out, answers late and
 *  refuses falsely (rfc/17, rule 6). */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import type { Op } from '../../src/api/transaction.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Engine } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type Code, TailraceError } from '../../src/error.js'
import { openOn } from '../../src/open.js'
import { FlakyEngine } from '../engine/flaky.js'

type Node = { dir: true } | { dir: false; blobs: string[]; sealed: boolean }
type Model = Map<string, Node>

const keys = ['a', 'b', 'a/x', 'a/y', 'a/x/deep', 'b/z']

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('put'),
      key: fc.constantFrom(...keys),
      value: fc.string({ maxLength: 4 }),
    }) as fc.Arbitrary<Op>,
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('append'),
      key: fc.constantFrom(...keys),
      value: fc.string({ maxLength: 4 }),
      seal: fc.boolean().map((seal) => seal && true),
    }) as fc.Arbitrary<Op>,
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('seal'),
      key: fc.constantFrom(...keys),
    }) as fc.Arbitrary<Op>,
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('unlink'),
      key: fc.constantFrom(...keys),
      recursive: fc.boolean(),
    }) as fc.Arbitrary<Op>,
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('mkdir'),
      key: fc.constantFrom(...keys),
    }) as fc.Arbitrary<Op>,
  },
)
const transactions = fc.array(fc.array(op, { minLength: 1, maxLength: 3 }), { maxLength: 25 })

function parents(key: string): string[] {
  const components = key.split('/')
  return components.slice(1).map((_, index) => components.slice(0, index + 1).join('/'))
}

/** Changes the model, or gives the code. */
function applyOp(model: Model, op: Op): Code | undefined {
  const { key } = op
  const node = model.get(key)
  const creates = op.op === 'put' || op.op === 'append' || op.op === 'mkdir'
  for (const parent of parents(key)) {
    const above = model.get(parent)
    if (above && !above.dir) {
      if (creates) return 'ENOTDIR'
      return op.op === 'seal' ? 'ENOENT' : undefined
    }
    if (!above && creates) model.set(parent, { dir: true })
  }
  switch (op.op) {
    case 'put':
      if (node?.dir) return 'EISDIR'
      model.set(key, { dir: false, blobs: [`${op.value}`], sealed: false })
      return undefined
    case 'append':
      if (node?.dir) return 'EISDIR'
      if (node?.sealed) return 'ESEALED'
      model.set(key, {
        dir: false,
        blobs: [...(node?.blobs ?? []), `${op.value}`],
        sealed: op.seal ?? false,
      })
      return undefined
    case 'seal':
      if (!node) return 'ENOENT'
      if (node.dir) return 'EISDIR'
      model.set(key, { ...node, sealed: true })
      return undefined
    case 'mkdir':
      if (node && !node.dir) return 'EEXIST'
      model.set(key, { dir: true })
      return undefined
    case 'unlink': {
      const below = [...model.keys()].filter((each) => each.startsWith(`${key}/`))
      if (below.length > 0 && !op.recursive) return 'ENOTEMPTY'
      for (const each of [key, ...below]) model.delete(each)
      return undefined
    }
    default:
      throw new Error('no such op')
  }
}

async function contentsOf(kvs: Kvs): Promise<Model> {
  const model: Model = new Map()
  for (const entry of (await kvs.list('', { recursive: true })).entries) {
    const { name, type, count } = entry
    if (type === 'dir') {
      model.set(name, { dir: true })
      continue
    }
    const blobs: string[] = []
    for (let index = 0; index < count; index++) {
      const chunks: Uint8Array[] = []
      const reading = await kvs.read(name, { index })
      for await (const chunk of reading?.chunks ?? []) chunks.push(chunk)
      blobs.push(Buffer.concat(chunks).toString())
    }
    model.set(name, { dir: false, blobs, sealed: (await kvs.stat(name))?.sealed ?? false })
  }
  return model
}

async function agrees(engine: Engine, history: Op[][]): Promise<void> {
  await using store = await openOn(engine)
  let model: Model = new Map()
  let seq = 0
  // All at once: they share groups, and still each is whole or not at all, in order.
  const answers = history.map((ops) =>
    store.commit({ ops }).then(
      (committed) => committed,
      (error: unknown) => error,
    ),
  )
  for (const [index, ops] of history.entries()) {
    const next: Model = new Map(model)
    const failing = ops.map((each) => applyOp(next, each)).findIndex((code) => code !== undefined)
    const answer = await answers[index]
    if (failing < 0) {
      model = next
      seq++
      expect(answer).toMatchObject({ seq })
    } else {
      expect(answer).toBeInstanceOf(TailraceError)
      const again: Model = new Map(model)
      const code = ops.map((each) => applyOp(again, each))[failing]
      expect(answer).toMatchObject({ code, failed: { op: failing } })
    }
  }
  const sorted = (each: Model) => [...each].sort(([a], [b]) => (a < b ? -1 : 1))
  expect(sorted(await contentsOf(store))).toEqual(sorted(model))
  expect((await store.root()).seq).toBe(seq)
}

describe('the store agrees with a Map', () => {
  it('on a plain engine', () =>
    fc.assert(
      fc.asyncProperty(transactions, (history) =>
        agrees(new MemoryEngine(systemEnvironment), history),
      ),
      { numRuns: 80 },
    ))

  it('on a flaky engine', () =>
    fc.assert(
      fc.asyncProperty(transactions, fc.integer(), (history, seed) =>
        agrees(new FlakyEngine(new MemoryEngine(systemEnvironment), { seed }), history),
      ),
      { numRuns: 50 },
    ))
})
