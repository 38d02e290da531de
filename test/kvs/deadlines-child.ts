/** A process that takes a lease and writes keys that expire, then says so and waits to be killed. */

import { open } from '../../src/open.js'
import { TestClock } from '../clock.js'

const [directory = ''] = process.argv.slice(2)
const store = await open({ directory, environment: new TestClock() })
await store.put('short', 'v', { ttl: 1_000 })
await store.put('long', 'v', { ttl: 1_000_000 })
await store.append('log', 'v', { ttl: 500_000, sliding: true })
const { results } = await store.commit({
  ops: [{ op: 'lease', key: 'lock', action: 'take', ttl: 200_000, owner: 'child' }],
})
process.stdout.write(`${JSON.stringify(results[0]?.token)}\n`)
setInterval(() => {}, 1_000)
