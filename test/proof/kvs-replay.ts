/** What was drawn, sent to a store and to plain values, and every answer and read compared. See kvs-model.test.ts. */

import { expect } from 'vitest'
import type { LogEntry } from '../../src/api/history.js'
import type { Kvs } from '../../src/api/kvs.js'
import type { Guard, Op, Token, Transaction } from '../../src/api/transaction.js'
import { isCode, TailraceError } from '../../src/error.js'
import type { TestClock } from '../clock.js'
import { begin, type Drawn } from './kvs-drawn.js'
import {
  applyTransaction,
  type Dir,
  emptySpace,
  lifeMs,
  type ModelGuard,
  type ModelOp,
  nameOf,
  passTime,
  Refused,
  type Result,
  reopenLeases,
  type SpaceName,
  type World,
} from './kvs-model.js'
import { differences, keysIn, keysOf, nodeIn, readsOf } from './kvs-reads.js'

/** Twice as long is beyond every lease and ttl, with what a lease is listened past. */
const stepMs = 600
/** While an end may call for another look. */
const settleMs = 60
const settleRounds = 3

export type Made = AsyncDisposable & {
  readonly kvs: Kvs
  /** It does not go on over `reopen`. */
  readonly restarts?: true
  /** Transactions that are sent at once arrive in their order. */
  readonly ordered: boolean
  readonly reopen: () => Promise<Kvs>
  readonly clock: TestClock
}

type Known = {
  readonly world: World
  readonly refs: Record<SpaceName, { seq: number; ref: string }>
}
type Answer =
  | { readonly code: string }
  | { readonly seq: number; readonly results: readonly Result[] }

export class Replay {
  #kvs: Kvs
  #world: World = { primary: emptySpace, other: emptySpace }
  readonly #known: Known[] = []
  readonly #tokens: Record<SpaceName, Token[]> = { primary: [], other: [] }
  readonly #once = new Map<string, { readonly drawn: string; readonly answer: Answer }>()
  readonly #made: Made
  readonly #pinned = new Map<string, { readonly namespace: SpaceName; readonly known: Known }>()

  constructor(made: Made) {
    this.#made = made
    this.#kvs = made.kvs
  }

  async run(drawn: readonly Drawn[]): Promise<void> {
    await this.#kvs.namespaces.create('other')
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
      await this.#after(batch.at(-1)?.after ?? 'nothing')
      await this.#compare()
      await this.#note()
    }
    for (const name of ['primary', 'other'] as const) await this.#comparePast(name)
    await this.#forgetPast()
  }

  async #after(what: Drawn['after']): Promise<void> {
    if (what === 'collect') await this.#kvs.upkeep.collect()
    if (what === 'wait') await this.#wait()
    if (what === 'pin') await this.#pin()
    if (what !== 'reopen') return
    this.#kvs = await this.#made.reopen()
    if (!this.#made.restarts) return
    // The first commit begins the time of its leases, if nothing did before.
    await this.#learnSeqs()
    this.#world = reopenLeases(this.#world, this.#made.clock.now())
  }

  /** Until what is due has gone; the roots of that have seqs of the store's own. */
  async #wait(): Promise<void> {
    const { clock } = this.#made
    clock.advance(stepMs)
    for (let round = 0; round < settleRounds; round++) {
      await this.#passed()
      clock.advance(settleMs)
    }
    this.#world = passTime(this.#world, clock.now())
    for (const name of ['primary', 'other'] as const) {
      const { tree } = this.#world[name]
      await expect.poll(() => keysOf(this.#kvs, name)).toEqual(keysIn(tree))
    }
    await this.#learnSeqs()
  }

  async #learnSeqs(): Promise<void> {
    await this.#passed()
    for (const name of ['primary', 'other'] as const) {
      const { seq } = await this.#root(name)
      this.#world = { ...this.#world, [name]: { ...this.#world[name], seq } }
    }
  }

  /** What the store does by itself was begun before. */
  async #passed(): Promise<void> {
    for (const namespace of ['primary', 'other']) await this.#kvs.commit({ ops: [] }, { namespace })
  }

  async #pin(): Promise<void> {
    const known = this.#back(this.#pinned.size % 3)
    const namespace = this.#pinned.size % 2 === 0 ? 'primary' : 'other'
    const name = `pin-${this.#pinned.size}`
    await this.#kvs.history.pin(name, { namespace, at: known.refs[namespace].seq })
    this.#pinned.set(name, { namespace, known })
  }

  /** What `log` tells of some keys, against all roots that are known. */
  async #comparePast(namespace: SpaceName): Promise<void> {
    const keys = new Set(this.#known.flatMap(({ world }) => keysIn(world[namespace].tree)))
    for (const each of [...keys].slice(0, 8)) {
      const entries: LogEntry[] = []
      for (let before: number | undefined; ; ) {
        const options = { namespace, limit: 2, ...(before === undefined ? {} : { before }) }
        const page = await this.#kvs.history.log(each, options)
        entries.push(...page.entries)
        if (page.next === undefined) break
        before = page.next
      }
      const told = ({ refs }: Known) =>
        entries.find(({ seq }) => seq <= refs[namespace].seq)?.value?.ref
      for (const [index, known] of this.#known.entries()) {
        const node = nodeIn(known.world[namespace].tree, each)
        expect(told(known) === undefined, each).toBe(node === undefined)
        const older = this.#known[index - 1]
        if (!older) continue
        const same = nameOf(node) === nameOf(nodeIn(older.world[namespace].tree, each))
        expect(told(known) === told(older), each).toBe(same)
      }
    }
  }

  /** Of all that was, what is pinned is left, and what is there now. */
  async #forgetPast(): Promise<void> {
    const listed = (await this.#kvs.history.pins()).map(({ name, seq }) => [name, seq])
    const pinned = [...this.#pinned].map(([name, { namespace, known }]) => {
      return [name, known.refs[namespace].seq]
    })
    expect(listed).toEqual(pinned)
    for (const namespace of ['primary', 'other']) {
      await this.#kvs.namespaces.configure(namespace, { historyCount: 1, historyAgeMs: 0 })
    }
    await this.#passed()
    await this.#kvs.upkeep.collect()
    for (const name of ['primary', 'other'] as const) {
      await readsOf(this.#kvs, this.#world[name].tree, { namespace: name })
    }
    for (const { namespace, known } of this.#pinned.values()) {
      const { ref } = known.refs[namespace]
      await readsOf(this.#kvs, known.world[namespace].tree, { namespace, at: ref })
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
      const { entries } = await this.#kvs.history.diff({ namespace: name, from: at, to: seq })
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
      const { world, results } = applyTransaction(
        this.#world,
        namespace,
        modelGuards,
        modelOps,
        this.#made.clock.now(),
      )
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
    const sent = drawn.ops.map(async ({ life: drawnLife, ...each }) => {
      if (each.op === 'treeobj') return this.#treeobj(namespace, each, at(each['at']))
      return {
        ...each,
        ...(drawnLife ? { ttl: lifeMs } : {}),
        ...(drawnLife === 'sliding' ? { sliding: true } : {}),
        ...('at' in each ? { at: at(each['at']) } : {}),
        ...(each['action'] === 'take' ? { ttl: lifeMs } : {}),
        ...('token' in each ? { token: token(each['token']) } : {}),
      }
    })
    const sentGuards = drawn.guards.map((each) => this.#guard(drawn, each, token))
    return {
      guards: await Promise.all(sentGuards),
      ops: (await Promise.all(sent)) as unknown as readonly Op[],
    }
  }

  async #treeobj(namespace: SpaceName, drawn: Record<string, unknown>, at: number) {
    const from = String(drawn['from'])
    // A key that leads through a circle of links has none: the model says so, too.
    const shown = await this.#kvs.treeobj(from, { namespace, at }).catch((error: unknown) => {
      if (!isCode(error, 'ELOOP')) throw error
      return undefined
    })
    const nothing = { ver: 1, type: 'val', data: Buffer.from('nothing').toString('base64') }
    return { op: 'treeobj', key: drawn['key'], treeobj: shown ?? nothing }
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

/** Those that may be sent at once: of one namespace, without what reads another, tokens or its own kind, or is
 *  checked before it takes its place. */
function batchesOf(drawn: readonly Drawn[], ordered: boolean): Drawn[][] {
  const alone = ({ ops: done, guards: asked, once }: Drawn) =>
    once !== undefined ||
    asked.some((each) => 'same' in each) ||
    done.some((each) => 'namespace' in each || each.op === 'lease' || each.op === 'treeobj')
  const batches: Drawn[][] = []
  for (const each of drawn) {
    const last = batches.at(-1)
    const joins = ordered && each.beside && last?.every((other) => !alone(other)) && !alone(each)
    if (joins && last?.[0]?.namespace === each.namespace) last.push(each)
    else batches.push([each])
  }
  return batches
}
