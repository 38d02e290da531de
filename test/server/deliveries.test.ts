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

it('appends to many watches of one connection leave with one write a turn', async () => {
  await using serving = await Serving.start()
  await serving.store.append('log', 'a')
  await using peer = await Peer.connect(serving)
  const perTurn = turnSize / deliveryCost
  const watches = perTurn
  for (let id = 1; id <= watches; id++) peer.send({ id, op: 'watch', key: 'log', mode: 'append' })
  for (let live = 0; live < watches; ) if ((await peer.next()).type === 'live') live++
  const writes = countWrites()
  const appends = 8
  const op = { op: 'append', key: 'log', value: 'b' } as const
  await serving.store.commit({ ops: Array.from({ length: appends }, () => op) })
  const next = new Map<number, number>()
  for (let left = watches * appends; left > 0; left--) {
    const frame = await peer.next()
    const index = (next.get(frame.id) ?? 0) + 1
    expect(frame).toMatchObject({ type: 'append', index })
    next.set(frame.id, index)
  }
  // On a busy machine the turns are short, and there are more of them. Without them there are 294.
  expect(writes()).toBeLessThan(100)
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
