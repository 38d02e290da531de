/** A watch of leases over connections that are lost: no change is missed for good, none is told twice.
 *  See rfc/9, rfc/12. */

import { beforeEach, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import type { Op, Token } from '../../src/api/transaction.js'
import type { CuttingProxy } from './cutting-proxy.js'
import { type Serving, serveCutting } from './serving.js'

let serving: Serving
let proxy: CuttingProxy
let client: Store
beforeEach(async () => {
  const served = await serveCutting()
  ;({ serving, proxy, client } = served)
  return served.end
})

async function commit(...ops: Op[]): Promise<Token | undefined> {
  return (await serving.store.commit({ ops })).results[0]?.token
}

it('what did not change while the connection was away is not told again; what did is', async () => {
  const take: Op = { op: 'lease', key: 'lock', action: 'take', ttl: 60_000 }
  const watching = client.watch('lock', { mode: 'value', lease: true, waitCreate: true })
  const next = async () => (await watching.next()).value
  expect(await next()).toEqual({ type: 'lease', seq: 0, held: false })
  const first = await commit(take)
  expect(await next()).toMatchObject({ held: true, token: first })

  const connected = async () => {
    const { sockets } = proxy
    proxy.cut()
    await expect.poll(() => proxy.sockets).toBeGreaterThan(sockets)
    await expect.poll(() => serving.store.watchers).toBe(1)
  }
  const following = next()
  await connected()
  if (!first) throw new Error('a take answers its token')
  // Released and taken by another before the watch is back: the new holder is told, once.
  await commit(
    { op: 'lease', key: 'lock', action: 'release', token: first },
    { ...take, owner: 'other' },
  )
  expect(await following).toMatchObject({ held: true, owner: 'other', token: { seq: 2 } })

  proxy.close()
  proxy.cut()
  await expect.poll(() => serving.store.watchers).toBe(0)
  const { incarnation } = await serving.store.root()
  const token = { incarnation, seq: 2 }
  await commit({ op: 'lease', key: 'lock', action: 'release', token })
  proxy.open()
  expect(await next()).toMatchObject({ held: false })
  await commit({ op: 'put', key: 'lock', value: 'v' })
  expect(await next()).toMatchObject({ type: 'value' })
  await watching.return?.()
})
