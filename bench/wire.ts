/** How many small operations a second does one client process get on each way to a store, and what
 *  do they cost both ends?
 *
 *  The ways, in turn in one run: the default client (one websocket, pipelined), `requests: 'http'`
 *  (a request each), bare frames on a websocket (what the wire allows), and the store embedded (no
 *  wire). A server is a process of its own, on a Unix socket; every write is durable.
 *
 *  Expected. A lone request is two system calls and a wake-up at each end, 0.2–0.4 ms over a
 *  socket; HTTP adds its heads and Fastify, 0.3–0.5 ms. A lone write adds the commit. With 64 in
 *  flight the commits are shared and the CPU decides: 30–60 µs a write at the server (decode,
 *  apply, a share of the group), 20–40 µs at the client; embedded 10–20 µs in all (copy and hash 2
 *  µs, apply 2 µs, a share of the group's nodes). */

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { WebSocket } from 'ws'
import type { Store } from '../src/api/store.js'
import { deferred } from '../src/base/deferred.js'
import { decode, encodeFrame } from '../src/blob/codec.js'
import { connect } from '../src/client/node.js'
import { open } from '../src/open.js'
import { subprotocol } from '../src/wire/frames.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { cpuMsOf, median, now } from './measure.js'
import { makeRecord } from './record.js'
import { withDirectory } from './scratch.js'
import { tailrace } from './systems/tailrace.js'
import { withServer } from './turns.js'

const durationMs = 2_000
const size = 100

type Step = (index: number) => Promise<unknown>
type Way = { readonly name: string; readonly steps: Readonly<Record<Work, Step>> }
type Work = 'append, 1 key' | 'append, 1,000 keys' | 'put' | 'get'
const works: readonly Work[] = ['append, 1 key', 'append, 1,000 keys', 'put', 'get']

export const wire: Bench = {
  question: 'how many small operations does one client get on each way to a store, at what CPU?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    return withDirectory((directory) =>
      withServer(tailrace, async ({ address, pid = 0 }) => {
        await using client = await connect(address)
        await using http = await connect(address, { requests: 'http' })
        await using embedded = await open({ directory })
        const bare = await Bare.open(address.slice('unix:'.length))
        const ways = [
          { name: 'default client', steps: stepsOf(client) },
          { name: 'HTTP', steps: stepsOf(http) },
          { name: 'bare frames', steps: bareSteps(bare) },
          { name: 'embedded', steps: stepsOf(embedded) },
        ]
        const rows: Row[] = []
        for (const work of works) {
          for (const inFlight of [1, 64]) {
            rows.push(
              ...(await rowsOf(work, inFlight, ways, { runs, pid, ms: durationMs / scale })),
            )
          }
        }
        bare.close()
        return rows
      }),
    )
  },
}

/** Bare frames on one websocket. */
class Bare {
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, (body: unknown) => void>()
  #id = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (message: Buffer) => {
      const { id, body } = decode(message) as { readonly id: number; readonly body: unknown }
      const resolve = this.#waiting.get(id)
      this.#waiting.delete(id)
      resolve?.(body)
    })
  }

  static async open(path: string): Promise<Bare> {
    const socket = new WebSocket('ws://localhost/v1/ws', subprotocol, {
      createConnection: () => connectSocket(path),
      perMessageDeflate: false,
    })
    await once(socket, 'open')
    return new Bare(socket)
  }

  call(op: string, body: object): Promise<unknown> {
    const id = ++this.#id
    const answer = deferred<unknown>()
    this.#waiting.set(id, answer.resolve)
    this.#socket.send(encodeFrame({ id, op, body }))
    return answer.promise
  }

  close(): void {
    this.#socket.terminate()
  }
}

function stepsOf(store: Store): Way['steps'] {
  return {
    'append, 1 key': (at) => store.append('log', makeRecord(at, size)),
    'append, 1,000 keys': (at) => store.append(`logs/${at % 1000}`, makeRecord(at, size)),
    put: (at) => store.put(`puts/${at % 1000}`, makeRecord(at, size)),
    get: (at) => store.get(`puts/${at % 1000}`),
  }
}

function bareSteps(bare: Bare): Way['steps'] {
  const txn = (at: number, op: 'append' | 'put', key: string) =>
    bare.call('txn', { ops: [{ op, key, value: makeRecord(at, size) }] })
  return {
    'append, 1 key': (at) => txn(at, 'append', 'log'),
    'append, 1,000 keys': (at) => txn(at, 'append', `logs/${at % 1000}`),
    put: (at) => txn(at, 'put', `puts/${at % 1000}`),
    get: (at) => bare.call('read', { keys: [`puts/${at % 1000}`] }),
  }
}

/** The rows of one work: its rate on each way, with the CPU of both ends in the label. */
async function rowsOf(
  work: Work,
  inFlight: number,
  ways: readonly Way[],
  settings: { readonly runs: number; readonly pid: number; readonly ms: number },
): Promise<readonly Row[]> {
  const all = ways.map((way) => ({ way, measured: [] as Awaited<ReturnType<typeof measure>>[] }))
  for (let run = 0; run < settings.runs; run++) {
    for (const { way, measured } of all) {
      measured.push(await measure(inFlight, way.steps[work], settings))
    }
  }
  return all.map(({ way, measured }) => {
    const cpu = (end: 'client' | 'server') => Math.round(median(measured.map((each) => each[end])))
    const label =
      way.name === 'embedded'
        ? `CPU ${cpu('client')} µs`
        : `CPU ${cpu('client')} µs client, ${cpu('server')} µs server`
    const values = measured.map(({ rate }) => rate)
    return {
      bench: 'wire',
      work: `${work}, ${inFlight} in flight, ${way.name}`,
      unit: 'ops/s',
      better: 'more',
      figures: [{ system: 'tailrace', values, label }],
    }
  })
}

/** Measures operations a second, and the µs of CPU that each costs this process and the server. */
async function measure(
  inFlight: number,
  step: Step,
  { pid, ms }: { readonly pid: number; readonly ms: number },
) {
  let next = 0
  const own = process.cpuUsage()
  const servers = cpuMsOf(pid)
  const start = now()
  const lane = async () => {
    while (now() < start + ms) await step(next++)
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  const { user, system } = process.cpuUsage(own)
  return {
    rate: (next * 1_000) / (now() - start),
    client: (user + system) / next,
    server: ((cpuMsOf(pid) - servers) * 1_000) / next,
  }
}
