/** What writes ask of the server's event loop: the greatest requests, each alone, keep nobody waiting. rfc/12, rule 33. */

import { once } from 'node:events'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { opsMax } from '../../src/api/transaction.js'
import { encodeFrame } from '../../src/blob/codec.js'
import { bodySizeMax } from '../../src/server/body.js'
import { subprotocol } from '../../src/wire/frames.js'
import { Stalling } from './stall.js'

let serving: Stalling

beforeAll(async () => {
  serving = await Stalling.start(async () => {})
})

afterAll(async () => {
  await serving[Symbol.asyncDispose]()
})

function post(path: string, body: string | Uint8Array, status: number) {
  return async () => expect(await serving.ask('POST', path, { body })).toMatchObject({ status })
}

function transaction(ops: (at: number) => object): string {
  return JSON.stringify({ ops: Array.from({ length: opsMax }, (_, at) => ops(at)) })
}

it('a transaction of as many puts as it may have', async () => {
  const value = 'x'.repeat(1_000)
  const ops = (at: number) => ({ op: 'put', key: `a/${at % 64}/${at}`, value })
  await serving.expectNoStall(post('/v1/txn', transaction(ops), 200))
})

it('a transaction that makes a directory for each of its names', async () => {
  const ops = (at: number) => ({ op: 'put', key: `${at}/b/c/d/e/f/g/h`, value: 'x' })
  await serving.expectNoStall(post('/v1/txn', transaction(ops), 200))
})

it('a transaction of appends that expire, have caps and producers', async () => {
  const life = { ttl: 3_600_000, cap: { keep: 2 } }
  const ops = (at: number) => ({
    ...{ op: 'append', key: `c/${at}`, value: 'x', ...life },
    producer: { id: `p${at}`, epoch: 0, seq: 0 },
  })
  await serving.expectNoStall(post('/v1/txn', transaction(ops), 200))
})

it('many transactions in one group', async () => {
  const one = (n: number) => transaction((at) => ({ op: 'put', key: `d/${n}/${at}`, value: 'x' }))
  const bodies = Array.from({ length: 6 }, (_, n) => one(n))
  await serving.expectNoStall(() => Promise.all(bodies.map((body) => post('/v1/txn', body, 200)())))
})

it('JSON of nothing but objects, and of nothing but names', async () => {
  const objects = `{"ops":[${'{},'.repeat(bodySizeMax / 3 - 8)}{}]}`
  await serving.expectNoStall(post('/v1/txn', objects, 413))
  const names = Array.from({ length: 600_000 }, (_, at) => `"${at}":1`).join(',')
  await serving.expectNoStall(post('/v1/txn', `{${names}}`, 413))
})

it('an append of a hundred thousand events', async () => {
  await serving.expectNoStall(post('/v1/eventlog/e', '{"name":"e"}\n'.repeat(100_000), 200))
})

it('one event over a million lines', async () => {
  const event = `{"name":"e","context":{"a":[${'1,\n'.repeat(1_000_000)}1]}}`
  await serving.expectNoStall(post('/v1/eventlog/f', event, 413))
})

it('a frame of nothing but maps', async () => {
  const url = `ws+unix:${serving.socket}:/v1/ws`
  const socket = new WebSocket(url, [subprotocol], { perMessageDeflate: false })
  await once(socket, 'open')
  const ops = new Array(2_000_000).fill({})
  const frame = encodeFrame({ id: 1, op: 'txn', body: { ops } })
  await serving.expectNoStall(async () => {
    const answered = once(socket, 'message')
    socket.send(frame)
    await answered
  })
  socket.close()
})
