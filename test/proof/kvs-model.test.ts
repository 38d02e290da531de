/** Random transactions on the whole of a store against plain values (kvs-model.ts), and every read
 *  compared: on memory, on LMDB that is opened again, on an engine that times out and refuses falsely, and
 *  over a server. See rfc/6, rfc/16. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { connect } from '../../src/client/node.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'
import type { Kvs } from '../../src/kvs/kvs.js'
import { open, openOn } from '../../src/open.js'
import type { Guard, Op, Token, Transaction } from '../../src/transaction/operation.js'
import { serve } from '../client/serving.js'
import { FlakyEngine } from '../engine/flaky.js'
import {
  applyTransaction,
  type Dir,
  emptySpace,
  type ModelGuard,
  type ModelOp,
  Refused,
  type Result,
  type SpaceName,
  type World,
} from './kvs-model.js'
import { differences, readsOf } from './kvs-reads.js'
import { proofSeed } from './seed.js'

const ttl = 3_600_000
const key = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3, size: 'xsmall' })
  .map((parts) => parts.join('/'))
const keyOrRoot = fc.oneof({ weight: 9, arbitrary: key }, { weight: 1, arbitrary: fc.constant('') })
const value = fc.oneof(
  { weight: 9, arbitrary: fc.string({ maxLength: 6, unit: fc.constantFrom('x', 'y') }) },
  { weight: 1, arbitrary: fc.constant('long '.repeat(60)) },
)
const flag = fc.boolean()
/** Counts back from the newest root that is known. */
const back = fc.nat(4)
const space = fc.constantFrom<SpaceName>('primary', 'primary', 'other')
const small = fc.nat(3)
const producer = fc.record({
  id: fc.constantFrom('p', 'q'),
  epoch: fc.nat(1),
  seq: fc.nat(2),
})

/** As the model has them, but that what is drawn is not known yet: trees by how far back, tokens by
 *  which of those that were given. */
type Drawn = {
  readonly namespace: SpaceName
  readonly guards: readonly Record<string, unknown>[]
  readonly ops: readonly (Record<string, unknown> & { readonly op: ModelOp['op'] })[]
  /** Sent beside the one before it, in the same namespace. */
  readonly beside: boolean
  readonly once?: string | undefined
  readonly after: 'nothing' | 'collect' | 'reopen'
}

const op = <Name extends ModelOp['op'], Rest>(
  name: Name,
  weight: number,
  rest: { [K in keyof Rest]: fc.Arbitrary<Rest[K]> },
) => ({ weight, arbitrary: fc.record({ op: fc.constant(name), ...rest }) })

const ops = fc.array(
  fc.oneof(
    op('put', 3, { key, value }),
    op('append', 4, { key, value, seal: fc.constantFrom(false, false, false, true) }),
    op('append', 2, { key, value, producer }),
    op('seal', 1, { key }),
    op('mkdir', 1, { key }),
    op('trim', 1, { key, before: small }),
    op('trim', 1, { key, keep: small }),
    op('unlink', 2, { key, recursive: flag }),
    op('symlink', 2, { key, target: key }),
    op('copy', 2, { from: keyOrRoot, key: keyOrRoot, replace: flag }),
    op('copy', 1, { from: keyOrRoot, key, replace: flag, at: back }),
    op('copy', 1, { from: keyOrRoot, key, replace: flag, namespace: space }),
    op('move', 2, { from: keyOrRoot, key: keyOrRoot, replace: flag }),
    op('move', 1, { from: key, key, replace: flag, namespace: space }),
    op('fork', 1, { from: key, key, count: small }),
    op('restore', 2, { key: keyOrRoot, at: back }),
    op('lease', 1, { key, action: fc.constant('take') }),
    op('lease', 1, { key, action: fc.constantFrom('renew', 'release'), token: small }),
  ),
  { maxLength: 4 },
)
const guards = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  {
    weight: 1,
    arbitrary: fc.array(
      fc.oneof(
        fc.record({ key, absent: fc.constant(true) }),
        fc.record({ key, count: small }),
        fc.record({ key, same: back }),
        fc.record({ seq: fc.nat(8) }),
        fc.record({ lease: key, token: small }),
        fc.record({ key, producer: fc.constant('p'), epoch: fc.nat(1), next: fc.nat(2) }),
      ),
      { maxLength: 2 },
    ),
  },
)
const history = fc.array(
  fc.record({
    namespace: space,
    guards,
    ops,
    beside: flag,
    once: fc.constantFrom(undefined, undefined, undefined, 'one', 'two'),
    after: fc.constantFrom('nothing', 'nothing', 'nothing', 'collect', 'reopen'),
  }),
  { maxLength: 16 },
) as fc.Arbitrary<Drawn[]>

/** What a namespace has before anything is drawn, so that most of what is drawn meets something. */
const begin: Drawn['ops'] = [
  { op: 'put', key: 'a', value: 'one' },
  { op: 'append', key: 'b', value: 'two' },
  { op: 'append', key: 'b', value: 'three' },
  { op: 'put', key: 'c/a', value: 'four' },
  { op: 'symlink', key: 'c/b', target: 'b' },
  { op: 'append', key: 'c/c/a', value: 'five' },
]

type Made = AsyncDisposable & {
  readonly kvs: Kvs
  /** Transactions that are sent at once arrive in their order. */
  readonly ordered: boolean
  readonly reopen: () => Promise<Kvs>
}

type Known = {
  readonly world: World
  readonly refs: Record<SpaceName, { seq: number; ref: string }>
}
type Answer =
  | { readonly code: string }
  | { readonly seq: number; readonly results: readonly Result[] }

class Replay {
  #kvs: Kvs
  #world: World = { primary: emptySpace, other: emptySpace }
  readonly #known: Known[] = []
  readonly #tokens: Record<SpaceName, Token[]> = { primary: [], other: [] }
  readonly #once = new Map<string, { readonly drawn: string; readonly answer: Answer }>()
  readonly #made: Made

  constructor(made: Made) {
    this.#made = made
    this.#kvs = made.kvs
  }

  async run(drawn: readonly Drawn[]): Promise<void> {
    await this.#kvs.createNamespace('other')
    await this.#note()
    const first = { guards: [], ops: begin, beside: false, after: 'nothing' } as const
    const both = (['primary', 'other'] as const).map((namespace) => ({ ...first, namespace }))
    for (const batch of batchesOf([...both, ...drawn], this.#made.ordered)) {
      const expected: Answer[] = []
      const transactions = await Promise.all(batch.map((each) => this.#transaction(each)))
      // In one turn, so that they arrive in their order.
      const sent = batch.map((each, index) => this.#send(each, transactions[index] ?? { ops: [] }))
      for (const each of batch) expected.push(this.#expect(each))
      const answers = await Promise.all(sent)
      expect(answers).toEqual(expected)
      if (batch.at(-1)?.after === 'collect') await this.#kvs.collect()
      if (batch.at(-1)?.after === 'reopen') this.#kvs = await this.#made.reopen()
      await this.#compare()
      await this.#note()
    }
  }

  async #compare(): Promise<void> {
    for (const name of ['primary', 'other'] as const) {
      const { tree, seq } = this.#world[name]
      expect((await this.#kvs.root({ namespace: name })).seq).toBe(seq)
      await readsOf(this.#kvs, tree, { namespace: name })
      const older = this.#known.at(-2)
      if (!older) continue
      const { seq: at, ref } = older.refs[name]
      await readsOf(this.#kvs, older.world[name].tree, { namespace: name, at: seq % 2 ? at : ref })
      const { entries } = await this.#kvs.diff({ namespace: name, from: at, to: seq })
      const changed = entries.map(({ key: changedKey, change }) => `${change} ${changedKey}`)
      expect(changed.sort()).toEqual(differences(older.world[name].tree, tree))
    }
  }

  async #note(): Promise<void> {
    const refs = { primary: await this.#root('primary'), other: await this.#root('other') }
    this.#known.push({ world: this.#world, refs })
  }

  async #root(name: SpaceName) {
    const { seq, ref } = await this.#kvs.root({ namespace: name })
    return { seq, ref }
  }

  #back(steps: number): Known {
    const known = this.#known[Math.max(0, this.#known.length - 1 - steps)]
    if (!known) throw new Error('the first is noted before anything is sent')
    return known
  }

  #expect(drawn: Drawn): Answer {
    const { namespace, once } = drawn
    const name = once && `${namespace} ${once}`
    const same = JSON.stringify([drawn.guards, drawn.ops])
    const before = name === undefined ? undefined : this.#once.get(name)
    if (before) return before.drawn === same ? before.answer : { code: 'EINVAL' }
    const answer = this.#apply(drawn)
    if (name !== undefined && !('code' in answer)) this.#once.set(name, { drawn: same, answer })
    return answer
  }

  #apply({ namespace, guards: asked, ops: done }: Drawn): Answer {
    const tree = (steps: unknown): Dir => this.#back(Number(steps)).world[namespace].tree
    const token = (which: unknown) => this.#tokens[namespace][Number(which)]?.seq ?? -1
    const modelOps = done.map((each) => ({
      ...each,
      ...('at' in each ? { at: tree(each['at']) } : {}),
      ...('token' in each ? { token: token(each['token']) } : {}),
    })) as unknown as readonly ModelOp[]
    const modelGuards = asked.map((each) => ({
      ...each,
      ...('same' in each ? { same: tree(each['same']) } : {}),
      ...('token' in each ? { token: token(each['token']) } : {}),
    })) as unknown as readonly ModelGuard[]
    try {
      const { world, results } = applyTransaction(this.#world, namespace, modelGuards, modelOps)
      this.#world = world
      return { seq: world[namespace].seq, results }
    } catch (error) {
      if (error instanceof Refused) return { code: error.code }
      throw error
    }
  }

  async #transaction(drawn: Drawn): Promise<Transaction> {
    const { namespace } = drawn
    const none: Token = { incarnation: 'none', seq: 1 }
    const token = (which: unknown) => this.#tokens[namespace][Number(which)] ?? none
    const at = (steps: unknown) => this.#back(Number(steps)).refs[namespace].seq
    const sentOps = drawn.ops.map((each) => ({
      ...each,
      ...('at' in each ? { at: at(each['at']) } : {}),
      ...(each['action'] === 'take' ? { ttl } : {}),
      ...('token' in each ? { token: token(each['token']) } : {}),
    })) as unknown as readonly Op[]
    const sentGuards = drawn.guards.map((each) => this.#guard(drawn, each, token))
    return { guards: await Promise.all(sentGuards), ops: sentOps }
  }

  async #send({ namespace, ops: done, once }: Drawn, transaction: Transaction): Promise<Answer> {
    const options = once === undefined ? {} : { idempotencyKey: once }
    try {
      const { seq, results } = await this.#kvs.commit(transaction, { namespace, ...options })
      for (const { token: taken } of results) this.#keep(namespace, taken)
      return { seq, results: results.map((result, index) => shown(result, done[index]?.op)) }
    } catch (error) {
      if (error instanceof TailraceError) return { code: error.code }
      throw error
    }
  }

  async #guard(
    { namespace }: Drawn,
    guard: Record<string, unknown>,
    token: (which: unknown) => Token,
  ): Promise<Guard> {
    if ('token' in guard) return { lease: String(guard['lease']), token: token(guard['token']) }
    if (!('same' in guard)) return guard as unknown as Guard
    const { seq } = this.#back(Number(guard['same'])).refs[namespace]
    const none = `blake3-${'0'.repeat(64)}`
    const stat = await this.#kvs
      .stat(String(guard['key']), { namespace, at: seq })
      .catch(() => undefined)
    return { key: String(guard['key']), ref: stat?.ref ?? none }
  }

  #keep(namespace: SpaceName, token: Token | undefined): void {
    const tokens = this.#tokens[namespace]
    if (token && !tokens.some(({ seq }) => seq === token.seq)) tokens.push(token)
  }
}

/** What the model tells of a result. A repeat says where it landed only as long as that is remembered. */
function shown(result: Result, name: ModelOp['op'] | undefined): Result {
  const { index, count, base, repeated } = result
  if (repeated) return { repeated }
  if (name === 'append') return { index: index ?? -1, count: count ?? -1 }
  if (name === 'trim') return { base: base ?? { count: -1, size: -1 }, count: count ?? -1 }
  return name === 'seal' || name === 'fork' ? { count: count ?? -1 } : {}
}

/** Those that may be sent at once: of one namespace, without what reads another, tokens or its own kind. */
function batchesOf(drawn: readonly Drawn[], ordered: boolean): Drawn[][] {
  const alone = ({ ops: done, guards: asked, once }: Drawn) =>
    once !== undefined ||
    asked.some((each) => 'same' in each) ||
    done.some((each) => 'namespace' in each || each.op === 'lease')
  const batches: Drawn[][] = []
  for (const each of drawn) {
    const last = batches.at(-1)
    const joins = ordered && each.beside && last?.every((other) => !alone(other)) && !alone(each)
    if (joins && last?.[0]?.namespace === each.namespace) last.push(each)
    else batches.push([each])
  }
  return batches
}

async function agree(make: () => Promise<Made>, numRuns: number): Promise<void> {
  const seed = proofSeed()
  await fc.assert(
    fc.asyncProperty(history, async (drawn) => {
      await using made = await make()
      await new Replay(made).run(drawn)
    }),
    { seed, numRuns },
  )
}

describe('the store agrees with plain values', () => {
  it('in memory', () =>
    agree(async () => {
      const kvs = await open()
      const dispose = () => kvs[Symbol.asyncDispose]()
      return { kvs, ordered: true, reopen: async () => kvs, [Symbol.asyncDispose]: dispose }
    }, 60))

  it('on an engine that times out, answers late and refuses falsely', () =>
    agree(async () => {
      const engine = new FlakyEngine(new MemoryEngine(systemEnvironment), { seed: proofSeed() })
      const kvs = await openOn(engine)
      const dispose = () => kvs[Symbol.asyncDispose]()
      return { kvs, ordered: true, reopen: async () => kvs, [Symbol.asyncDispose]: dispose }
    }, 40))

  it('on LMDB, opened again now and then', () =>
    agree(async () => {
      const directory = await mkdtemp(join(tmpdir(), 'tailrace-model-'))
      let kvs = await open({ directory })
      return {
        kvs,
        ordered: true,
        reopen: async () => {
          await kvs[Symbol.asyncDispose]()
          kvs = await open({ directory })
          return kvs
        },
        [Symbol.asyncDispose]: async () => {
          await kvs[Symbol.asyncDispose]()
          await rm(directory, { recursive: true })
        },
      }
    }, 8))

  it('over a server', () =>
    agree(async () => {
      const serving = await serve()
      const kvs = await connect(serving.target)
      return {
        kvs,
        ordered: false,
        reopen: async () => kvs,
        [Symbol.asyncDispose]: async () => {
          await kvs[Symbol.asyncDispose]()
          await serving[Symbol.asyncDispose]()
        },
      }
    }, 8))
})
