/** More than a server can take: writes at a multiple of its capacity, then clients that ask for much and never
 *  read. Beside both, honest clients are timed and judged as in a siege. Server, writers, deaf clients and
 *  honest clients are a process each. See rfc/16, rules 20 to 22.
 *  Invariant: the processes that it starts end with it. */

import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { connect } from '../../src/client/node.js'
import { bundle } from '../support/bundle.js'
import type { LoadCheck, LoadOrder, LoadReport } from './overload-record.js'
import { reportOf } from './siege.js'
import { deafKinds, prepareDeaf } from './siege-deaf.js'
import type { Gauged } from './siege-gauge.js'
import { bulkCalls, type HostileOrder } from './siege-record.js'
import { mebibytes, messageOf, percentile, SiegeServer } from './siege-server.js'

/** The gates: the server's anonymous memory at most, also beside clients that never read, and when the load
 *  is over. */
export const overloadMemoryMax = 300 * 1024 * 1024
const deafMemoryMax = 512 * 1024 * 1024
export const restMemoryMax = 200 * 1024 * 1024
/** The name of the phase of clients that never read. */
const deafPhase = 'deaf clients'
/** The time in which memory goes down to that, ms. */
const restMsMax = 30_000

export type OverloadOptions = {
  readonly seed: number
  /** Of the overload by writes. */
  readonly seconds: number
  /** In which the capacity is measured. */
  readonly measureMs: number
  /** In which deaf clients are there. */
  readonly deafMs: number
  /** Of 1: deaf clients, of 2,004. */
  readonly share: number
  /** How many times the capacity is sent. */
  readonly times: number
  readonly log?: (line: string) => void
  /** A directory for a CPU profile of the server. */
  readonly profile?: string
}

export type OverloadPhase = Gauged & {
  readonly name: string
  readonly calls: number
  /** Of the calls of the honest clients but the bulk ones, ms. */
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** Calls of the honest clients that were EBUSY. */
  readonly busy: number
  readonly problems: readonly string[]
}

export type Overload = {
  readonly seed: number
  readonly capacity: LoadReport
  readonly flood: LoadReport
  readonly checked: LoadCheck
  readonly phases: readonly OverloadPhase[]
  /** The server's memory when the writes, and the deaf clients, were over. */
  readonly rest: readonly number[]
  readonly problems: readonly string[]
  readonly serverLog: readonly string[]
}

export async function overload(options: OverloadOptions): Promise<Overload> {
  const { seed, seconds, measureMs, deafMs, share, times, log = () => {}, profile } = options
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-overload-'))
  try {
    await using programs = await bundle({
      main: 'src/cli/main.ts',
      honest: 'test/proof/siege-honest.ts',
      hostile: 'test/proof/siege-hostile.ts',
      load: 'test/proof/overload-load.ts',
    })
    const { files } = programs
    const nodeArgs = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
    const data = join(directory, 'data')
    using server = await SiegeServer.start({ main: files.main, nodeArgs, data })
    const { port, token, socket, gauge } = server
    {
      await using store = await connect(`unix:${socket}`)
      await prepareDeaf(store)
    }
    const honest = await server.fork(files.honest, [port, token, socket])
    const load = await server.fork(files.load, [port, token])
    const phases: OverloadPhase[] = []
    const rest: number[] = []
    const hold = async (name: string, work: () => Promise<void>) => {
      await reportOf(honest, 'phase')
      await gauge.take()
      await work()
      const phase = await phaseOf(name, honest, await gauge.take())
      server.checkRuns(name)
      log(lineOf(phase))
      phases.push(phase)
    }
    const goDown = async () => {
      const end = Date.now() + restMsMax
      let { memory } = await gauge.take()
      while (memory > restMemoryMax && Date.now() < end) {
        await pause(200)
        memory = (await gauge.take()).memory
      }
      log(`at rest: ${mebibytes(memory)} MiB`)
      rest.push(memory)
    }
    await hold('calm', () => pause(measureMs))
    const capacity = await ordered(load, { do: 'measure', ms: measureMs })
    const perSecond = capacity.acknowledged / capacity.seconds
    log(`capacity: ${loadLineOf(capacity)}`)
    await hold(`${times} times the capacity`, async () => {
      load.send({ do: 'flood', perSecond: times * perSecond } satisfies LoadOrder)
      await pause(seconds * 1_000)
    })
    const flood = await ordered(load, { do: 'settle' })
    log(`load: ${loadLineOf(flood)}`)
    await goDown()
    load.send({ do: 'check' } satisfies LoadOrder)
    const checked = (await messageOf(load)) as LoadCheck
    log(`read again: ${checked.appends} appends, ${checked.keys} keys`)
    load.disconnect()
    const hostile = await server.fork(files.hostile, [port, token, `${seed}`])
    await hold(deafPhase, async () => {
      const kinds = deafKinds.map(({ name }) => name)
      hostile.send({ kinds, share } satisfies HostileOrder)
      await pause(deafMs)
    })
    hostile.send({ kinds: [] } satisfies HostileOrder)
    await goDown()
    const { problems } = await reportOf(honest, 'siege')
    honest.disconnect()
    hostile.disconnect()
    const last = [...judged(problems).problems, ...(await server.stop())]
    const found = { seed, capacity, flood, checked, phases, rest, serverLog: server.log }
    return { ...found, problems: last }
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** What is above the gates, or wrong. */
export function problemsOf(found: Overload): readonly string[] {
  const { capacity, flood, checked, phases, rest } = found
  const above = (name: string, memory: number, most: number) =>
    memory > most ? [`${name}: ${mebibytes(memory)} MiB of memory`] : []
  return [
    ...found.problems,
    ...[capacity, flood, checked].flatMap(({ problems }) => problems),
    ...phases.flatMap(({ name, memoryMax, problems }) => [
      ...problems.map((problem) => `${name}: ${problem}`),
      ...above(name, memoryMax, name === deafPhase ? deafMemoryMax : overloadMemoryMax),
    ]),
    ...rest.flatMap((memory) => above('at rest', memory, restMemoryMax)),
    ...Object.keys(flood.refused)
      .filter((code) => code !== 'EBUSY')
      .map((code) => `${flood.refused[code]} writes of the load were ${code}`),
  ]
}

async function ordered(load: ChildProcess, order: LoadOrder): Promise<LoadReport> {
  load.send(order)
  return (await messageOf(load)) as LoadReport
}

async function phaseOf(name: string, honest: ChildProcess, gauged: Gauged): Promise<OverloadPhase> {
  const { samples, problems } = await reportOf(honest, 'phase')
  const quick = Object.entries(samples).flatMap(([call, ms]) => (bulkCalls.has(call) ? [] : ms))
  return {
    ...{ ...gauged, name, calls: quick.length },
    ...{ p50: percentile(quick, 0.5), p99: percentile(quick, 0.99), max: percentile(quick, 1) },
    ...judged(problems),
  }
}

/** An honest client that is told to come again later was answered. */
function judged(problems: readonly string[]): Pick<OverloadPhase, 'busy' | 'problems'> {
  const isBusy = (problem: string) => problem.includes('EBUSY')
  return {
    busy: problems.filter(isBusy).length,
    problems: problems.filter((problem) => !isBusy(problem)),
  }
}

function loadLineOf(report: LoadReport): string {
  const { seconds, due, held, acknowledged, refused, p50, p99 } = report
  const rate = (count: number) => Math.round(count / seconds)
  const codes = Object.entries(refused).map(([code, count]) => `${count} ${code}`)
  return [
    `${due} writes due in ${seconds.toFixed(1)} s (${rate(due)}/s), ${held} held back,`,
    `${acknowledged} acknowledged (${rate(acknowledged)}/s, p50 ${ms(p50)} p99 ${ms(p99)} ms),`,
    `refused: ${codes.join(', ') || 'none'}`,
  ].join(' ')
}

function lineOf(phase: OverloadPhase): string {
  const { name, p50, p99, max, calls, busy, stallMax, memory, memoryMax, filesMax, load } = phase
  return [
    `${name.padEnd(24)} p50 ${ms(p50)} p99 ${ms(p99)} max ${ms(max)} ms of ${calls}, ${busy} EBUSY,`,
    `stall ${ms(stallMax)} ms, memory ${mebibytes(memoryMax)} then ${mebibytes(memory)} MiB,`,
    `${filesMax} files, load ${load.toFixed(2)}`,
    ...phase.problems.slice(0, 1).map((first) => `[${phase.problems.length} problems: ${first}]`),
  ].join(' ')
}

function ms(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0)
}
