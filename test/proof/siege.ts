/** Honest clients beside hostile ones. A server, the honest clients, and the hostile clients are a process each;
 *  what the honest ones wait, and what the server takes, is measured from outside, phase by phase: a calm one,
 *  one for each kind of attack, then several kinds at once. See rfc/16, rules 17 to 19.
 *  Invariant: the processes that it starts end with it. */

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { on, once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import type { Op } from '../../src/api/transaction.js'
import { connect } from '../../src/client/node.js'
import { appendEvents } from '../../src/eventlog/eventlog.js'
import { youngHeap } from '../../src/local/local.js'
import { mulberry32 } from '../engine/flaky.js'
import { type Bundles, bundle } from '../support/bundle.js'
import { frameKinds } from './siege-frames.js'
import { Gauge, type Gauged } from './siege-gauge.js'
import {
  bulkCalls,
  type HonestOrder,
  type HonestReport,
  type HostileOrder,
} from './siege-record.js'
import { requestKinds } from './siege-requests.js'
import { strangers } from './siege-strangers.js'

/** The gates: what 99 of 100 calls of the honest clients take at most, and the server's anonymous memory. */
export const honestMsMax = 200
export const memoryMax = 300 * 1024 * 1024

export const kindNames: readonly string[] = [...strangers, ...requestKinds, ...frameKinds].map(
  ({ name }) => name,
)

export type SiegeOptions = {
  readonly seed: number
  readonly minutes: number
  /** Of each phase of one kind, and of each of several kinds. */
  readonly phaseMs?: number
  /** Between two phases. */
  readonly restMs?: number
  /** Of 1: names, blobs of a log and events that are put for the attacks. Default: 1. */
  readonly share?: number
  /** Default: all of them, in an order that is drawn. */
  readonly kinds?: readonly string[]
  /** Kinds that attack at once, in every phase but the first: a mixture that is looked into. */
  readonly mix?: readonly string[]
  readonly log?: (line: string) => void
  /** A directory for a CPU profile of the server. */
  readonly profile?: string
}

export type Phase = Gauged & {
  readonly kinds: readonly string[]
  readonly seconds: number
  readonly calls: number
  /** Of all calls but the bulk ones, ms. */
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** Of each call: its p99 and its longest, ms. */
  readonly each: Readonly<Record<string, readonly [number, number]>>
  readonly problems: readonly string[]
}

export type Siege = {
  readonly seed: number
  readonly phases: readonly Phase[]
  /** Of all calls of all phases but the bulk ones, ms. */
  readonly p99: number
  /** What the server wrote to its log. */
  readonly serverLog: readonly string[]
}

const phaseMsDefault = 10_000
/** What a kind leaves behind is its own, and not the next one's. */
const restMsDefault = 1_500
const kindsAtOnceMax = 5
const logLinesMax = 200
/** What the attacks find. */
const largeSize = 16 * 1024 * 1024
const manyNames = 10_000
const logBlobs = 20_000
const eventCount = 100_000
const opsAtOnce = 4_000

type Programs = Bundles<'main' | 'honest' | 'hostile'>

export async function siege(options: SiegeOptions): Promise<Siege> {
  const { seed, minutes, phaseMs = phaseMsDefault, restMs = restMsDefault } = options
  const { log = () => {}, profile, mix } = options
  const random = mulberry32(seed)
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-siege-'))
  const children = new Set<ChildProcess>()
  const end = () => {
    for (const child of children) child.kill('SIGKILL')
  }
  process.once('exit', end)
  try {
    await using programs = await bundle({
      main: 'src/cli/main.ts',
      honest: 'test/proof/siege-honest.ts',
      hostile: 'test/proof/siege-hostile.ts',
    })
    const nodeArgs = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
    const field = new Field(directory, programs, children, nodeArgs)
    await field.start(Math.floor(random() * 2 ** 31), options.share ?? 1)
    const phases: Phase[] = []
    const end = Date.now() + minutes * 60_000
    const hold = async (kinds: readonly string[]) => {
      const phase = await field.hold(kinds, { phaseMs, restMs })
      log(lineOf(phase))
      phases.push(phase)
    }
    await hold([])
    if (!mix) {
      for (const kind of shuffled(options.kinds ?? kindNames, random)) await hold([kind])
      await hold([])
    }
    while (Date.now() < end) {
      if (mix) {
        await hold(mix)
        continue
      }
      const count = 2 + Math.floor(random() * (kindsAtOnceMax - 1))
      await hold(shuffled(options.kinds ?? kindNames, random).slice(0, count))
    }
    const problems = await field.end()
    const last = phases.at(-1)
    if (last) phases[phases.length - 1] = { ...last, problems: [...last.problems, ...problems] }
    return { seed, phases, p99: percentile(field.calls, 0.99), serverLog: field.serverLog }
  } finally {
    process.off('exit', end)
    end()
    await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** What is above the gates, or wrong. */
export function problemsOf(siege: Siege): readonly string[] {
  const problems = siege.phases.flatMap(({ kinds, problems: each, memoryMax: memory }) => [
    ...each.map((problem) => `${nameOf(kinds)}: ${problem}`),
    ...(memory > memoryMax ? [`${nameOf(kinds)}: ${mebibytes(memory)} MiB of memory`] : []),
  ])
  return problems
}

/** Phases in which the honest clients waited too long. A quiet machine is needed to judge that. */
export function slownessOf(siege: Siege): readonly string[] {
  return siege.phases.flatMap(({ kinds, p99 }) =>
    p99 > honestMsMax ? [`${nameOf(kinds)}: p99 of the honest clients ${Math.round(p99)} ms`] : [],
  )
}

class Field {
  readonly serverLog: string[] = []
  readonly calls: number[] = []
  readonly #directory: string
  readonly #programs: Programs
  readonly #children: Set<ChildProcess>
  #server: ChildProcess | undefined
  #honest: ChildProcess | undefined
  #hostile: ChildProcess | undefined
  #gauge: Gauge | undefined
  readonly #nodeArgs: readonly string[]

  constructor(
    directory: string,
    programs: Programs,
    children: Set<ChildProcess>,
    nodeArgs: readonly string[],
  ) {
    this.#directory = directory
    this.#programs = programs
    this.#children = children
    this.#nodeArgs = nodeArgs
  }

  async start(seed: number, share: number): Promise<void> {
    const { main, honest, hostile } = this.#programs.files
    const data = join(this.#directory, 'data')
    const serve = [main, 'serve', '--json', '--data', data, '--listen', '127.0.0.1:0']
    const args = [youngHeap, ...this.#nodeArgs, ...serve]
    const server = this.#own(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] }))
    server.once('exit', (code, signal) => this.#note(`the server ended with ${code ?? signal}`))
    this.#server = server
    this.#keepLog(server)
    const { pid, port, token, socket } = await addressOf(server, data)
    await prepare(`unix:${socket}`, share)
    this.#gauge = new Gauge(pid, socket)
    this.#honest = this.#own(fork(honest, [port, token, socket]))
    await messageOf(this.#honest)
    this.#hostile = this.#own(fork(hostile, [port, token, `${seed}`]))
    await messageOf(this.#hostile)
  }

  /** One phase, and a rest in which the hostile clients do nothing. */
  async hold(
    kinds: readonly string[],
    { phaseMs, restMs }: { readonly phaseMs: number; readonly restMs: number },
  ): Promise<Phase> {
    const { gauge, honest, hostile } = this.#parties()
    await this.#report(honest, 'phase')
    await gauge.take()
    const start = Date.now()
    hostile.send({ kinds } satisfies HostileOrder)
    await pause(phaseMs)
    const report = await this.#report(honest, 'phase')
    const gauged = await gauge.take()
    hostile.send({ kinds: [] } satisfies HostileOrder)
    const seconds = (Date.now() - start) / 1_000
    await pause(restMs)
    const ended = this.#server?.exitCode ?? this.#server?.signalCode
    if (ended !== null) throw new Error(`${nameOf(kinds)}: the server ended with ${ended}`)
    return phaseOf(kinds, seconds, report, gauged, this.calls)
  }

  /** Problems that came to light at the end. */
  async end(): Promise<readonly string[]> {
    const { gauge, honest, hostile } = this.#parties()
    const { problems } = await this.#report(honest, 'siege')
    honest.disconnect()
    hostile.disconnect()
    await gauge.end()
    const server = this.#server
    server?.kill('SIGTERM')
    if (server && server.exitCode === null) await once(server, 'exit')
    if (server?.exitCode === 0) return problems
    return [...problems, `the server stopped with ${server?.exitCode ?? server?.signalCode}`]
  }

  async #report(honest: ChildProcess, end: HonestOrder['end']): Promise<HonestReport> {
    honest.send({ end } satisfies HonestOrder)
    return (await messageOf(honest)) as HonestReport
  }

  #parties() {
    if (!this.#gauge || !this.#honest || !this.#hostile) throw new Error('nothing was started')
    return { gauge: this.#gauge, honest: this.#honest, hostile: this.#hostile }
  }

  #keepLog(server: ChildProcess): void {
    if (!server.stderr) return
    createInterface({ input: server.stderr }).on('line', (line) => this.#note(line))
  }

  #note(line: string): void {
    if (this.serverLog.length < logLinesMax) this.serverLog.push(line)
  }

  #own(child: ChildProcess): ChildProcess {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }
}

async function addressOf(server: ChildProcess, data: string) {
  if (!server.stdout) throw new Error('the server has no stdout')
  for await (const line of createInterface({ input: server.stdout })) {
    const { pid, socket, listen } = JSON.parse(line) as {
      readonly pid: number
      readonly socket: string
      readonly listen: readonly [string]
    }
    const token = (await readFile(join(data, 'token'), 'utf8')).trim()
    return { pid, socket, token, port: listen[0].split(':')[1] ?? '' }
  }
  throw new Error('the server did not start')
}

/** What the attacks read and write. */
async function prepare(target: string, share: number): Promise<void> {
  await using store = await connect(target)
  await store.put('siege/large', Buffer.alloc(largeSize, 'large value '))
  const puts = Array.from(
    { length: share * manyNames },
    (_, n): Op => ({
      ...{ op: 'put', key: `siege/many/name-${n}`, value: `${n}` },
    }),
  )
  const appends = Array.from(
    { length: share * logBlobs },
    (_, n): Op => ({
      ...{ op: 'append', key: 'siege/log', value: `line ${n}\n` },
    }),
  )
  const ops = [...puts, ...appends]
  for (let at = 0; at < ops.length; at += opsAtOnce) {
    await store.commit({ ops: ops.slice(at, at + opsAtOnce) })
  }
  const events = Array.from({ length: share * eventCount }, (_, n) => ({
    name: `event-${n}`,
    timestamp: n,
  }))
  await appendEvents(store, 'siege/events', events)
  await store.append('siege/hot', 'begin\n')
}

function phaseOf(
  kinds: readonly string[],
  seconds: number,
  { samples, problems }: HonestReport,
  gauged: Gauged,
  calls: number[],
): Phase {
  const quick = Object.entries(samples).flatMap(([call, ms]) => (bulkCalls.has(call) ? [] : ms))
  for (const ms of quick) calls.push(ms)
  const each = Object.entries(samples).map(
    ([call, ms]) => [call, [percentile(ms, 0.99), percentile(ms, 1)]] as const,
  )
  return {
    ...gauged,
    ...{ kinds, seconds, problems, calls: quick.length },
    ...{ p50: percentile(quick, 0.5), p99: percentile(quick, 0.99), max: percentile(quick, 1) },
    each: Object.fromEntries(each),
  }
}

function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
}

function nameOf(kinds: readonly string[]): string {
  return kinds.length === 0 ? 'calm' : kinds.join(' + ')
}

function mebibytes(size: number): number {
  return Math.round(size / 1024 / 1024)
}

function lineOf(phase: Phase): string {
  const { kinds, p50, p99, max, stallMax, memory, memoryMax: most, filesMax, load } = phase
  const { calls, problems } = phase
  const ms = (value: number) => value.toFixed(value < 10 ? 1 : 0)
  const slow = Object.entries(phase.each)
    .filter(([call, [each]]) => each > honestMsMax && !bulkCalls.has(call))
    .map(([call, [each]]) => `${call} ${ms(each)}`)
  return [
    `${nameOf(kinds).padEnd(24)} p50 ${ms(p50)} p99 ${ms(p99)} max ${ms(max)} ms of ${calls},`,
    `stall ${ms(stallMax)} ms, memory ${mebibytes(most)} then ${mebibytes(memory)} MiB,`,
    `${filesMax} files, load ${load.toFixed(2)}`,
    ...(slow.length > 0 ? [`[slow: ${slow.join(', ')}]`] : []),
    ...(problems.length > 0 ? [`[${problems.length} problems: ${problems[0]}]`] : []),
  ].join(' ')
}

function shuffled<T>(items: readonly T[], random: () => number): readonly T[] {
  return items
    .map((item) => [random(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}

async function messageOf(child: ChildProcess): Promise<unknown> {
  for await (const [message] of on(child, 'message', { close: ['exit'] })) return message
  throw new Error(`a process ended with ${child.exitCode ?? child.signalCode}`)
}
