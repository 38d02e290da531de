/** Credit and back-pressure of watches, pings, and the time that a token has. */

import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { blobSizeMax } from '../../src/blob/blob.js'
import { backlogSize } from '../../src/server/outbox.js'
import { readsMax } from '../../src/server/served-requests.js'
import {
  authMs,
  creditDefault,
  creditMax,
  frameCost,
  pingMs,
  type ResponseFrame,
} from '../../src/wire/frames.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())
afterEach(() => {
  vi.useRealTimers()
})

/** A round trip: what the server had to send before it, has come. */
async function settle(peer: Peer, id: number): Promise<ResponseFrame[]> {
  peer.send({ id, op: 'root' })
  return (await peer.until((frame) => frame.id === id)).slice(0, -1)
}

describe('credit', () => {
  it('is taken by data and by frames, and one frame may go below it', async () => {
    for (const text of ['aaaa', 'bbbb', 'cccc']) await serving.store.append('small', text)
    await using peer = await Peer.connect(serving)
    // Frames of 4 bytes cost 68: two are sent while the balance is above 0, then it is at 0.
    peer.send({ id: 1, op: 'watch', key: 'small', mode: 'append', credit: 2 * (4 + frameCost) })
    expect((await peer.until((frame) => frame.type === 'append' && frame.index === 1)).length).toBe(
      2,
    )
    expect(await settle(peer, 2)).toEqual([])
    peer.send({ id: 1, op: 'credit', bytes: 1 })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'append', index: 2 })
    // It is at -67 now: 67 more are not enough.
    peer.send({ id: 1, op: 'credit', bytes: 4 + frameCost - 1 })
    expect(await settle(peer, 3)).toEqual([])
    peer.send({ id: 1, op: 'credit', bytes: 1 })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'live' })
  })

  it('of 0 sends nothing before a grant', async () => {
    await serving.store.append('nothing', 'x')
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', key: 'nothing', mode: 'append', credit: 0 })
    expect(await settle(peer, 2)).toEqual([])
    peer.send({ id: 1, op: 'credit', bytes: 1 })
    expect(await peer.next()).toMatchObject({ id: 1, type: 'append', data: Buffer.from('x') })
  })

  it(`is ${creditDefault} bytes by default, and cut to ${creditMax}`, async () => {
    const blobs = Math.ceil((creditMax + creditDefault) / blobSizeMax)
    await serving.ask('PUT', '/v1/kv/large', { body: Buffer.alloc(blobs * blobSizeMax, 1) })
    await using peer = await Peer.connect(serving)
    const cost = blobSizeMax + frameCost
    peer.send({ id: 1, op: 'watch', key: 'large', mode: 'append' })
    const fitting = Math.ceil(creditDefault / cost)
    await peer.until((frame) => frame.type === 'append' && frame.index === fitting - 1)
    expect(await settle(peer, 2)).toEqual([])
    peer.send({ id: 3, op: 'watch', key: 'large', mode: 'append', credit: 2 * creditMax })
    const most = Math.ceil(creditMax / cost)
    await peer.until(
      (frame) => frame.id === 3 && frame.type === 'append' && frame.index === most - 1,
    )
    expect(await settle(peer, 4)).toEqual([])
  })

  it('of one watch holds up no other', async () => {
    await serving.store.append('shared', 'x')
    await using peer = await Peer.connect(serving)
    peer.send({ id: 1, op: 'watch', key: 'shared', mode: 'append', credit: 1 })
    peer.send({ id: 2, op: 'watch', key: 'shared', mode: 'append' })
    await peer.until((frame) => frame.id === 2 && frame.type === 'live')
    await serving.store.append('shared', 'y')
    expect(await peer.next()).toMatchObject({ id: 2, type: 'append', index: 1 })
    peer.send({ id: 1, op: 'cancel' })
    expect(await peer.until((frame) => frame.type === 'end')).toEqual([
      { id: 1, type: 'end', reason: 'canceled' },
    ])
  })

  it('loads nothing ahead', async () => {
    await using small = await Serving.start()
    await small.store.put('cold', randomBytes(5 * blobSizeMax))
    await using reopened = await small.reopen()
    await using peer = await Peer.connect(reopened)
    peer.send({ id: 1, op: 'watch', key: 'cold', mode: 'append', credit: 1 })
    await peer.next()
    const { loads } = reopened.store
    peer.send({ id: 2, op: 'root' })
    await peer.next()
    expect(reopened.store.loads).toBe(loads)
    peer.send({ id: 1, op: 'credit', bytes: blobSizeMax + frameCost })
    await peer.next()
    expect(reopened.store.loads).toBe(loads + 1)
  })
})

it('a client that stops reading while 100 MB are appended costs nothing, holds up nobody, and then gets every byte', async () => {
  const total = 100 * 1024 * 1024
  const piece = 1024 * 1024
  await using slow = await Peer.connect(serving)
  await using fast = await Peer.connect(serving)
  await serving.store.append('flood', '')
  slow.send({ id: 1, op: 'watch', key: 'flood', mode: 'append', credit: creditMax })
  fast.send({ id: 1, op: 'watch', key: 'flood', mode: 'append' })
  await slow.until((frame) => frame.type === 'live')
  await fast.until((frame) => frame.type === 'live')
  slow.socket.pause()

  const fastDone = collect(fast, total)
  const before = await statusOf()
  let backlog = 0
  let anonymous = 0
  for (let at = 0; at < total; at += piece) {
    await serving.store.append('flood', Buffer.alloc(piece, (at / piece) % 251))
    const status = await statusOf()
    backlog = Math.max(backlog, status.backlog)
    anonymous = Math.max(anonymous, status.memory.anonymous)
  }
  await fastDone
  // Of two connections; without back-pressure it would be all of the slow one's credit, 64 MiB.
  expect(backlog).toBeLessThan(2 * (backlogSize + blobSizeMax + 1024))
  // The cache of blobs may fill up meanwhile (64 MiB), and what was sent waits for the collector.
  expect(anonymous - before.memory.anonymous).toBeLessThan(150 * 1024 * 1024)

  slow.socket.resume()
  await collect(slow, total)
}, 60_000)

it('a client that takes no answers is not answered ahead, and then gets all of them', async () => {
  const keys = Array.from({ length: 4 }, (_, index) => `answer/${index}`)
  const value = randomBytes(250_000)
  for (const key of keys) await serving.store.put(key, value)
  await using peer = await Peer.connect(serving)
  peer.socket.pause()
  const requests = 300
  for (let id = 1; id <= requests; id++) peer.send({ id, op: 'read', body: { keys } })
  let backlog = 0
  // Until what the server sends has come to rest.
  for (let before = -1; backlog === 0 || backlog !== before; ) {
    before = backlog
    backlog = (await statusOf()).backlog
  }
  expect(backlog).toBeLessThan((readsMax + 2) * keys.length * (value.length + 100))
  peer.socket.resume()
  for (let count = 0; count < requests; count++) {
    const frame = await peer.next()
    if (frame.type !== 'result') throw new Error(`an unexpected ${frame.type}`)
    const { values } = frame.body as { values: Buffer[] }
    expect(values.every((got) => value.equals(got))).toBe(true)
  }
})

describe('time', () => {
  it('a connection that answers no ping is closed by the next', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    await using other = await Serving.start()
    const silent = await Peer.connect(other)
    await using lively = await Peer.connect(other)
    await settle(lively, 1)
    await settle(silent, 1)
    silent.socket.pause()
    vi.advanceTimersByTime(pingMs)
    await settle(lively, 2)
    vi.advanceTimersByTime(pingMs)
    silent.socket.resume()
    expect(await silent.closed()).toBe(1006)
    expect(await settle(lively, 3)).toEqual([])
  })

  it(`a token that does not come within ${authMs} ms is EUNAUTH`, async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    await using peer = await Peer.connect(serving, { token: 'none' })
    vi.advanceTimersByTime(authMs - 1)
    await serving.askLocally('GET', '/healthz')
    expect(peer.closeCode).toBeUndefined()
    vi.advanceTimersByTime(1)
    expect(await peer.next()).toMatchObject({ id: 0, type: 'error', code: 'EUNAUTH' })
    expect(await peer.closed()).toBe(1008)
  })
})

/** Reads a flood to its end, granting as it takes, and checks every byte. */
async function collect(peer: Peer, total: number): Promise<void> {
  let offset = 0
  while (offset < total) {
    const frame = await peer.next()
    if (frame.type !== 'append') throw new Error(`an unexpected ${frame.type}`)
    expect(frame.offset).toBe(offset)
    const piece = Math.floor(offset / (1024 * 1024)) % 251
    const expected = Buffer.alloc(frame.data.length, piece)
    if (!expected.equals(frame.data)) throw new Error(`wrong bytes at ${offset}`)
    offset += frame.data.length
    peer.send({ id: frame.id, op: 'credit', bytes: frame.data.length + frameCost })
  }
}

async function statusOf(): Promise<{ backlog: number; memory: { anonymous: number } }> {
  const { json } = await serving.askLocally('GET', '/v1/status')
  return json as { backlog: number; memory: { anonymous: number } }
}
