/** The process of honest clients: each does its call again and again at a moderate pace, times it, and checks
 *  what it is told. Arguments: the server's port, its token, its Unix socket. See siege.ts.
 *  Invariant: every item of a log is delivered once and in order, and the log is whole at its seal. */

import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { Store } from '../../src/api/store.js'
import { connect } from '../../src/client/node.js'
import { toTailraceError } from '../../src/error.js'
import { appendEvents, followEvents } from '../../src/eventlog/eventlog.js'
import type { HonestOrder, HonestReport } from './siege-record.js'

const [port = '', token = '', socketPath = ''] = process.argv.slice(2)
const problemsMax = 100
/** Items of a log before it is sealed. */
const logItems = 200
const streamSize = 1024 * 1024

class Notes {
  #samples: Record<string, number[]> = {}
  #problems: string[] = []
  readonly #open = new Map<symbol, { readonly call: string; readonly start: number }>()

  add(call: string, ms: number): void {
    const samples = this.#samples[call] ?? []
    this.#samples[call] = samples
    samples.push(ms)
  }

  problem(text: string): void {
    if (this.#problems.length < problemsMax) this.#problems.push(text)
  }

  /** Undefined where it failed. */
  async time<T>(call: string, work: () => Promise<T>): Promise<T | undefined> {
    const id = Symbol(call)
    const start = performance.now()
    this.#open.set(id, { call, start })
    try {
      return await work()
    } catch (error) {
      const { code, message } = toTailraceError(error)
      this.problem(`${call}: ${code} ${message}`)
      return undefined
    } finally {
      this.#open.delete(id)
      this.add(call, performance.now() - start)
    }
  }

  take(): HonestReport {
    const now = performance.now()
    for (const { call, start } of this.#open.values()) this.add(call, now - start)
    const report = { samples: this.#samples, problems: this.#problems }
    this.#samples = {}
    this.#problems = []
    return report
  }
}

const notes = new Notes()
const run = { over: false }
const tcp = await connect(`http://127.0.0.1:${port}`, { token })
const local = await connect(`unix:${socketPath}`)

async function every(ms: number, work: (turn: number) => Promise<void>): Promise<void> {
  for (let turn = 0; !run.over; turn++) {
    const next = performance.now() + ms
    await work(turn)
    await pause(Math.max(0, next - performance.now()))
  }
}

async function putAndGet(name: string, store: Store, turn: number): Promise<void> {
  const key = `honest/${name}/${turn % 100}`
  const text = `${turn} `.padEnd(100, 'x')
  await notes.time(`${name} put`, () => store.put(key, text))
  const bytes = await notes.time(`${name} get`, () => store.get(key))
  if (bytes && Buffer.from(bytes).toString() !== text) notes.problem(`${key} is not what was put`)
}

const agents = {
  kept: new http.Agent({ keepAlive: true }),
  fresh: new http.Agent({ keepAlive: false }),
}

async function ask(
  place: { readonly socketPath: string } | { readonly host: string; readonly port: number },
  agent: http.Agent,
  [method, path, body]: readonly [string, string, string?],
): Promise<string> {
  const headers = { authorization: `Bearer ${token}` }
  const request = http.request({ ...place, agent, method, path, headers })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const chunks: Uint8Array[] = []
  for await (const chunk of response) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  if (response.statusCode === 200) return text
  throw new Error(`${method} ${path}: ${response.statusCode} ${text}`)
}

async function raw(turn: number): Promise<void> {
  const place = { host: '127.0.0.1', port: Number(port) }
  const path = `/v1/kv/honest/raw/${turn % 50}`
  const text = `raw ${turn}`
  await notes.time('http put', () => ask(place, agents.kept, ['PUT', path, text]))
  const met = await notes.time('http get', () => ask(place, agents.kept, ['GET', path]))
  if (met !== undefined && met !== text) notes.problem(`${path} is not what was put`)
  await notes.time('http get, connecting', () => ask(place, agents.fresh, ['GET', path]))
  await notes.time('unix get, connecting', () => ask({ socketPath }, agents.fresh, ['GET', path]))
}

/** Logs, one after the other, each written here and watched over another connection. */
async function logs(name: string, writer: Store, reader: Store): Promise<void> {
  for (let log = 0; !run.over; log++) {
    const key = `honest/logs/${name}/${log % 20}`
    if (log >= 20) await notes.time('unlink', () => writer.commit({ ops: [{ op: 'unlink', key }] }))
    const sent = new Map<number, number>()
    let writing = true
    const watched = watchLog(name, key, reader, sent)
    for (let item = 0; item < logItems && writing; item++) {
      const next = performance.now() + 50
      sent.set(item, performance.now())
      const seal = item === logItems - 1 || run.over
      const done = await notes.time(`${name} append`, () =>
        writer.append(key, `${item}\n`, { seal, exactlyOnce: true }),
      )
      writing = done !== undefined && !seal
      await pause(Math.max(0, next - performance.now()))
    }
    const count = await watched
    if (count !== sent.size) notes.problem(`${key}: ${count} of ${sent.size} items were delivered`)
  }
}

async function watchLog(
  name: string,
  key: string,
  reader: Store,
  sent: ReadonlyMap<number, number>,
): Promise<number> {
  let due = 0
  try {
    for await (const event of reader.watch(key, { mode: 'append', waitCreate: true })) {
      if (event.type !== 'append') continue
      for (const line of Buffer.from(event.data).toString().trimEnd().split('\n')) {
        if (Number(line) !== due) notes.problem(`${key}: item ${line} came where ${due} was due`)
        notes.add(`${name} delivery`, performance.now() - (sent.get(due) ?? 0))
        due++
      }
    }
  } catch (error) {
    notes.problem(`${key}: the watch ended with ${toTailraceError(error).message}`)
  }
  return due
}

async function events(): Promise<void> {
  for (let log = 0; !run.over; log++) {
    const key = `honest/events/${process.pid}-${log}`
    const sent: number[] = []
    const followed = (async () => {
      let due = 0
      for await (const event of followEvents(tcp, key, { waitCreate: true })) {
        if (event.name !== `event-${due}`) notes.problem(`${key}: ${event.name}, due was ${due}`)
        notes.add('event delivery', performance.now() - (sent[due] ?? 0))
        due++
      }
      return due
    })().catch((error) => {
      notes.problem(`${key}: the follow ended with ${toTailraceError(error).message}`)
      return -1
    })
    for (let event = 0; event < 100; event++) {
      sent.push(performance.now())
      const seal = event === 99 || run.over
      const each = { name: `event-${event}`, timestamp: event }
      await notes.time('event', () => appendEvents(local, key, [each], { seal, exactlyOnce: true }))
      if (seal) break
      await pause(100)
    }
    const count = await followed
    if (count !== sent.length) notes.problem(`${key}: ${count} of ${sent.length} events came`)
  }
}

async function lease(turn: number): Promise<void> {
  const key = `honest/lease/${turn % 10}`
  const taken = await notes.time('lease', () =>
    tcp.commit({ ops: [{ op: 'lease', key, action: 'take', ttl: 60_000 }] }),
  )
  const held = taken?.results[0]?.token
  if (!held) return
  const ops = [
    { op: 'put', key: `${key}-value`, value: `${turn}` },
    { op: 'lease', key, action: 'release', token: held },
  ] as const
  await notes.time('release', () => tcp.commit({ guards: [{ lease: key, token: held }], ops }))
}

async function stream(turn: number): Promise<void> {
  const key = `honest/stream/${turn % 3}`
  const bytes = Buffer.alloc(streamSize, `${turn} `)
  await notes.time('stream put', () => tcp.put(key, bytes))
  const met = await notes.time('stream get', () => local.get(key))
  if (met && !bytes.equals(met)) notes.problem(`${key} is not what was put`)
}

async function job(): Promise<void> {
  const submission = { command: ['true'], cwd: '/', env: { PATH: '/usr/bin:/bin' } }
  await notes.time('job', async () => {
    const { id } = await local.jobs.submit(submission)
    const { state } = await local.jobs.wait(id)
    if (state !== 'finished') notes.problem(`job ${id} is ${state}`)
    await local.jobs.remove(id)
  })
}

const loops = [
  every(100, (turn) => putAndGet('tcp', tcp, turn)),
  every(100, (turn) => putAndGet('unix', local, turn)),
  every(150, raw),
  logs('tcp', tcp, local),
  logs('unix', local, tcp),
  events(),
  every(500, async () => {
    await notes.time('list', () => tcp.list('honest/tcp'))
    await notes.time('stat', () => tcp.stat('honest/tcp/0'))
  }),
  every(500, lease),
  every(1_500, stream),
  every(3_000, job),
]
for (const loop of loops) {
  loop.catch((error) => notes.problem(`a client ended: ${toTailraceError(error).message}`))
}
process.on('message', async ({ end }: HonestOrder) => {
  if (end === 'siege') {
    run.over = true
    await Promise.allSettled(loops)
    await Promise.all([tcp[Symbol.asyncDispose](), local[Symbol.asyncDispose]()])
    for (const agent of Object.values(agents)) agent.destroy()
  }
  process.send?.(notes.take())
})
// A parent that has gone has nothing to hear.
process.on('disconnect', () => process.exit(run.over ? 0 : 1))
process.send?.('ready')
