/** The present of a root that a reader took while it was the newest. */

import { afterEach, expect, it } from 'vitest'
import { Collector } from '../../src/collect/collect.js'
import { Content } from '../../src/content/content.js'
import { readRecord } from '../../src/draft/meta.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { KeyStore } from '../../src/kvs/store.js'
import { Nodes } from '../../src/tree/nodes.js'
import { readRoot } from '../../src/tree/root.js'
import { TestClock } from '../clock.js'

const open: AsyncDisposable[] = []

afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]()
})

it('stays while the reader reads, and goes after', async () => {
  const environment = new TestClock()
  const engine = new MemoryEngine(environment)
  const content = new Content(engine)
  const store = await KeyStore.open(engine, content, environment)
  const { spaces, nodes } = store
  const collector = await Collector.open({ engine, content, nodes, spaces, environment })
  open.push(store, collector)
  await store.put('k', 'v', { ttl: 60_000 })
  const { live } = spaces.find()
  const { ref } = live.root
  const expires = async () => {
    // One that has nothing of it in memory.
    const cold = new Nodes(new Content(engine))
    return readRecord(cold, (await readRoot(cold, ref)).meta, ['expiry', 'k'])
  }
  {
    using _reading = spaces.past.holdRoot(live.root)
    await store.put('k', 'another', { ttl: 90_000 })
    await collector.collect()
    expect(await expires()).toBeDefined()
  }
  await collector.collect()
  await expect(expires()).rejects.toMatchObject({ code: 'EDANGLING' })
})
