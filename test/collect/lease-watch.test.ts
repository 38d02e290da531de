/** A watcher of leases that comes to a root after a collection. */

import { expect, it } from 'vitest'
import { Content } from '../../src/content/content.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { KeyStore } from '../../src/kvs/store.js'
import { openOn } from '../../src/open.js'
import { parseKey } from '../../src/treeobj/key.js'
import { LeaseWatch } from '../../src/watch/lease-watch.js'
import { TestClock } from '../clock.js'

it('a lease at a root whose meta a collection took is told as it is now', async () => {
  const clock = new TestClock()
  const engine = new MemoryEngine(clock)
  await using store = await openOn(engine, { environment: clock })
  const take = { op: 'lease', key: 'k', action: 'take', ttl: 60_000 } as const
  const before = await store.commit({ ops: [take] })
  const old = (await engine.root('primary'))?.root
  const token = before.results[0]?.token
  if (!token || !old) throw new Error('a lease that was taken has a token and a root')
  await store.commit({ ops: [{ op: 'lease', key: 'k', action: 'release', token }] })
  await store.commit({ ops: [take] })
  const now = await store.commit({ ops: [{ op: 'put', key: 'k', value: 'v' }] })
  await store.upkeep.collect()

  // One that has nothing of it in memory.
  await using fresh = await KeyStore.open(engine, new Content(engine), clock)
  const live = fresh.namespace()
  await expect(live.trees(old)).resolves.toBeDefined()
  const key = parseKey('k')
  const found = { namespace: 'primary', key, treeobj: undefined, passed: [] }
  const held = { [Symbol.dispose]: () => {} }
  const seen = { live, root: old, found, skipped: false, leaseOnly: true, held }
  const event = await new LeaseWatch(fresh).at(seen)
  expect(event).toMatchObject({ type: 'lease', held: true, token: { seq: now.seq - 1 } })
})
