/** Clients that work on a server which is killed with -9 again and again, and what they were told,
 *  checked: every key is linearizable, every log a list, every stream a prefix of it without a gap, every
 *  seq given once and in the order of time. See rfc/4, rfc/6, rfc/7, and rfc/16 for how it is run.
 *  Invariant: the processes that it starts end with it. */

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { on, once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import type { Store } from '../../src/api/store.js'
import { connect } from '../../src/client/node.js'
import { TailraceError, toTailraceError } from '../../src/error.js'
import { findingText } from '../../src/fsck/report.js'
import { segmentsIn } from '../../src/journal/segment-io.js'
import { checkStore } from '../../src/open.js'
import { mulberry32 } from '../engine/flaky.js'
import { type Bundles, bundle } from '../support/bundle.js'
import { type Findings, judge, type Kill } from './kill-judge.js'
import { type KillRecord, keysOf, now, type Order } from './kill-record.js'

export type KillOptions = {
  readonly seed: number
  readonly cycles: number
  /** More cycles follow until so many segments were begun: how much one life writes depends on the machine. */
  readonly segmentsMin?: number
  /** Client processes, and clients in each. */
  readonly processes: number
  readonly clients: number
  readonly log?: (line: string) => void
  /** Where to write down all that was judged, if anything was found. */
  readonly dump?: string
}

/** Cycles that work on the same keys. */
const generationCycles = 4
/** Of `cycles`: the most that are done for the sake of `segmentsMin`. */
const cyclesFactor = 5
/** Between the server's start and its end. */
const lifeMsMax = 300
/** On a busy machine it lives until up to so many things were told, but no longer than this. */
const lifeRecords = 100
const patienceMs = 5_000
/** Of 1: servers that are killed before they listen, within `startMsMax`. */
const earlyRate = 0.1
const startMsMax = 250
/** Of 1: servers that are asked to collect. */
const collectRate = 0.3
/** Of 1: servers whose segments are so small that they turn over and go many times in a life. */
const smallRate = 0.7

type Programs = Bundles<'main' | 'small' | 'client'>

export async function killCycles(options: KillOptions): Promise<Findings> {
  const { seed, cycles, segmentsMin = 0, processes, clients, log = () => {} } = options
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-kill-'))
  const children = new Set<ChildProcess>()
  try {
    await using programs = await bundle({
      main: 'src/cli/main.ts',
      small: 'test/proof/kill-server.ts',
      client: 'test/proof/kill-client.ts',
    })
    const random = mulberry32(seed)
    const run = new Run(directory, programs, children)
    const kind = (): Kind => (random() < smallRate ? 'small' : 'main')
    let generation = 0
    let server = await run.startServer(kind())
    const target = `unix:${server.socket}`
    await using store = await connect(target, { reconnect: { minMs: 1, maxMs: 20 } })
    // Else a collection would find nothing to free, since all roots would need it.
    await store.namespaces.configure('primary', { historyCount: 20, historyAgeMs: 0 })
    const parties = Array.from({ length: processes }, (_, index) =>
      run.startClients(target, `c${index}`, Math.floor(random() * 2 ** 31), clients),
    )
    await Promise.all(parties.map(({ ready }) => ready))
    const tried = async () => (await segmentsOf(directory))['segments begun'] >= segmentsMin
    for (let cycle = 0; cycle < cycles * cyclesFactor; cycle++) {
      if (cycle >= cycles && (await tried())) break
      if (cycle > 0 && cycle % generationCycles === 0) {
        generation++
        for (const { child } of parties) child.send({ generation } satisfies Order)
        await run.sealLogs(store, generation - 2)
      }
      // What it frees beside the clients, none of them may miss.
      if (random() < collectRate) void store.upkeep.collect().catch(() => {})
      const wanted = run.records.length + random() * lifeRecords
      await until(now() + random() * lifeMsMax * 1e6)
      const patience = now() + patienceMs * 1e6
      while (run.records.length < wanted && now() < patience) await pause(2)
      await run.kill(server.child)
      while (random() < earlyRate) {
        const early = run.spawnServer(kind())
        await until(now() + random() * startMsMax * 1e6)
        await run.kill(early)
      }
      server = await run.startServer(kind())
      if (cycle % 20 === 19) log(`${cycle + 1} cycles, ${run.records.length} records`)
    }
    for (const { child } of parties) child.send({ over: true } satisfies Order)
    await Promise.all(parties.map(({ idle }) => idle))
    for (let last = Math.max(0, generation - 1); last <= generation; last++) {
      await run.sealLogs(store, last)
    }
    await Promise.all(parties.map(({ ended }) => ended))
    const finals = await run.readAll(store, generation)
    const judged = { records: run.records, kills: run.kills, finals }
    const { problems, counts } = judge(judged)
    await run.kill(server.child)
    problems.push(...(await damageIn(directory)))
    const findings = { problems, counts: { ...counts, ...(await segmentsOf(directory)) } }
    if (options.dump !== undefined && findings.problems.length > 0) {
      await writeFile(options.dump, JSON.stringify({ ...judged, finals: [...finals] }))
    }
    return findings
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(directory, { recursive: true, force: true })
  }
}

/** Both kinds of servers open the same store, one after the other. */
type Kind = 'main' | 'small'

class Run {
  readonly records: KillRecord[] = []
  readonly kills: Kill[] = []
  readonly #directory: string
  readonly #programs: Programs
  readonly #children: Set<ChildProcess>
  #seals = 0

  constructor(directory: string, programs: Programs, children: Set<ChildProcess>) {
    this.#directory = directory
    this.#programs = programs
    this.#children = children
  }

  spawnServer(kind: Kind): ChildProcess {
    const { main, small } = this.#programs.files
    const args =
      kind === 'small'
        ? [small, this.#directory]
        : [main, 'serve', '--json', '--data', this.#directory]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    return this.#own(child)
  }

  async startServer(
    kind: Kind,
  ): Promise<{ readonly child: ChildProcess; readonly socket: string }> {
    const child = this.spawnServer(kind)
    const stderr: string[] = []
    child.stderr?.on('data', (data) => stderr.push(String(data)))
    if (!child.stdout) throw new Error('the server has no stdout')
    for await (const line of createInterface({ input: child.stdout })) {
      return { child, socket: (JSON.parse(line) as { socket: string }).socket }
    }
    throw new Error(`the server did not start: ${stderr.join('')}`)
  }

  async kill(child: ChildProcess): Promise<void> {
    const sent = now()
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    this.kills.push({ sent, ended: now() })
  }

  startClients(target: string, name: string, seed: number, clients: number) {
    const args = [target, name, `${seed}`, `${clients}`]
    const stdio = ['ignore', 'pipe', 'inherit', 'ipc'] as const
    const child = this.#own(fork(this.#programs.files.client, args, { stdio: [...stdio] }))
    const told = this.#collect(child)
    told.catch(() => {}) // whoever waits for the clients hears of it
    const said = (word: string) => Promise.race([told, messageOf(child, word)])
    return { child, ready: said('ready'), idle: said('idle'), ended: told }
  }

  /** The last item of each, and its seal, however often the server is killed meanwhile. */
  async sealLogs(store: Store, generation: number): Promise<void> {
    if (generation < 0) return
    for (const key of keysOf(generation).logs) {
      while ((await store.stat(key).catch(() => undefined))?.sealed !== true) {
        await this.#sealOnce(store, key)
      }
    }
  }

  async readAll(store: Store, generations: number): Promise<Map<string, string | undefined>> {
    const finals = new Map<string, string | undefined>()
    for (let generation = 0; generation <= generations; generation++) {
      const { registers, mixed, pair, logs } = keysOf(generation)
      for (const key of [...registers, ...mixed, ...pair, ...logs]) {
        const bytes = await store.get(key)
        finals.set(key, bytes && Buffer.from(bytes).toString())
      }
    }
    return finals
  }

  async #sealOnce(store: Store, key: string): Promise<void> {
    const item = `<seal.${this.#seals++}>`
    const start = now()
    const outcome = await store.append(key, `${item}\n`, { seal: true }).then(
      ({ seq, result: { index = -1 } }) => ({ outcome: 'acknowledged' as const, seq, index }),
      (error: unknown) => {
        const { code } = toTailraceError(error)
        return { outcome: code === 'EUNKNOWN' ? ('unknown' as const) : ('failed' as const) }
      },
    )
    this.records.push({ type: 'append', key, start, end: now(), item, ...outcome })
  }

  #own(child: ChildProcess): ChildProcess {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  async #collect(child: ChildProcess): Promise<void> {
    if (!child.stdout) throw new Error('the clients have no stdout')
    const ended = once(child, 'exit')
    for await (const line of createInterface({ input: child.stdout })) {
      this.records.push(JSON.parse(line) as KillRecord)
    }
    const [code, signal] = await ended
    if (code !== 0) throw new TailraceError('EIO', `the clients ended with ${code ?? signal}`)
  }
}

/** What a check of the store finds once all is over. */
async function damageIn(directory: string): Promise<string[]> {
  const { findings } = await checkStore({ directory })
  return findings.map((finding) => `a check finds: ${findingText(finding)}`)
}

/** How many segments were begun and removed, so that a run that tried neither is seen. */
async function segmentsOf(
  directory: string,
): Promise<Record<'segments begun' | 'segments removed', number>> {
  const ids = await segmentsIn(join(directory, 'store', 'journal'))
  const begun = ids.at(-1) ?? 0
  return { 'segments begun': begun, 'segments removed': begun - ids.length }
}

async function messageOf(child: ChildProcess, word: string): Promise<void> {
  for await (const [message] of on(child, 'message')) if (message === word) return
}

async function until(time: number): Promise<void> {
  while (now() < time) await pause(1)
}
