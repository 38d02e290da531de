/** How many small operations a second does one client process get from a server in a process of its own, and what do
 *  they cost both? How fast do appends reach 100 watchers?
 *
 *  The ways, in turn in one run: the default client (one websocket, pipelined), `requests: 'http'` (a request each),
 *  and bare frames on a websocket (what the wire allows). Over the Unix socket; every write is durable.
 *
 *  Sketch: a lone request is two system calls and a wake-up at each end, 0.2–0.4 ms over a socket; HTTP adds its heads
 *  and Fastify, 0.3–0.5 ms. A lone write adds the commit (0.8–1.4 ms). With 64 in flight the commits are shared and
 *  the CPU decides: 30–60 µs a write at the server (decode, apply, a share of the group), 20–40 µs at the client. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import type { Store } from '../src/api/store.js'
import { deferred } from '../src/base/deferred.js'
import { decode, encodeFrame } from '../src/blob/codec.js'
import { connect } from '../src/client/node.js'
import { subprotocol } from '../src/wire/frames.js'
import { heading, median } from './measure.js'

const seconds = 2
const runs = 3
const value = Buffer.alloc(100, 'x')
const watchers = 100
const delivered = 2_000
const chunk = Buffer.alloc(4_096, 'y')

type Step = (index: number) => Promise<unknown>
type Way = { readonly name: string; readonly steps: Readonly<Record<Work, Step>> }
type Work = 'append, one key' | 'append, 1,000 keys' | 'put' | 'get'
const works: readonly Work[] = ['append, one key', 'append, 1,000 keys', 'put', 'get']

type Server = { readonly pid: number; readonly socket: string } & AsyncDisposable

/** Starts the built command, as users do. */
async function start(directory: string): Promise<Server> {
  const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
  const args = ['--max-semi-space-size=8', main, 'serve', '--json', '--data', directory]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const { pid, socket } = JSON.parse(line) as { readonly pid: number; readonly socket: string }
  return {
    pid,
    socket,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

/** CPU time of a process so far, in ms. */
function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
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
    'append, one key': () => store.append('log', value),
    'append, 1,000 keys': (at) => store.append(`logs/${at % 1000}`, value),
    put: (at) => store.put(`puts/${at % 1000}`, value),
    get: (at) => store.get(`puts/${at % 1000}`),
  }
}

function bareSteps(bare: Bare): Way['steps'] {
  const txn = (op: object) => bare.call('txn', { ops: [op] })
  return {
    'append, one key': () => txn({ op: 'append', key: 'log', value }),
    'append, 1,000 keys': (at) => txn({ op: 'append', key: `logs/${at % 1000}`, value }),
    put: (at) => txn({ op: 'put', key: `puts/${at % 1000}`, value }),
    get: (at) => bare.call('read', { keys: [`puts/${at % 1000}`] }),
  }
}

/** Operations a second, and µs of CPU that each costs the client and the server. */
async function measure(inFlight: number, step: Step, pid: number) {
  let index = 0
  const own = process.cpuUsage()
  const servers = cpuMsOf(pid)
  const start = performance.now()
  const end = start + seconds * 1_000
  const worker = async () => {
    while (performance.now() < end) await step(index++)
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const rate = (index / (performance.now() - start)) * 1_000
  const { user, system } = process.cpuUsage(own)
  return {
    rate,
    client: (user + system) / index,
    server: ((cpuMsOf(pid) - servers) * 1_000) / index,
  }
}

async function operations(ways: readonly Way[], pid: number): Promise<void> {
  for (const work of works) {
    for (const inFlight of [1, 64]) {
      const results = new Map<string, Awaited<ReturnType<typeof measure>>[]>()
      for (let run = 0; run < runs; run++) {
        for (const { name, steps } of ways) {
          const result = await measure(inFlight, steps[work], pid)
          results.set(name, [...(results.get(name) ?? []), result])
        }
      }
      for (const [name, all] of results) {
        const rates = all.map(({ rate }) => rate)
        const [least, most] = [Math.min(...rates), Math.max(...rates)]
        const cpu = (of: 'client' | 'server') => Math.round(median(all.map((each) => each[of])))
        const head = `${work}, ${inFlight} in flight`.padEnd(34)
        const range = `(${thousands(least)}–${thousands(most)})`
        const cost = `CPU ${cpu('client')} µs client, ${cpu('server')} µs server`
        console.log(`${head} ${name.padEnd(8)} ${thousands(median(rates))}/s ${range}  ${cost}`)
      }
    }
  }
}

function thousands(rate: number): string {
  return Math.round(rate).toLocaleString('en')
}

/** Appends of 4 KiB to one key with 100 watchers, on one socket and on one each. */
async function deliveries(target: string, pid: number): Promise<void> {
  await using writer = await connect(target)
  for (const clients of [1, watchers]) {
    const key = `watched/${clients}`
    await writer.append(key, 'begin')
    const stores = await Promise.all(Array.from({ length: clients }, () => connect(target)))
    const watching = Array.from({ length: watchers }, async (_, at) => {
      const store = stores[at % clients]
      let seen = 0
      for await (const event of store?.watch(key, { mode: 'append' }) ?? []) {
        if (event.type === 'append' && ++seen === delivered + 1) return
      }
    })
    const servers = cpuMsOf(pid)
    const start = performance.now()
    let next = 0
    const append = async () => {
      while (next++ < delivered) await writer.append(key, chunk)
    }
    await Promise.all([...Array.from({ length: 16 }, append), ...watching])
    const ms = performance.now() - start
    const rate = thousands((watchers * delivered * 1_000) / ms)
    const cpu = ((cpuMsOf(pid) - servers) / 1_000).toFixed(1)
    console.log(
      `${watchers} watchers on ${clients} socket(s)`.padEnd(43),
      `${rate} deliveries/s  server CPU ${cpu} s`,
    )
    await Promise.all(stores.map((store) => store.close()))
  }
}

export async function main(): Promise<void> {
  console.log(heading())
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-bench-'))
  try {
    await using server = await start(join(directory, 'data'))
    const target = `unix:${server.socket}`
    await using client = await connect(target)
    await using http = await connect(target, { requests: 'http' })
    const bare = await Bare.open(server.socket)
    const ways = [
      { name: 'client', steps: stepsOf(client) },
      { name: 'http', steps: stepsOf(http) },
      { name: 'frames', steps: bareSteps(bare) },
    ]
    await operations(ways, server.pid)
    bare.close()
    await deliveries(target, server.pid)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

await main()
