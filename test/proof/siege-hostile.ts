/** The process of hostile clients: does the kinds that it is told, until it is told others. Arguments: the
 *  server's port, its token, a seed. See siege.ts. */

import { setMaxListeners } from 'node:events'
import { setPriority } from 'node:os'
import { mulberry32 } from '../engine/flaky.js'
import { deafKinds } from './siege-deaf.js'
import { frameKinds } from './siege-frames.js'
import { Attack, type Kind, type Target } from './siege-kind.js'
import type { HostileOrder } from './siege-record.js'
import { requestKinds } from './siege-requests.js'
import { strangers } from './siege-strangers.js'

const [port = '', token = '', seed = ''] = process.argv.slice(2)
const target: Target = { port: Number(port), token }
const random = mulberry32(Number(seed))
const kinds = new Map(
  [...strangers, ...requestKinds, ...frameKinds, ...deafKinds].map((kind) => [kind.name, kind]),
)

// They stand for other machines: what they compute is not to be taken from the server.
setPriority(15)

async function lane(kind: Kind, at: number, signal: AbortSignal): Promise<void> {
  const everyMs = 1_000 / kind.perSecond
  {
    using start = new Attack(target, random, signal)
    await start.hold((everyMs * at) / kind.lanes)
  }
  while (!signal.aborted) {
    const next = Date.now() + everyMs
    using attack = new Attack(target, random, signal)
    await kind.attack(attack)
    await attack.hold(next - Date.now())
  }
}

let siege = new AbortController()
process.on('message', (order: HostileOrder) => {
  siege.abort()
  siege = new AbortController()
  const { signal } = siege
  setMaxListeners(0, signal)
  for (const name of order.kinds) {
    const kind = kinds.get(name)
    if (!kind) throw new Error(`there is no kind "${name}"`)
    const lanes = Math.ceil(kind.lanes * (order.share ?? 1))
    for (let at = 0; at < lanes; at++) void lane({ ...kind, lanes }, at, signal)
  }
})
// A parent that has gone has nothing to hear.
process.on('disconnect', () => process.exit(1))
process.send?.('ready')
