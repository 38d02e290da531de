/** Honest clients beside hostile ones. A server, the honest clients, and the hostile clients are a process each;
 *  what the honest ones wait, and what the server takes, is measured from outside, phase by phase: a calm one,
 *  one for each kind of attack, then several kinds at once. See rfc/16, rules 17 to 19.
 *  Invariant: the processes that it starts end with it. */

import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Op } from '../../src/api/transaction.js'
import { connect } from '../../src/client/node.js'
import { appendEvents } from '../../src/eventlog/eventlog.js'
import { mulberry32 } from '../engine/flaky.js'
import { type Bundles, bundle } from '../support/bundle.js'
import { frameKinds } from './siege-frames.js'
import type { Gauged } from './siege-gauge.js'
import {
  bulkCalls,
  type HonestOrder,
  type HonestReport,
  type HostileOrder,
} from './siege-record.js'
import { requestKinds } from './siege-requests.js'
import { mebibytes, messageOf, percentile, SiegeServer } from './siege-server.js'
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
  try {
    await using programs = await bundle({
      main: 'src/cli/main.ts',
      honest: 'test/proof/siege-honest.ts',
      hostile: 'test/proof/siege-hostile.ts',
    })
    const nodeArgs = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
    const { main } = programs.files
    using server = await SiegeServer.start({ main, nodeArgs, data: join(directory, 'data') })
    const field = new Field(server, programs)
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
    return { seed, phases, p99: percentile(field.calls, 0.99), serverLog: server.log }
  } finally {
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
  readonly calls: number[] = []
  readonly #server: SiegeServer
  readonly #programs: Programs
  #honest: ChildProcess | undefined
  #hostile: ChildProcess | undefined

  constructor(server: SiegeServer, programs: Programs) {
    this.#server = server
    this.#programs = programs
  }

  async start(seed: number, share: number): Promise<void> {
    const { honest, hostile } = this.#programs.files
    const { port, token, socket } = this.#server
    await prepare(`unix:${socket}`, share)
    this.#honest = await this.#server.fork(honest, [port, token, socket])
    this.#hostile = await this.#server.fork(hostile, [port, token, `${seed}`])
  }

  /** One phase, and a rest in which the hostile clients do nothing. */
  async hold(
    kinds: readonly string[],
    { phaseMs, restMs }: { readonly phaseMs: number; readonly restMs: number },
  ): Promise<Phase> {
    const { honest, hostile } = this.#parties()
    const { gauge } = this.#server
    await reportOf(honest, 'phase')
    await gauge.take()
    const start = Date.now()
    hostile.send({ kinds } satisfies HostileOrder)
    await pause(phaseMs)
    const report = await reportOf(honest, 'phase')
    const gauged = await gauge.take()
    hostile.send({ kinds: [] } satisfies HostileOrder)
    const seconds = (Date.now() - start) / 1_000
    await pause(restMs)
    this.#server.checkRuns(nameOf(kinds))
    return phaseOf(kinds, seconds, report, gauged, this.calls)
  }

  /** Problems that came to light at the end. */
  async end(): Promise<readonly string[]> {
    const { honest, hostile } = this.#parties()
    const { problems } = await reportOf(honest, 'siege')
    honest.disconnect()
    hostile.disconnect()
    return [...problems, ...(await this.#server.stop())]
  }

  #parties() {
    if (!this.#honest || !this.#hostile) throw new Error('nothing was started')
    return { honest: this.#honest, hostile: this.#hostile }
  }
}

export async function reportOf(
  honest: ChildProcess,
  end: HonestOrder['end'],
): Promise<HonestReport> {
  honest.send({ end } satisfies HonestOrder)
  return (await messageOf(honest)) as HonestReport
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

function nameOf(kinds: readonly string[]): string {
  return kinds.length === 0 ? 'calm' : kinds.join(' + ')
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
