/** Copies and quotas among the transactions of one group, whose order is known where the store is embedded; and
 *  moves between namespaces on engines that fail, lie or take their time. See rfc/6, rule 35; rfc/17, rule 3;
 *  rfc/18, rules 3 and 6. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import { deferred } from '../../src/base/deferred.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Outcome, Part } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TailraceError } from '../../src/error.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { FlakyEngine } from '../engine/flaky.js'
import { seeds, treeOf } from './copied.js'
import { refusal, text } from './expect.js'

describe('in a group', () => {
  let kvs: EmbeddedStore
  const run = (...ops: Op[]) => kvs.commit({ ops })
  beforeEach(async () => {
    kvs = await openOn(new MemoryEngine(systemEnvironment))
    await run(...seeds)
  })
  afterEach(() => kvs[Symbol.asyncDispose]())

  it('a copy sees what earlier ops and transactions of its group did', async () => {
    const outcomes = await Promise.all([
      kvs.append('young', 'a'),
      kvs.put('d/b/new', 'n'),
      run(
        { op: 'append', key: 'young', value: 'b' },
        { op: 'copy', from: 'young', key: 'copy' },
        { op: 'append', key: 'young', value: 'c' },
        { op: 'copy', from: 'd', key: 'e' },
        { op: 'append', key: 'copy', value: '!' },
      ),
    ])
    expect(outcomes[2].results[4]).toEqual({ index: 2, count: 3 })
    expect(text(await kvs.get('copy'))).toBe('ab!')
    expect(text(await kvs.get('young'))).toBe('abc')
    expect(await treeOf(kvs, 'e/b')).toEqual({ c: 'C', new: 'n' })
  })

  it('watchers get what was appended before a merged move took their key away', async () => {
    await kvs.append('dir/log', '1')
    const seen: string[] = []
    let live = false
    const ended = refusal(
      (async () => {
        for await (const event of kvs.watch('dir/log', { mode: 'append' })) {
          if (event.type === 'append') seen.push(text(event.data))
          live ||= event.type === 'live'
        }
      })(),
    )
    await expect.poll(() => live).toBe(true)
    await Promise.all([
      kvs.append('dir/log', '2'),
      run({ op: 'move', from: 'dir', key: 'elsewhere' }),
      kvs.append('elsewhere/log', '3'),
    ])
    expect(await ended).toMatchObject({ code: 'ENOENT' })
    expect(seen).toEqual(['1', '2'])
    expect(text(await kvs.get('elsewhere/log'))).toBe('123')
  })

  it('a quota is judged for each transaction of a group, the refused ones not counted', async () => {
    await kvs.put('held', Buffer.alloc(90))
    const quota = ((await kvs.stat('/'))?.size ?? 0) + 10
    await kvs.namespaces.configure('primary', { quota })
    const outcomes = await Promise.allSettled([
      kvs.put('a', Buffer.alloc(6)),
      kvs.put('b', Buffer.alloc(6)),
      kvs.put('c', Buffer.alloc(4)),
      kvs.put('d', 'x'),
      kvs.commit({ ops: [{ op: 'unlink', key: 'held' }] }),
      kvs.put('e', Buffer.alloc(90)),
    ])
    const told = outcomes.map(({ status }) => status === 'fulfilled')
    expect(told).toEqual([true, false, true, false, true, true])
    expect((await kvs.stat('/'))?.size).toBe(quota)
  })
})

it('copies of copies end where their keys or bytes could be counted no more, and hurt nothing', async () => {
  for (const value of ['', Buffer.alloc(1_000_000)]) {
    await using kvs = await openOn(new MemoryEngine(systemEnvironment))
    await kvs.put('k', value)
    const double = (name: number) =>
      kvs.commit({ ops: [{ op: 'copy', from: '/', key: `${name}` }] })
    let copies = 0
    let error: unknown
    while (error === undefined && copies < 60) {
      await double(copies++).catch((thrown: unknown) => {
        error = thrown
      })
    }
    expect(error).toMatchObject({ code: 'E2BIG', failed: { op: 0 } })
    expect(copies).toBeGreaterThan(30)
    await kvs.put('k', 'k')
    expect((await kvs.list('/')).entries).toHaveLength(copies)
    await kvs.commit({ ops: [{ op: 'restore', key: '/', at: 1 }] })
    expect((await kvs.stat('/'))?.count).toBe(1)
  }
})

/** Holds commits of more than one part until it is told what to do with them. */
class JointEngine extends MemoryEngine {
  readonly reached = deferred<void>()
  readonly go = deferred<void>()
  failure: TailraceError | undefined

  override async commit(parts: readonly Part[]): Promise<Outcome[]> {
    if (parts.length > 1) {
      this.reached.resolve()
      await this.go.promise
      const { failure } = this
      if (failure)
        return parts.map(() => ({ status: 'unavailable', applied: 'no', error: failure }))
    }
    return super.commit(parts)
  }
}

const move: Op = { op: 'move', from: 'there', key: 'here', namespace: 'other' }
const scope = { namespace: 'other' }

async function openWithOther(engine: JointEngine | FlakyEngine): Promise<EmbeddedStore> {
  const kvs = await openOn(engine)
  await kvs.namespaces.create('other')
  await kvs.put('there', 'value', scope)
  return kvs
}

describe('a move between namespaces', () => {
  it('keeps what came after it waiting in both, and what came before it first', async () => {
    const engine = new JointEngine(systemEnvironment)
    await using kvs = await openWithOther(engine)
    const order: string[] = []
    const note = (name: string) => () => order.push(name)
    const before = kvs.append('there', '!', scope).then(note('before'))
    const moved = kvs.commit({ ops: [move] }).then(note('moved'))
    const after = [
      kvs.put('a', '1').then(note('here')),
      kvs.put('there', 'new', scope).then(note('there')),
    ]
    await engine.reached.promise
    expect(order).toEqual(['before'])
    expect(await kvs.get('here')).toBeUndefined()
    expect(text(await kvs.get('there', scope))).toBe('value!')
    engine.go.resolve()
    await Promise.all([before, moved, ...after])
    expect(order.indexOf('moved')).toBe(1)
    expect(text(await kvs.get('here'))).toBe('value!')
    expect(text(await kvs.get('there', scope))).toBe('new')
  })

  it('that is not stored leaves both as they were, and both go on', async () => {
    const engine = new JointEngine(systemEnvironment)
    await using kvs = await openWithOther(engine)
    engine.failure = new TailraceError('ENOSPC', 'the disk is full: make room')
    engine.go.resolve()
    expect(await refusal(kvs.commit({ ops: [move] }))).toMatchObject({ code: 'ENOSPC' })
    expect(await kvs.root()).toMatchObject({ seq: 0 })
    expect(text(await kvs.get('there', scope))).toBe('value')
    engine.failure = undefined
    await Promise.all([kvs.put('a', '1'), kvs.put('b', '2', scope)])
    await kvs.commit({ ops: [move] })
    expect(text(await kvs.get('here'))).toBe('value')
  })

  it('is answered before its source namespace goes, or refused after', async () => {
    const engine = new JointEngine(systemEnvironment)
    await using kvs = await openWithOther(engine)
    const moved = kvs.commit({ ops: [move] })
    await engine.reached.promise
    const removed = kvs.namespaces.remove('other')
    const late = kvs.commit({ ops: [move] })
    engine.go.resolve()
    expect(await moved).toMatchObject({ seq: 1 })
    expect(await refusal(late)).toMatchObject({ code: 'ENONS' })
    await removed
    expect(text(await kvs.get('here'))).toBe('value')
    await kvs.put('a', '1')
  })

  it('on an engine that loses and refuses its answers is in both or in neither', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const engine = new FlakyEngine(new MemoryEngine(systemEnvironment), { seed })
      await using kvs = await openWithOther(engine)
      const keys = Array.from({ length: 10 }, (_, at) => `k${at}`)
      await kvs.commit({ ops: keys.map((key) => ({ op: 'put', key, value: key })) }, scope)
      await Promise.all(
        keys.map((key) =>
          kvs.commit({ ops: [{ op: 'move', from: key, key, namespace: 'other' }] }),
        ),
      )
      expect(Object.keys(await treeOf(kvs))).toEqual(keys)
      expect(await treeOf(kvs, '/', 'other')).toEqual({ there: 'value' })
      expect(await kvs.root()).toMatchObject({ seq: 10 })
      expect(await kvs.root(scope)).toMatchObject({ seq: 12 })
    }
  })
})
