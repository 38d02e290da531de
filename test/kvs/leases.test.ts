/** Leases on a clock that the tests move: expiry, restarts, a server that stood still. See rfc/9. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Op, Token } from '../../src/api/transaction.js'
import type { LeaseEvent, Watching } from '../../src/api/watch.js'
import { Content } from '../../src/content/content.js'
import { Draft } from '../../src/draft/draft.js'
import { setRecord } from '../../src/draft/meta.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import {
  clockAllowanceMs,
  expiredLeasesMax,
  expiryRetryMs,
  hearingMs,
  stallGraceMs,
  stallMs,
} from '../../src/present/lease-table.js'
import {
  encodeLease,
  leaseOwnerSizeMax,
  leasePath,
  leasesMax,
  leaseTtlMax,
  readLease,
  takeIdSizeMax,
} from '../../src/present/leases.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { readRoot, writeRoot } from '../../src/tree/root.js'
import type { Key } from '../../src/treeobj/key.js'
import { TestClock } from '../clock.js'
import { refusal, text } from './expect.js'

let clock: TestClock
let store: EmbeddedStore

beforeEach(async () => {
  clock = new TestClock()
  store = await openOn(new MemoryEngine(clock), { environment: clock })
})
afterEach(() => store[Symbol.asyncDispose]())

async function take(key: string, ttl: number, owner?: string): Promise<Token> {
  const op: Op = {
    op: 'lease',
    key,
    action: 'take',
    ttl,
    ...(owner === undefined ? {} : { owner }),
  }
  const [result] = (await store.commit({ ops: [op] })).results
  if (!result?.token) throw new Error('a take answers its token')
  return result.token
}

function renew(key: string, token: Token, ttl?: number) {
  const changed = ttl === undefined ? {} : { ttl }
  return store.commit({ ops: [{ op: 'lease', key, action: 'renew', token, ...changed }] })
}

function release(key: string, token: Token) {
  return store.commit({ ops: [{ op: 'lease', key, action: 'release', token }] })
}

/** What is being committed by the server itself, or by who was before, is there. */
async function settled(): Promise<number> {
  return (await store.commit({ ops: [] })).seq
}

async function isHeld(key: string, token: Token): Promise<boolean> {
  const committed = store.commit({ guards: [{ lease: key, token }], ops: [] })
  return committed.then(
    () => true,
    () => false,
  )
}

/** The next event of a lease, past those of values. */
async function nextLease(watching: Watching): Promise<LeaseEvent> {
  for (;;) {
    const { value } = await watching.next()
    if (value?.type === 'lease') return value
    expect(value?.type).toBe('value')
  }
}

describe('a take that has a name', () => {
  const op = (takeId: string, key = 'lock') =>
    ({ op: 'lease', key, action: 'take', ttl: 1_000, takeId }) as const

  it('is answered as the first time while it is held, and changes nothing', async () => {
    const first = await store.commit({ ops: [op('a')] })
    const root = await store.root()
    const again = { ...first, repeated: true }
    // A guard that does not hold is not judged again.
    const guards = [{ seq: 99 }]
    expect(await store.commit({ guards, ops: [op('a')] })).toEqual(again)
    await renew('lock', first.results[0]?.token as Token, 5_000)
    expect(await store.commit({ ops: [op('a')] })).toEqual(again)
    expect((await store.root()).seq).toBe(root.seq + 1)
  })

  it('is taken once by two of its name in one group', async () => {
    const both = await Promise.all([
      store.commit({ ops: [op('a')] }),
      store.commit({ ops: [op('a')] }),
    ])
    const [first, second] = both
    expect(second).toEqual({ ...first, repeated: true })
    expect((await store.root()).seq).toBe(first?.seq)
  })

  it('is a take like others under another name, beside another op, and after its end', async () => {
    const { results } = await store.commit({ ops: [op('a')] })
    const token = results[0]?.token as Token
    const put: Op = { op: 'put', key: 'k', value: '' }
    for (const ops of [[op('b')], [op('a'), put], [op('a'), op('a')]]) {
      const refused = await refusal(store.commit({ ops }))
      expect(refused).toMatchObject({ code: 'ECONFLICT', failed: { op: 0 } })
      expect(JSON.stringify(refused)).not.toContain('takeId')
    }
    await release('lock', token)
    const later = await store.commit({ ops: [op('a')] })
    expect(later.repeated).toBeUndefined()
    expect(later.results[0]?.token?.seq).toBeGreaterThan(token.seq)
  })

  it('is optional: where all of a transaction are refused it takes no seq, also behind others', async () => {
    const { results } = await store.commit({ ops: [op('a')] })
    const token = results[0]?.token as Token
    const refused = { lease: expect.objectContaining({ key: 'lock', token }) }
    const optional = (takeId: string) => ({ ...op(takeId), optional: true })
    const { seq } = await store.root()
    const alone = await store.commit({ ops: [optional('b'), optional('c')] })
    expect(alone).toMatchObject({ seq, results: [{ refused }, { refused }] })
    const [put, behind, last] = await Promise.all([
      store.put('k', 'v'),
      store.commit({ ops: [optional('b')] }),
      store.put('l', 'v'),
    ])
    expect([put.seq, last.seq]).toEqual([seq + 1, seq + 2])
    expect(behind).toMatchObject({ seq: seq + 1, results: [{ refused }] })
    // One that has the lease is told its token.
    const again = await store.commit({ ops: [optional('a'), optional('b')] })
    expect(again.results).toMatchObject([{ token }, { refused }])
    expect(JSON.stringify(again)).not.toContain('takeId')
  })

  it('is found behind links, and its errors name the op', async () => {
    await store.commit({ ops: [{ op: 'symlink', key: 'link', target: 'lock' }] })
    await store.commit({ ops: [{ op: 'symlink', key: 'loop', target: 'loop' }] })
    const first = await store.commit({ ops: [op('a', 'link')] })
    expect(await store.commit({ ops: [op('a')] })).toEqual({ ...first, repeated: true })
    const loop = await refusal(store.commit({ ops: [op('a', 'loop')] }))
    expect(loop).toMatchObject({ code: 'ELOOP', failed: { op: 0 } })
  })

  it('has a name of at most takeIdSizeMax bytes', async () => {
    await store.commit({ ops: [op('ä'.repeat(takeIdSizeMax / 2))] })
    const long = await refusal(store.commit({ ops: [op('ä'.repeat(takeIdSizeMax / 2 + 1))] }))
    expect(long).toMatchObject({ code: 'EINVAL', failed: { op: 0 } })
  })
})

describe('expiry', () => {
  it('a lease is held to the end of its ttl, then it goes, with a seq of its own', async () => {
    const token = await take('lock', 1_000)
    clock.advance(1_000 + hearingMs - 1)
    expect(await isHeld('lock', token)).toBe(true)
    const { seq } = await store.root()
    clock.advance(1)
    expect((await store.root({ waitSeq: seq + 1 })).seq).toBe(seq + 1)
    expect(await isHeld('lock', token)).toBe(false)
    expect(await refusal(renew('lock', token))).toMatchObject({
      code: 'EFENCED',
      failed: { op: 0, state: { lease: null } },
    })
    expect((await take('lock', 1_000)).seq).toBeGreaterThan(token.seq)
  })

  it('a renewal counts its ttl, or a new one, from its own time', async () => {
    const token = await take('lock', 1_000)
    clock.advance(900)
    await renew('lock', token)
    clock.advance(900)
    expect(await isHeld('lock', token)).toBe(true)
    await renew('lock', token, 5_000)
    clock.advance(4_900)
    await renew('lock', token)
    clock.advance(5_000 + hearingMs - 1)
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(1)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })

  it('a renewal that was sent before the expiry wins, in whatever group they are', async () => {
    const token = await take('lock', 1_000)
    clock.advance(1_000)
    const renewed = renew('lock', token)
    clock.advance(hearingMs)
    await renewed
    expect(await isHeld('lock', token)).toBe(true)
    const { seq } = await store.root()
    clock.advance(900)
    expect(await settled()).toBe(seq + 1)
    expect(await isHeld('lock', token)).toBe(true)
  })

  it('nothing but the nearest deadline has a timer, and none is left when nothing is held', async () => {
    const idle = clock.timers
    const tokens: Token[] = []
    for (let at = 0; at < 20; at++) tokens.push(await take(`lock/${at}`, 1_000 + at))
    expect(clock.timers).toBe(idle + 1)
    for (const [at, token] of tokens.entries()) await release(`lock/${at}`, token)
    clock.advance(5_000)
    await settled()
    expect(clock.timers).toBe(idle)
    expect(await settled()).toBe(42)
  })

  it('each has its own hearing, however close together they end', async () => {
    const first = await take('first', 1_000)
    clock.advance(1_000)
    const second = await take('second', hearingMs - 10)
    clock.advance(hearingMs)
    await settled()
    await expect.poll(() => isHeld('first', first)).toBe(false)
    expect(await isHeld('second', second)).toBe(true)
    clock.advance(hearingMs - 1)
    await settled()
    expect(await isHeld('second', second)).toBe(true)
    clock.advance(1)
    await settled()
    await expect.poll(() => isHeld('second', second)).toBe(false)
  })

  it('many leases end in few commits, each once', async () => {
    const count = expiredLeasesMax + 10
    await store.commit({
      ops: Array.from({ length: count }, (_, at) => ({
        op: 'lease' as const,
        key: `many/${at}`,
        action: 'take' as const,
        ttl: 1_000,
      })),
    })
    const { seq } = await store.root()
    clock.advance(1_000 + hearingMs)
    await store.root({ waitSeq: seq + 1 })
    // What was above the bound of one commit is listened for once more.
    await settled()
    clock.advance(hearingMs)
    await store.root({ waitSeq: seq + 3 })
    await take('many/0', 1_000)
    await take(`many/${count - 1}`, 1_000)
  })

  it('one that was taken without an answer counts from when it was taken', async () => {
    await store[Symbol.asyncDispose]()
    const engine = new MuteEngine(clock)
    store = await openOn(engine, { environment: clock })
    engine.mute = true
    expect(await refusal(take('lock', 1_000, 'me'))).toMatchObject({ code: 'EUNKNOWN' })
    engine.mute = false
    clock.advance(clockAllowanceMs)
    const { failed } = await refusal(take('lock', 1_000))
    expect(failed?.state).toMatchObject({ lease: { owner: 'me' } })
    const watching = store.watch('lock', { mode: 'value', lease: true, waitCreate: true })
    expect(await nextLease(watching)).toMatchObject({ held: true, owner: 'me' })
    clock.advance(1_000 + hearingMs)
    expect(await nextLease(watching)).toMatchObject({ held: false })
    await watching.return?.()
  })

  it('one that cannot be stored is tried again', async () => {
    await store[Symbol.asyncDispose]()
    const engine = new RefusingEngine(clock)
    store = await openOn(engine, { environment: clock })
    const token = await take('lock', 1_000)
    const { seq } = await store.root()
    engine.refuses = true
    clock.advance(1_000 + hearingMs)
    await expect.poll(() => engine.refused).toBe(1)
    engine.refuses = false
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(expiryRetryMs)
    clock.advance(hearingMs)
    await store.root({ waitSeq: seq + 2 })
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })
})

describe('a server that stood still', () => {
  it('hears the renewals that waited before it expires anything', async () => {
    const token = await take('lock', 1_000)
    clock.stall(60_000)
    // What was in the sockets comes now.
    await renew('lock', token)
    clock.advance(900)
    expect(await isHeld('lock', token)).toBe(true)
    await renew('lock', token)
    clock.advance(stallGraceMs)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })

  it('expires after its grace what nobody renews, not before', async () => {
    const token = await take('lock', 1_000)
    clock.stall(60_000)
    clock.advance(stallGraceMs - 1)
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(1)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })

  it('and stands still again in its grace, has another', async () => {
    const token = await take('lock', 1_000)
    clock.stall(60_000)
    clock.stall(60_000)
    clock.advance(stallGraceMs - 1)
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(1)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })

  it('for less than that is noticed: just a little late', async () => {
    const token = await take('lock', 1_000)
    clock.stall(1_000 + stallMs)
    clock.advance(hearingMs)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })
})

describe('a store that is opened again', () => {
  let engine: KeptEngine
  beforeEach(async () => {
    await store[Symbol.asyncDispose]()
    engine = new KeptEngine(clock)
    store = await openOn(engine, { environment: clock })
  })
  const reopen = async (afterMs: number) => {
    await store[Symbol.asyncDispose]()
    expect(clock.timers).toBe(0)
    clock.advance(afterMs)
    store = await openOn(engine, { environment: clock })
  }
  const endsAfter = async (ms: number, token: Token) => {
    clock.advance(ms + hearingMs - 1)
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(1)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  }

  it('holds a lease under the same token, for what is left of its ttl and the allowance', async () => {
    const token = await take('lock', 10_000, 'me')
    clock.advance(7_000)
    await renew('lock', token)
    await reopen(4_000)
    await endsAfter(6_000 + clockAllowanceMs, token)
  })

  it('knows a take by its name', async () => {
    const op = { op: 'lease', key: 'lock', action: 'take', ttl: 10_000, takeId: 'a' } as const
    const first = await store.commit({ ops: [op] })
    await reopen(1_000)
    expect(await store.commit({ ops: [op] })).toEqual({ ...first, repeated: true })
  })

  it('again and again, ends a lease when it would have ended', async () => {
    const token = await take('lock', 10_000)
    clock.advance(500)
    await renew('lock', token)
    for (let times = 0; times < 5; times++) {
      clock.advance(1_000)
      await reopen(500)
    }
    await endsAfter(10_000 - 5 * 1_500 + clockAllowanceMs, token)
  })

  it('has ended what is over before anybody can ask', async () => {
    const token = await take('lock', 10_000)
    const bystander = await take('other', 60_000)
    await reopen(10_000 + clockAllowanceMs - 1)
    expect(await isHeld('lock', token)).toBe(true)
    await reopen(1)
    expect(await isHeld('lock', token)).toBe(false)
    expect((await take('lock', 1_000)).seq).toBeGreaterThan(token.seq)
    expect(await isHeld('other', bystander)).toBe(true)
  })

  it('has ended all of many', async () => {
    const op = { op: 'lease', action: 'take', ttl: 1_000 } as const
    const ops = Array.from({ length: expiredLeasesMax + 1 }, (_, at) => ({ ...op, key: `${at}` }))
    await store.commit({ ops })
    await reopen(60_000)
    await store.commit({ ops })
  })

  it('with a clock that was set back, holds a lease for its ttl, once', async () => {
    const token = await take('lock', 10_000)
    clock.setForward(-3_600_000)
    await reopen(0)
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(9_000)
    // From then on the lease is dated by the new clock.
    await reopen(0)
    await endsAfter(1_000 + clockAllowanceMs, token)
  })

  it('dates a lease of an older format by its first open', async () => {
    const token = await take('lock', 10_000)
    await undate(engine, 'lock')
    await reopen(60_000)
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(4_000)
    await reopen(0)
    await endsAfter(6_000 + clockAllowanceMs, token)
  })

  it('that cannot be written to opens all the same, and ends what is over later', async () => {
    await store[Symbol.asyncDispose]()
    const refusing = new RefusingEngine(clock)
    refusing.kept = true
    store = await openOn(refusing, { environment: clock })
    const token = await take('lock', 1_000)
    await store[Symbol.asyncDispose]()
    clock.advance(60_000)
    refusing.refuses = true
    store = await openOn(refusing, { environment: clock })
    expect(refusing.refused).toBe(1)
    refusing.refuses = false
    expect(await isHeld('lock', token)).toBe(true)
    clock.advance(expiryRetryMs)
    await settled()
    await expect.poll(() => isHeld('lock', token)).toBe(false)
  })
})

describe('a namespace', () => {
  it('made from another has none of its leases, and its tokens mean nothing there', async () => {
    await store.put('k', 'v')
    const token = await take('k', 1_000)
    await store.namespaces.create('copy', { from: {} })
    expect(text(await store.get('k', { namespace: 'copy' }))).toBe('v')
    const there = { namespace: 'copy' }
    const guarded = store.commit({ guards: [{ lease: 'k', token }], ops: [] }, there)
    expect(await refusal(guarded)).toMatchObject({ failed: { guard: 0, state: { lease: null } } })
    const op: Op = { op: 'lease', key: 'k', action: 'take', ttl: 1_000 }
    const [taken] = (await store.commit({ ops: [op] }, there)).results
    expect(taken?.token?.incarnation).not.toBe(token.incarnation)
  })

  it('that is removed leaves no timer', async () => {
    const idle = clock.timers
    await store.namespaces.create('gone')
    const op: Op = { op: 'lease', key: 'k', action: 'take', ttl: 1_000 }
    await store.commit({ ops: [op] }, { namespace: 'gone' })
    expect(clock.timers).toBe(idle + 1)
    await store.namespaces.remove('gone')
    expect(clock.timers).toBe(idle)
  })
})

describe('bounds', () => {
  it.each([0, -1, 1.5, leaseTtlMax + 1, Number.NaN])('a ttl of %d is EINVAL', async (ttl) => {
    expect(await refusal(take('k', ttl))).toMatchObject({ code: 'EINVAL', failed: { op: 0 } })
  })

  it('ttls and owners are taken up to their bounds', async () => {
    await take('a', 1)
    await take('b', leaseTtlMax, 'ü'.repeat(leaseOwnerSizeMax / 2))
    const long = take('c', 1_000, `${'ü'.repeat(leaseOwnerSizeMax / 2)}.`)
    expect(await refusal(long)).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(take('c', 1_000, '\ud800'))).toMatchObject({ code: 'EINVAL' })
  })

  it('one lease more than a namespace may have is EBUSY, and undoes its transaction', async () => {
    const takes = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, at) => ({
        op: 'lease' as const,
        key: `many/${from + at}`,
        action: 'take' as const,
        ttl: 1_000_000,
      }))
    for (let from = 0; from < leasesMax - 1; from += 4_000) {
      await store.commit({ ops: takes(from, Math.min(from + 4_000, leasesMax - 1)) })
    }
    const two = store.commit({ ops: takes(leasesMax - 1, leasesMax + 1) })
    expect(await refusal(two)).toMatchObject({ code: 'EBUSY', failed: { op: 1 } })
    const last = await take('many/last', 1_000_000)
    expect(await refusal(take('more', 1_000))).toMatchObject({ code: 'EBUSY' })
    await release('many/last', last)
    await take('more', 1_000)
  })
})

describe('watch', () => {
  it('hears that a lease expires, and nothing of renewals', async () => {
    const watching = store.watch('lock', { mode: 'value', lease: true, waitCreate: true })
    expect(await nextLease(watching)).toEqual({ type: 'lease', seq: 0, held: false })
    const token = await take('lock', 1_000, 'me')
    expect(await nextLease(watching)).toEqual({
      type: 'lease',
      seq: 1,
      held: true,
      token,
      owner: 'me',
    })
    await renew('lock', token)
    await renew('lock', token, 2_000)
    const next = nextLease(watching)
    clock.advance(2_000 + hearingMs)
    expect(await next).toMatchObject({ held: false, seq: 4 })
    await watching.return?.()
  })
})

/** Keeps what it has when the store is closed. */
class KeptEngine extends MemoryEngine {
  override async [Symbol.asyncDispose](): Promise<void> {}
}

/** Stores, and does not say so. */
class MuteEngine extends MemoryEngine {
  mute = false

  override async commit(parts: Parameters<MemoryEngine['commit']>[0]) {
    const outcomes = await super.commit(parts)
    if (!this.mute) return outcomes
    const error = new TailraceError('EIO', 'no answer')
    return parts.map(() => ({ status: 'unavailable', applied: 'unknown', error }) as const)
  }
}

class RefusingEngine extends MemoryEngine {
  kept = false
  refuses = false
  refused = 0

  override async commit(parts: Parameters<MemoryEngine['commit']>[0]) {
    if (!this.refuses) return super.commit(parts)
    this.refused++
    const error = new TailraceError('ENOSPC', 'full')
    return parts.map(() => ({ status: 'unavailable', applied: 'no', error }) as const)
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    if (!this.kept) await super[Symbol.asyncDispose]()
  }
}

/** Writes the record of a lease as it was before it had a time. */
async function undate(engine: MemoryEngine, key: string): Promise<void> {
  const head = await engine.root('primary')
  if (!head) throw new Error('primary is always there')
  const nodes = new Nodes(new Content(engine))
  using writer = new NodeWriter(nodes)
  const root = await readRoot(nodes, head.root.ref)
  const lease = await readLease(nodes, root.meta, key as Key)
  if (!lease) throw new Error(`the lease of ${key} is not there`)
  const meta = new Draft(nodes, writer, root.meta)
  await setRecord(meta, leasePath(lease.key), encodeLease({ ...lease, renewed: undefined }))
  const ref = writeRoot(writer, { data: root.data, meta: await meta.flush() })
  const part = {
    namespace: 'primary',
    incarnation: head.namespace.incarnation,
    expected: head.revision,
    root: { ...head.root, seq: head.root.seq + 1, ref, tx: clock.id() },
    blobs: writer.blobs,
  }
  expect(await engine.commit([part])).toMatchObject([{ status: 'applied' }])
}
