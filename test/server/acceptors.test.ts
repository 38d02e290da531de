/** New connections do not wait for one turn of the event loop each. See rfc/12, rule 32. */

import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { expect, it } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { Acceptors, acceptsPerTurn } from '../../src/server/acceptors.js'

const count = 4 * acceptsPerTurn

/** Turns of the event loop in which connections were taken that all were asked for in one. */
async function turnsOf(server: Server): Promise<number> {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const turns = new Set<number>()
  let turn = 0
  let taken = 0
  const next = () => {
    turn++
    if (taken < count) setImmediate(next)
  }
  const all = deferred<void>()
  server.on('connection', () => {
    turns.add(turn)
    if (++taken === count) all.resolve()
  })
  const sockets = Array.from({ length: count }, () => connect(address.port, '127.0.0.1'))
  next()
  await all.promise
  for (const socket of sockets) socket.destroy()
  return turns.size
}

it('a burst is taken in a few turns, not one connection in each', async () => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const acceptors = new Acceptors(server, { keepAliveMs: 60_000 })
  await acceptors.open(4_096)
  try {
    expect(await turnsOf(server)).toBeLessThan(count / 2)
  } finally {
    acceptors.close()
    server.close()
  }
})

it('after close nothing is accepted', async () => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const acceptors = new Acceptors(server, { keepAliveMs: 60_000 })
  await acceptors.open(4_096)
  acceptors.close()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const socket = connect(address.port, '127.0.0.1')
  const [error] = await once(socket, 'error')
  expect(error).toMatchObject({ code: 'ECONNREFUSED' })
})
