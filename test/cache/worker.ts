/** A process that uses a cache until its stdin ends. It prints one line of JSON for each thing that happens. Arguments:
 *  the server's address, what to do (`hold`, `compute`), and its options in JSON. */

import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { openCache } from '../../src/cache/cache.js'
import { connect } from '../../src/client/node.js'

const [target = '', what = '', given = '{}'] = process.argv.slice(2)
const options: { readonly name: string; readonly actions: number; readonly calls: number } =
  JSON.parse(given)
const { name, actions, calls } = options
await using store = await connect(target, { reconnect: { minMs: 1, maxMs: 20 } })
const cache = openCache(store, { owner: name })
const lines = createInterface({ input: process.stdin })

function say(line: unknown): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

if (what === 'hold') {
  // Claims, says so, waits to be told, and publishes.
  const claim = await cache.claim('held', { ttl: 1_000 })
  if (claim.type !== 'claimed') throw new Error('the action has a result')
  say({ claimed: true })
  const published = once(lines, 'line').then(() => claim.publish(name))
  say(
    await published.then(
      () => ({ published: true }),
      (error: { readonly code: string }) => ({ code: error.code }),
    ),
  )
}
if (what === 'compute') {
  say({ ready: true })
  await once(lines, 'line')
  let runs = 0
  const all = Array.from({ length: calls }, (_, call) => {
    const action = call % actions
    return cache.cached({ action }, () => {
      runs++
      return { action, by: name }
    })
  })
  const by = (await Promise.all(all)).map((result) => result.by)
  say({ runs, by })
}
lines.close()
