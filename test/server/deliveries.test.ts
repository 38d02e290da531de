/** What many watches of one client cost the server: writes to its websocket, and controllers. */

import { Socket } from 'node:net'
import { afterEach, expect, it, vi } from 'vitest'
import { deliveryCost, turnSize } from '../../src/server/pace.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** Counts the system calls that write to sockets of a server in this process. */
function countWrites(): () => number {
  const { prototype } = Socket
  const spies = [vi.spyOn(prototype, '_write'), vi.spyOn(prototype, '_writev' as '_write')]
  const isServers = (context: unknown) => Boolean((context as { server?: unknown }).server)
  return () => spies.flatMap(({ mock }) => mock.contexts.filter(isServers)).length
}

it('an append to many watches of one connection leaves with one write a turn', async () => {
  await using serving = await Serving.start()
  await serving.store.append('log', 'a')
  await using peer = await Peer.connect(serving)
  // More than one turn has deliveries for.
  const perTurn = turnSize / deliveryCost
  const watches = 3 * perTurn
  for (let id = 1; id <= watches; id++) peer.send({ id, op: 'watch', key: 'log', mode: 'append' })
  for (let live = 0; live < watches; ) if ((await peer.next()).type === 'live') live++
  const writes = countWrites()
  await serving.store.append('log', 'b')
  const ids = new Set<number>()
  while (ids.size < watches) {
    const frame = await peer.next()
    expect(frame).toMatchObject({ type: 'append', index: 1 })
    ids.add(frame.id)
  }
  expect(writes()).toBeLessThanOrEqual(2 * (watches / perTurn))
})

it('a watch makes no AbortController', async () => {
  await using serving = await Serving.start()
  await serving.store.append('log', 'a')
  await using peer = await Peer.connect(serving)
  let made = 0
  class Counted extends AbortController {
    constructor() {
      super()
      made++
    }
  }
  vi.stubGlobal('AbortController', Counted)
  const watches = 50
  for (let id = 1; id <= watches; id++) {
    const mode = id % 2 === 0 ? 'append' : 'value'
    peer.send({ id, op: 'watch', key: 'log', mode })
  }
  const seen = new Set<number>()
  while (seen.size < watches) seen.add((await peer.next()).id)
  await serving.store.append('log', 'b')
  for (let id = 1; id <= watches; id++) peer.send({ id, op: 'cancel' })
  for (let ends = 0; ends < watches; ) if ((await peer.next()).type === 'end') ends++
  expect(made).toBe(0)
})
