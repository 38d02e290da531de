/** Clients that ask for much and never read. See overload.ts.
 *  Invariant: nothing of an answer is read, so that what the system does not take stays with the server. */

import type { Store } from '../../src/api/store.js'
import type { Op } from '../../src/api/transaction.js'
import { type Attack, asked, type Kind } from './siege-kind.js'

/** How long a client holds its connection. */
const holdMs = 60_000
const lanes = 334
const perSecond = 0.1
const blobSize = 262_000
const logBlobs = 256
/** Values of one blob, of which one read may have so many. */
const values = 63
const creditMax = 64 * 1024 * 1024

const log = 'deaf/log'
const large = 'deaf/large'
const keys = Array.from({ length: values }, (_, n) => `deaf/value-${n}`)

/** Asks over HTTP, and holds the connection. */
function asking(request: (attack: Attack) => string | Uint8Array): Kind['attack'] {
  return async (attack) => {
    const socket = await attack.open({ deaf: true })
    socket.write(request(attack))
    await attack.hold(holdMs)
  }
}

/** Asks over a websocket, and holds the connection. */
function framing(frames: readonly unknown[]): Kind['attack'] {
  return async (attack) => {
    const socket = await attack.websocket({ deaf: true })
    for (const frame of frames) socket.write(asked(frame))
    await attack.hold(holdMs)
  }
}

const each = { lanes, perSecond }

export const deafKinds: readonly Kind[] = [
  {
    ...{ name: 'deaf-watches-of-logs', ...each },
    attack: framing([{ id: 1, op: 'watch', key: log, mode: 'append', from: 0, credit: creditMax }]),
  },
  {
    ...{ name: 'deaf-frames-that-read', ...each },
    attack: framing([1, 2, 3, 4].map((id) => ({ id, op: 'read', body: { keys } }))),
  },
  {
    ...{ name: 'deaf-gets', ...each },
    attack: asking((attack) => attack.head(`GET /v1/kv/${large}`)),
  },
  {
    ...{ name: 'deaf-follows', ...each },
    attack: asking((attack) => attack.head(`GET /v1/kv/${log}?follow`)),
  },
  {
    ...{ name: 'deaf-event-streams', ...each },
    attack: asking((attack) =>
      attack.head(`GET /v1/kv/${log}?follow`, ['Accept: text/event-stream']),
    ),
  },
  {
    ...{ name: 'deaf-reads', ...each },
    attack: asking((attack) => attack.request('POST /v1/read', JSON.stringify({ keys }))),
  },
]

/** Puts what they ask for. */
export async function prepareDeaf(store: Store): Promise<void> {
  const bytes = (n: number) => Buffer.alloc(blobSize, `${n} is no text \xff`, 'latin1')
  const atOnce = 16
  const ops = [
    ...Array.from(
      { length: logBlobs },
      (_, n): Op => ({ op: 'append', key: log, value: bytes(n) }),
    ),
    ...keys.map((key, n): Op => ({ op: 'put', key, value: bytes(n) })),
  ]
  for (let at = 0; at < ops.length; at += atOnce) {
    await store.commit({ ops: ops.slice(at, at + atOnce) })
  }
  await store.put(large, Buffer.alloc(logBlobs * blobSize, 'a large value '))
}
