/** Attacks over the websocket of those who have the token. See siege.ts. */

import { asked, frame, type Kind, opcodes } from './siege-kind.js'

const holdMs = 10_000

export const frameKinds: readonly Kind[] = [
  {
    name: 'deep-frames',
    lanes: 2,
    perSecond: 1,
    attack: async (attack) => {
      const json = attack.random() < 0.5
      const socket = await attack.websocket({ json })
      const size = attack.draw(1_000, 8_000_000)
      const unit = json
        ? attack.one(['[', '{"a":', '[[],'])
        : attack.one(['\x91', '\x81\xa1a', '\xdd'])
      const bytes = Buffer.from(unit.repeat(size / unit.length), 'latin1')
      await attack.write(socket, frame(json ? opcodes.text : opcodes.binary, bytes))
      await attack.hold(500)
    },
  },
  {
    name: 'deaf-watchers',
    lanes: 50,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.websocket({ deaf: true })
      for (let id = 1; id <= 20; id++) {
        const key = attack.one(['siege/large', 'siege/log', 'siege/events', 'siege/hot'])
        const credit = 64 * 1024 * 1024
        socket.write(asked({ id, op: 'watch', key, mode: 'append', credit, waitCreate: true }))
      }
      await attack.hold(holdMs)
    },
  },
  {
    name: 'watchers-of-a-hot-key',
    lanes: 201,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const watch = { op: 'watch', key: 'siege/hot', mode: 'append', waitCreate: true }
      socket.write(asked({ id: 1, ...watch, credit: 64 * 1024 * 1024 }))
      // A few of them write, so that all the others are told.
      const writes = attack.random() < 0.03
      for (let n = 0; n < 50 && !socket.destroyed; n++) {
        const ops = [{ op: 'append', key: 'siege/hot', value: 'a line\n' }]
        for (let id = 2; writes && id <= 30; id++)
          socket.write(asked({ id, op: 'txn', body: { ops } }))
        await attack.hold(holdMs / 50)
      }
    },
  },
  {
    name: 'churn-of-watches',
    lanes: 5,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const key = attack.one(['siege/log', 'siege/none', 'siege/large', 'siege/hot'])
      const mode = attack.one(['append', 'value'])
      for (let id = 1; id <= 500 && !socket.destroyed; id++) {
        const watch = asked({ id, op: 'watch', key, mode, waitCreate: true })
        await attack.write(socket, Buffer.concat([watch, asked({ id, op: 'cancel' })]))
      }
    },
  },
  {
    name: 'many-watches',
    lanes: 10,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const mode = attack.one(['append', 'value'])
      const frames = Array.from({ length: 10_000 }, (_, n) => {
        const key = attack.random() < 0.5 ? 'siege/none' : `siege/none/${n}`
        return asked({ id: n + 1, op: 'watch', key, mode, waitCreate: true })
      })
      await attack.write(socket, Buffer.concat(frames))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'many-waits',
    lanes: 5,
    perSecond: 0.2,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const frames = Array.from({ length: 65_536 }, (_, n) => {
        const body = { waitSeq: 900_000_000 }
        return asked({ id: n + 1, op: 'root', body })
      })
      await attack.write(socket, Buffer.concat(frames))
      await attack.hold(holdMs)
    },
  },
  {
    name: 'flood-of-reads',
    lanes: 4,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.websocket({ deaf: true })
      const keys = attack.one([
        ['siege/none'],
        ['siege/many/name-1'],
        Array(100).fill('siege/none'),
      ])
      const frames = Array.from({ length: 5_000 }, (_, n) =>
        asked({ id: n + 1, op: 'read', body: { keys } }),
      )
      await attack.write(socket, Buffer.concat(frames))
      await attack.hold(2_000)
    },
  },
  {
    name: 'flood-of-writes',
    lanes: 2,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.websocket({ deaf: true })
      const frames = Array.from({ length: 1_000 }, (_, n) => {
        const ops = [{ op: 'put', key: `siege/flood/${attack.draw(0, 999)}`, value: 'x' }]
        return asked({ id: n + 1, op: 'txn', body: { ops } })
      })
      await attack.write(socket, Buffer.concat(frames))
      await attack.hold(1_000)
    },
  },
  {
    name: 'flood-of-errors',
    lanes: 4,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.websocket({ deaf: true })
      const bad = attack.one([
        asked({ id: 1, op: 'nothing' }),
        asked({ id: 1, op: 'txn', body: {} }),
        frame(opcodes.text, '{'),
        asked({ id: 1, op: 'watch', key: '', mode: 'append' }),
        asked({ id: -1, op: 'x'.repeat(10_000) }),
      ])
      await attack.write(socket, Buffer.concat(Array(5_000).fill(bad)))
      await attack.hold(2_000)
    },
  },
  {
    name: 'same-ids',
    lanes: 4,
    perSecond: 2,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const watch = asked({ id: 1, op: 'watch', key: 'siege/log', mode: 'append' })
      const read = asked({ id: 1, op: 'read', body: { keys: ['siege/none'] } })
      const cancel = asked({ id: 1, op: 'cancel' })
      const credit = asked({ id: 1, op: 'credit', bytes: 1_000_000 })
      for (let n = 0; n < 1_000 && !socket.destroyed; n++) {
        await attack.write(socket, attack.one([watch, read, cancel, credit]))
      }
    },
  },
  {
    name: 'extensions',
    lanes: 5,
    perSecond: 5,
    attack: async (attack) => {
      const offer = attack.one([
        'permessage-deflate; server_no_context_takeover; client_max_window_bits',
        `permessage-deflate${'; a'.repeat(4_000)}`,
        `${'x,'.repeat(6_000)}`,
      ])
      const socket = await attack.websocket({ lines: [`Sec-WebSocket-Extensions: ${offer}`] })
      socket.write(Buffer.concat([Buffer.from([0xc1, 0x80, 0, 0, 0, 0]), Buffer.alloc(100)]))
      await attack.hold(100)
    },
  },
  {
    name: 'ping-floods',
    lanes: 5,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.websocket({ deaf: attack.random() < 0.8 })
      const pings = Buffer.concat(Array(1_000).fill(frame(opcodes.ping, 'x'.repeat(125))))
      for (let n = 0; n < 100 && !socket.destroyed; n++) await attack.write(socket, pings)
      await attack.hold(2_000)
    },
  },
  {
    name: 'fragments',
    lanes: 5,
    perSecond: 1,
    attack: async (attack) => {
      const socket = await attack.websocket()
      await attack.write(socket, frame(opcodes.text, '[', { fin: false }))
      const size = attack.one([0, 1, 1, 100, 100_000])
      const piece = frame(opcodes.more, Buffer.alloc(size, '['), { fin: false })
      const count = size > 100 ? 1 : 1_000
      const batch = Buffer.concat(Array(count).fill(piece))
      const batches = Math.floor(65_536 / count)
      for (let n = 0; n < batches && !socket.destroyed && !attack.signal.aborted; n++) {
        await attack.write(socket, batch)
      }
      await attack.write(socket, frame(opcodes.more, '[]'))
      await attack.hold(1_000)
    },
  },
  {
    name: 'half-messages',
    lanes: 30,
    perSecond: 0.3,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const fin = attack.random() < 0.5
      const whole = frame(opcodes.text, Buffer.alloc(15_000_000, ' '), { fin })
      await attack.write(socket, fin ? whole.subarray(0, -1) : whole)
      await attack.hold(holdMs)
    },
  },
  {
    name: 'bad-frames',
    lanes: 10,
    perSecond: 10,
    attack: async (attack) => {
      const socket = await attack.websocket()
      const bytes = attack.one([
        frame(opcodes.close, Buffer.alloc(125, 0xff)),
        frame(opcodes.close, 'x'),
        frame(opcodes.text, Buffer.alloc(1_000, 0xff)),
        frame(3, 'x'),
        frame(opcodes.more, 'x'),
        frame(opcodes.ping, Buffer.alloc(126)),
        Buffer.from([0x81, 0x05, 1, 2, 3, 4, 5]),
        Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
      ])
      socket.write(bytes)
      await attack.hold(100)
      if (attack.random() < 0.5) socket.resetAndDestroy()
    },
  },
]
