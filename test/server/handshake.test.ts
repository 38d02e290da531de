/** How a websocket of `/v1/ws` begins: subprotocols, tokens, Host and Origin. */

import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { subprotocol, subprotocolJson } from '../../src/wire/frames.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start({ allowOrigins: ['https://page.example'] })
})
afterAll(() => serving[Symbol.asyncDispose]())

describe('the handshake', () => {
  const address = () => `ws://${serving.server.listen[0]}/v1/ws`

  it.each([[[]], [['other.v1']]])('with the subprotocols %j is closed with 1002', async (names) => {
    // By hand: `ws` itself gives up where a server chooses none of what it offered.
    const { socket, head } = await upgrade(names)
    const [data] = head.length > 0 ? [head] : await once(socket, 'data')
    expect(data[0]).toBe(0x88)
    expect(data.readUInt16BE(2)).toBe(1002)
    socket.destroy()
  })

  it('chooses the first subprotocol that it knows', async () => {
    const socket = new WebSocket(address(), ['x', subprotocolJson, subprotocol], {
      headers: bearer(),
    })
    await once(socket, 'open')
    expect(socket.protocol).toBe(subprotocolJson)
    socket.terminate()
  })

  it.each([
    ['a wrong token', 401, { authorization: 'Bearer wrong' }],
    ['a foreign Origin', 403, { origin: 'http://evil.example' }],
    ['a foreign Host', 403, { host: 'evil.example' }],
  ])('with %s is refused with %i', async (_, status, headers) => {
    const socket = new WebSocket(address(), [subprotocol], { headers: { ...bearer(), ...headers } })
    const [, response] = await once(socket, 'unexpected-response')
    expect(response.statusCode).toBe(status)
    response.destroy()
    socket.on('error', () => {})
    socket.terminate()
  })

  it('from an allowed page takes the token in the first frame', async () => {
    await using peer = await Peer.connect(serving, {
      token: 'none',
      headers: { origin: 'https://page.example' },
    })
    peer.send({ id: 1, op: 'auth', token: serving.server.token })
    expect(await peer.next()).toEqual({ id: 1, type: 'result', body: {} })
    peer.send({ id: 2, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 2, type: 'result' })
  })

  it.each([
    ['a wrong token', { id: 1, op: 'auth', token: 'wrong' }],
    ['another first frame', { id: 1, op: 'root' }],
  ])('without a token, then %s: EUNAUTH, closed with 1008', async (_, frame) => {
    await using peer = await Peer.connect(serving, { token: 'none' })
    peer.send(frame)
    expect(await peer.next()).toMatchObject({ id: 1, type: 'error', code: 'EUNAUTH' })
    expect(await peer.closed()).toBe(1008)
  })

  it('over the Unix socket needs no token, and frames may come with it', async () => {
    const path = `ws+unix://${serving.server.socket}:/v1/ws`
    const client = new WebSocket(path, [subprotocolJson])
    client.once('upgrade', () => client.once('open', () => client.send('{"id":1,"op":"root"}')))
    const [data] = await once(client, 'message')
    expect(JSON.parse(String(data))).toMatchObject({ id: 1, type: 'result' })
    client.terminate()
  })
})

async function upgrade(names: readonly string[]): Promise<{ socket: Duplex; head: Buffer }> {
  const request = httpRequest({
    socketPath: serving.server.socket,
    path: '/v1/ws',
    headers: {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      ...(names.length > 0 ? { 'sec-websocket-protocol': names.join(', ') } : {}),
    },
  })
  request.end()
  const [, socket, head] = await once(request, 'upgrade')
  return { socket, head }
}

function bearer(): { readonly authorization: string } {
  return { authorization: `Bearer ${serving.server.token}` }
}
