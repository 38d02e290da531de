/** Watches of changes in the embedded store: whom a commit wakes, how long what they compare is held,
 *  and a model of what they tell. See rfc/7, rules 24 to 27. */

import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ChangesPosition } from '../../src/api/watch.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { openOn } from '../../src/open.js'
import { readerHoldMs } from '../../src/past/holds.js'
import type { Key } from '../../src/treeobj/key.js'
import { DirFollowers } from '../../src/watch/dir-followers.js'
import { TestClock } from '../clock.js'
import { refusal } from '../kvs/expect.js'

describe('followers of directories', () => {
  const keys = ['', 'a', 'a/b', 'a/b/c', 'ab', 'b']
  const rootOf = (names: readonly string[] | undefined) =>
    ({ seq: 1, ...(names && { keys: names }) }) as never

  it.each([
    [['a/b'], ['', 'a', 'a/b', 'a/b/c']],
    [['a/b/c/d'], ['', 'a', 'a/b', 'a/b/c']],
    [['a/x'], ['', 'a']],
    [['a'], ['', 'a', 'a/b', 'a/b/c']],
    [['abc'], ['']],
    [
      ['b', 'ab/c'],
      ['', 'ab', 'b'],
    ],
    [['\0a/b'], []],
    [undefined, keys],
  ])('a root that names %j wakes those of %j', (names, woken) => {
    const followers = new DirFollowers()
    const all = keys.map((key) => followers.add('n', key as Key))
    const elsewhere = followers.add('m', '' as Key)
    followers.moved('n', rootOf(names))
    const marked = all.filter(({ moved }) => moved.count > 0).map(({ key }) => String(key))
    expect(marked.sort()).toEqual([...woken].sort())
    expect(elsewhere.moved.count).toBe(0)
    for (const follower of [...all, elsewhere]) followers.remove(follower)
    const counts = all.map(({ moved }) => moved.count)
    followers.moved('n', rootOf(undefined))
    expect(all.map(({ moved }) => moved.count)).toEqual(counts)
  })
})

async function opened() {
  const clock = new TestClock()
  const store = await openOn(new MemoryEngine(clock), { environment: clock })
  await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
  return { store, clock }
}

describe('a watcher whose consumer waits', () => {
  it('holds what it compares for a minute, and then goes on from its seq', async () => {
    const { store, clock } = await opened()
    await store.put('dir/a', '1')
    const watching = store.watch('dir', { mode: 'changes' })
    await watching.next()
    await watching.next()
    await store.put('dir/a', '2')
    clock.advance(readerHoldMs - 1)
    await store.upkeep.collect()
    expect(await watching.next()).toMatchObject({ value: { entries: [{ key: 'dir/a' }] } })
    await store.put('dir/a', '3')
    clock.advance(readerHoldMs)
    await store.upkeep.collect()
    expect(await refusal(watching.next())).toMatchObject({ code: 'ECOMPACTED' })
    await store.close()
  })

  it('goes on after that minute if nothing has changed', async () => {
    const { store, clock } = await opened()
    await store.put('dir/a', '1')
    const watching = store.watch('dir', { mode: 'changes' })
    await watching.next()
    await watching.next()
    await store.put('other', '1')
    clock.advance(readerHoldMs)
    const pending = watching.next()
    // Everything is in memory, so that the watcher waits for a change after a few turns.
    for (let turns = 0; turns < 50; turns++) await setImmediate()
    await store.put('dir/b', '1')
    expect(await pending).toMatchObject({ value: { entries: [{ key: 'dir/b' }] } })
    await store.close()
    expect(store.watchers).toBe(0)
  })

  it('goes on after that minute from a root that is retained', async () => {
    const { store, clock } = await opened()
    await store.namespaces.configure('primary', { historyCount: 10 })
    const watching = store.watch('dir', { mode: 'changes' })
    await watching.next()
    await watching.next()
    await store.put('dir/c', '1')
    clock.advance(readerHoldMs)
    expect(await watching.next()).toMatchObject({
      value: { entries: [{ key: 'dir' }, { key: 'dir/c' }] },
    })
    await store.close()
  })
})

describe('what watchers of changes tell', () => {
  const keys = fc.constantFrom('a', 'a/b', 'a/b/c', 'd', 'd/e', 'x/y/z', 'x')
  const ops = fc.oneof(
    fc.record({ op: fc.constant('put' as const), key: keys, value: fc.constantFrom('1', '2') }),
    fc.record({ op: fc.constant('append' as const), key: keys, value: fc.constant('l') }),
    fc.record({ op: fc.constant('unlink' as const), key: keys, recursive: fc.constant(true) }),
    fc.record({ op: fc.constant('mkdir' as const), key: keys }),
  )
  const steps = fc.array(
    fc.oneof(ops, fc.constant('ask' as const), fc.constant('resume' as const)),
    {
      maxLength: 40,
    },
  )

  it('is what is there, whenever they are asked and from wherever they go on', async () => {
    const property = fc.asyncProperty(
      steps,
      fc.constantFrom('', 'a', 'x/y'),
      async (all, prefix) => {
        await using store = await openOn(new MemoryEngine(new TestClock()))
        /** The values at and below the prefix, by their keys: directories have no ref of their own here. */
        const there = async () => {
          const values = new Map<string, string>()
          const own = await store.stat(prefix)
          if (own && own.type !== 'dir') values.set(prefix, own.ref)
          if (own?.type !== 'dir') return values
          const { entries } = await store.list(prefix, { recursive: true })
          for (const { name, type } of entries) {
            const key = prefix === '' ? name : `${prefix}/${name}`
            if (type !== 'dir') values.set(key, (await store.stat(key))?.ref ?? '')
          }
          return values
        }
        let watching = store.watch(prefix, { mode: 'changes', initial: true })
        let position: ChangesPosition | undefined
        const told = new Map<string, string>()
        const ask = async () => {
          const { value } = await watching.next()
          if (value?.type === 'changes') {
            position = value.position
            for (const { change, key, before, after } of value.entries) {
              const [old, now] = [before, after].map((side) => side && `${side.type} ${side.ref}`)
              if (before?.type !== 'dir') expect(told.get(key)).toBe(old)
              if (change === 'removed') told.delete(key)
              else told.set(key, now ?? '')
            }
          }
          return value
        }
        const toldValues = () => {
          const values = [...told].filter(([, side]) => !side.startsWith('dir'))
          return JSON.stringify(values.map(([key, side]) => [key, side.split(' ')[1]]).sort())
        }
        for (const step of all) {
          if (step === 'ask') {
            const now = JSON.stringify([...(await there())].sort())
            // At most what was told at the start, `live`, and one comparison.
            for (let asked = 0; asked < 3 && toldValues() !== now; asked++) await ask()
            expect(toldValues()).toBe(now)
          } else if (step === 'resume') {
            if (!position) await ask()
            await watching.return?.()
            if (position) watching = store.watch(prefix, { mode: 'changes', since: position })
          } else await store.commit({ ops: [step] }).catch(() => {})
        }
        await watching.return?.()
      },
    )
    await fc.assert(property, { numRuns: 100 })
  })
})
