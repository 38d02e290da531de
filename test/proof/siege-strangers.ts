/** Attacks of those who have no token. See siege.ts. */

import { asked, frame, type Kind, opcodes } from './siege-kind.js'

const holdMs = 10_000

export const strangers: readonly Kind[] = [
  {
    name: 'silent-sockets',
    lanes: 1_500,
    perSecond: 0.2,
    attack: async (attack) => {
      await attack.open()
      await attack.hold(holdMs)
    },
  },
  {
    name: 'half-heads',
    lanes: 300,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.open()
      const head = attack.strange('GET /v1/kv/some')
      socket.write(head.slice(0, attack.draw(1, head.length - 1)))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'slow-heads',
    lanes: 200,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.open()
      socket.write(attack.strange('GET /v1/kv/some').slice(0, -2))
      await attack.drip(socket, 'X-More: x\r\n', { everyMs: 200, ms: holdMs })
    },
  },
  {
    name: 'slow-bodies',
    lanes: 200,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.open()
      socket.write(attack.strange('PUT /v1/kv/some', ['Content-Length: 1000000']))
      await attack.drip(socket, 'x', { everyMs: 200, ms: holdMs })
    },
  },
  {
    name: 'strange-half-bodies',
    lanes: 100,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.open()
      socket.write(attack.strange('POST /v1/txn', ['Content-Length: 12000000']))
      await attack.write(socket, Buffer.alloc(attack.draw(1, 900_000), '['))
      await attack.hold(2_500)
    },
  },
  {
    name: 'endless-chunks',
    lanes: 20,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.open()
      socket.write(attack.strange('PUT /v1/kv/some', ['Transfer-Encoding: chunked']))
      const chunk = attack.one(['1\r\nx\r\n', `1;${'x'.repeat(900)}\r\nx\r\n`])
      for (let n = 0; n < 200 && !socket.destroyed; n++) {
        await attack.write(socket, chunk.repeat(50))
      }
    },
  },
  {
    name: 'giant-first-frames',
    lanes: 20,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.websocket({ token: false })
      const size = attack.draw(1_000, 16_000_000)
      await attack.write(socket, frame(opcodes.text, Buffer.alloc(size, '[')))
      await attack.hold(500)
    },
  },
  {
    name: 'unadmitted-websockets',
    lanes: 500,
    perSecond: 0.3,
    attack: async (attack) => {
      const socket = await attack.websocket({ token: false })
      if (attack.random() < 0.5) socket.write(frame(opcodes.text, '{"id":1,', { fin: false }))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'first-frames-in-bytes',
    lanes: 50,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.websocket({ token: false })
      const bytes = attack.one([
        frame(opcodes.ping, 'x'),
        frame(opcodes.more, 'x', { fin: false }),
        frame(opcodes.text, '', { fin: false }),
        asked({ id: 1, op: 'auth', token: 'x' }),
        frame(opcodes.pong, Buffer.alloc(125)),
      ])
      for (let n = 0; n < 2_000 && !socket.destroyed; n++) await attack.write(socket, bytes)
    },
  },
  {
    name: 'undecodable-paths',
    lanes: 30,
    perSecond: 5,
    attack: async (attack) => {
      const socket = await attack.open()
      const path = attack.one(['/v1/%ff', '/%', '/v1/kv/%c0%80', '/v1/ws?%', '//v1/ws', '*'])
      const lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
      socket.write(attack.strange(`GET ${path}`, lines))
      await attack.hold(1_000)
    },
  },
  {
    name: 'pipelined-strangers',
    lanes: 5,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.open({ deaf: true })
      const request = attack.strange(attack.one(['GET /healthz', 'GET /v1/kv/some', 'GET /%ff']))
      await attack.write(socket, request.repeat(5_000))
      await attack.hold(1_000)
    },
  },
  {
    name: 'header-floods',
    lanes: 20,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.open()
      socket.write('GET / HTTP/1.1\r\n')
      const line = attack.one([
        'X-A: y\r\n',
        `X: ${'y'.repeat(4_000)}\r\n`,
        'Host: x\r\n',
        'a:\r\n',
      ])
      for (let n = 0; n < 100 && !socket.destroyed; n++)
        await attack.write(socket, line.repeat(100))
    },
  },
  {
    name: 'wrong-hosts',
    lanes: 20,
    perSecond: 20,
    attack: async (attack) => {
      const socket = await attack.open()
      const lines = attack.one([
        ['Host: example.org'],
        ['Host: 127.0.0.1', 'Host: example.org'],
        ['Host: 127.0.0.1', 'Origin: https://example.org'],
        [`Host: ${'a.'.repeat(4_000)}`],
        [`Origin: http://${'['.repeat(8_000)}`],
      ])
      socket.write(`OPTIONS /v1/kv/some HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
      await attack.hold(100)
    },
  },
  {
    name: 'other-protocols',
    lanes: 20,
    perSecond: 10,
    attack: async (attack) => {
      const socket = await attack.open()
      const bytes = attack.one([
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
        '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
        'SSH-2.0-OpenSSH_9.6\r\n',
        'GET / HTTP/0.9\r\n\r\n',
        'GET /\r\n',
        '*1\r\n$4\r\nPING\r\n',
        '\0'.repeat(100_000),
      ])
      socket.write(bytes, 'latin1')
      await attack.hold(200)
    },
  },
  {
    name: 'wrong-tokens',
    lanes: 10,
    perSecond: 20,
    attack: async (attack) => {
      const socket = await attack.open()
      const token = attack.one(['x'.repeat(64), 'x', 'x'.repeat(15_000), 'ä'])
      const request = attack.strange('GET /v1/status', [`Authorization: Bearer ${token}`])
      socket.write(request.repeat(attack.draw(1, 20)))
      await attack.hold(100)
    },
  },
  {
    name: 'churn-of-connections',
    lanes: 20,
    perSecond: 25,
    attack: async (attack) => {
      const socket = await attack.open()
      if (attack.random() < 0.5) socket.write('GET /')
      if (attack.random() < 0.5) socket.resetAndDestroy()
    },
  },
]
