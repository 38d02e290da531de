/** What leaves a websocket of the server: how often it is written to, and in which order. */

import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { deferred } from '../../src/base/deferred.js'
import { parseBlobref } from '../../src/blob/blobref.js'
import { Backlogs } from '../../src/server/backlogs.js'
import { EventFrames, type SharedEvent } from '../../src/server/event-frames.js'
import { Gate } from '../../src/server/inbox.js'
import { Outbox } from '../../src/server/outbox.js'
import {
  parseResponse,
  type ResponseFrame,
  subprotocol,
  subprotocolJson,
} from '../../src/wire/frames.js'
import { decodeMessage, type Subprotocol } from '../../src/wire/messages.js'

const prefix = parseBlobref(`blake3-${'1'.repeat(64)}`)

function appended(index: number, data: Uint8Array): SharedEvent {
  const position = { incarnation: '1', index: index + 1, prefix }
  return { type: 'append', index, offset: 0, seq: 1, position, data }
}

/** An outbox, and the frames that arrive at the other end of its websocket. */
class Ends implements AsyncDisposable {
  readonly outbox: Outbox
  readonly raw: Socket
  readonly frames: ResponseFrame[] = []
  readonly #server: WebSocketServer
  readonly #client: WebSocket

  private constructor(server: WebSocketServer, client: WebSocket, outbox: Outbox, raw: Socket) {
    this.#server = server
    this.#client = client
    this.outbox = outbox
    this.raw = raw
    client.on('message', (data: Buffer, isBinary: boolean) => {
      this.frames.push(parseResponse(decodeMessage(isBinary ? data : data.toString())))
    })
  }

  static async open(protocol: Subprotocol): Promise<Ends> {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    await once(server, 'listening')
    const opened = deferred<{ readonly socket: WebSocket; readonly raw: Socket }>()
    server.on('connection', (socket, { socket: raw }) => opened.resolve({ socket, raw }))
    const { port } = server.address() as AddressInfo
    const client = new WebSocket(`ws://127.0.0.1:${port}`)
    const { socket, raw } = await opened.promise
    await once(client, 'open')
    const gate = new Gate(socket)
    const shared = { backlogs: new Backlogs(() => 0), events: new EventFrames() }
    return new Ends(server, client, new Outbox(socket, { raw, protocol, gate, ...shared }), raw)
  }

  async received(count: number): Promise<readonly ResponseFrame[]> {
    while (this.frames.length < count) await once(this.#client, 'message')
    return this.frames
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.terminate()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
  }
}

/** Counts the system calls that write to a socket. */
function countWrites(raw: Socket): () => number {
  const spies = [vi.spyOn(raw, '_write'), vi.spyOn(raw, '_writev' as '_write')]
  return () => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe.each([subprotocol, subprotocolJson] as const)('the outbox of %s', (protocol) => {
  it('writes the frames of one turn with one system call, in order', async () => {
    await using ends = await Ends.open(protocol)
    const writes = countWrites(ends.raw)
    const sizes = [0, 1, 100, 125, 126, 2_048, 2_049, 65_535, 65_536, 200_000, 1]
    for (const [index, size] of sizes.entries()) {
      ends.outbox.send({ id: 1, type: 'result', body: { index } })
      ends.outbox.sendEvent(appended(index, Buffer.alloc(size, index)), 2)
    }
    const frames = await ends.received(2 * sizes.length)
    expect(writes()).toBe(1)
    for (const [index, size] of sizes.entries()) {
      expect(frames[2 * index]).toEqual({ id: 1, type: 'result', body: { index } })
      const event = frames[2 * index + 1]
      expect(event).toMatchObject({ id: 2, type: 'append', index })
      const data = event?.type === 'append' ? event.data : undefined
      expect(Buffer.alloc(size, index).equals(data ?? Buffer.alloc(1, 255))).toBe(true)
    }
  })

  it('counts what it has not written yet, and writes it at once where asked', async () => {
    await using ends = await Ends.open(protocol)
    const writes = countWrites(ends.raw)
    ends.outbox.send({ id: 1, type: 'live' })
    expect(ends.outbox.backlog).toBeGreaterThan(0)
    expect(writes()).toBe(0)
    ends.outbox.flush()
    expect(writes()).toBe(1)
    expect(await ends.received(1)).toEqual([{ id: 1, type: 'live' }])
    expect(writes()).toBe(1)
  })
})

it('says when the bytes of an event are not needed any more, and not before', async () => {
  await using ends = await Ends.open(subprotocol)
  const sent: number[] = []
  for (const index of [0, 1]) {
    const data = Buffer.alloc(100_000, index)
    const ended = () => {
      expect(ends.raw.writableLength).toBe(0)
      sent.push(index)
    }
    ends.outbox.sendEvent(appended(index, data), 1, { done: ended })
  }
  ends.outbox.flush()
  expect(sent).toEqual([])
  await ends.received(2)
  while (sent.length < 2) await turn()
  expect(sent).toEqual([0, 1])
})

it('does not say that bytes are not needed while a part of them waits in the socket', async () => {
  await using ends = await Ends.open(subprotocol)
  const done: number[] = []
  // More than the system takes at once.
  const event = appended(0, Buffer.alloc(50_000_000))
  ends.outbox.sendEvent(event, 1, { done: () => done.push(0) })
  ends.outbox.flush()
  await turn()
  expect(ends.raw.writableLength).toBeGreaterThan(0)
  expect(done).toEqual([])
  ends.raw.destroy()
})

it('an event is encoded once, whoever sends it', () => {
  const frames = new EventFrames()
  const event = appended(0, Buffer.from('x'))
  expect(frames.of(event)).toBe(frames.of(event))
  expect(frames.of(appended(0, Buffer.from('x')))).not.toBe(frames.of(event))
})

it('the message of an event is one piece for those who send it under one id', () => {
  const encoded = new EventFrames().of(appended(0, Buffer.from('x')))
  const bytes = (id: number) => Buffer.concat(encoded.message(id))
  const first = bytes(7)
  expect(bytes(7)).toEqual(first)
  expect(encoded.message(7)).toHaveLength(1)
  expect(encoded.message(7)[0]).toBe(encoded.message(7)[0])
  // Other ids, of other lengths, are not mixed up with it.
  for (const id of [8, 7, 200, 70_000, 7]) {
    const message = bytes(id)
    expect(message[0]).toBe(0x82)
    expect(message[1]).toBe(126) // two bytes of length follow
    expect(message.readUInt16BE(2)).toBe(message.length - 4)
    expect(parseResponse(decodeMessage(message.subarray(4)))).toEqual({
      id,
      ...appended(0, Buffer.from('x')),
    })
  }
})

it('a large event is sent in pieces, so that its data are not copied', () => {
  const data = Buffer.alloc(100_000)
  const encoded = new EventFrames().of(appended(0, data))
  for (let times = 0; times < 3; times++) expect(encoded.message(1).at(-1)).toBe(data)
})
