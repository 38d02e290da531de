/** A stage for scenes of a shared cache: a server and the processes a, b and c, each behind proxies. Process a is held at a
 *  point of its way (holding-proxy.ts) while b and c act, and then a goes on, or it is killed or stopped, or the server is.
 *  Many runs of scenes are on the stage at once, each with an action and with clients of its own. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Cache } from '../../src/api/cache.js'
import type { RemoteStore } from '../../src/api/store.js'
import { deferred } from '../../src/base/deferred.js'
import { startTimer } from '../../src/base/timer.js'
import { openCache } from '../../src/cache/cache.js'
import { unpack } from '../../src/cache/packing.js'
import { connect } from '../../src/client/node.js'
import { readEvents } from '../../src/eventlog/eventlog.js'
import type { CallCommand } from './acting.js'
import { Actor, type Running } from './actor.js'
import { type Hold, HoldingProxy } from './holding-proxy.js'
import { type Call, complaintsOf, type Deed } from './judge.js'

const names = ['a', 'b', 'c'] as const
export type Name = (typeof names)[number]

/** The way of the small requests of a. */
export type Requests = 'socket' | 'http'

/** A call of each of some processes, several times at once. */
export type Act = {
  readonly by: readonly Name[]
  readonly call: Call
  readonly times?: number
}

/** Acts one after the other. collect: a collection of the store, which begins then. */
export type Acts = readonly (Act | 'collect')[]

export type Scene = {
  /** The size of a result in bytes. Default: so few that it stands in the record. */
  readonly size?: number
  /** True if there is a result when a begins. */
  readonly before?: true
  /** What becomes of the claim of b, which computes when a begins, and goes on once a is held or waits for it. */
  readonly holder?: 'publishes' | 'fails'
  /** The call of a. */
  readonly a: Call
  /** What the others do, one after the other, while a is held: at its first point, and at its second one. */
  readonly meanwhile: readonly Acts[]
  /** True if the others may have to wait for a, since both want the claim. Otherwise they must come to their end. */
  readonly mayWait?: true
}

/** The time after which a call counts as one that hangs, in ms. */
const patienceMs = 20_000
const ttlDefault = 30_000
const reconnect = { minMs: 1, maxMs: 20 }

/** One way from each process to the server. */
type Lane = Readonly<Record<Name, HoldingProxy>>

export class Stage {
  readonly #programs: { readonly server: string; readonly acting: string }
  readonly #directory: string
  #server: ChildProcess
  readonly #upstream: string
  readonly actors: Record<Name, Actor>
  readonly store: RemoteStore
  readonly cache: Cache
  readonly #lanes: Promise<Lane>[] = []
  /** The number of processes that were a so far. */
  #generations = 1
  #actions = 0
  #collection: Promise<unknown> = Promise.resolve()
  #nextCollection: Promise<unknown> | undefined
  #clock = 0

  private constructor(
    programs: { readonly server: string; readonly acting: string },
    directory: string,
    { server, upstream, store }: Started & { readonly store: RemoteStore },
  ) {
    this.#programs = programs
    this.#directory = directory
    this.#server = server
    this.#upstream = upstream
    this.store = store
    this.cache = openCache(store, { owner: 'test' })
    const actor = (name: string) => new Actor(programs.acting, name)
    this.actors = { a: actor('a1'), b: actor('b'), c: actor('c') }
  }

  /** Starts the server and the processes: bundles of server-child.ts and of acting.ts. */
  static async start(programs: {
    readonly server: string
    readonly acting: string
  }): Promise<Stage> {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-stage-'))
    const started = await startServer(programs.server, directory)
    const store = await connect(`unix:${started.upstream}`, { reconnect })
    return new Stage(programs, directory, { ...started, store })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close()
    await Promise.all(Object.values(this.actors).map((actor) => actor.kill()))
    const lanes = await Promise.all(this.#lanes)
    const proxies = lanes.flatMap((lane) => Object.values(lane))
    await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()))
    await endServer(this.#server)
    await rm(this.#directory, { recursive: true, force: true })
  }

  /** Kills a, and starts another process in its place. */
  async replaceA(): Promise<void> {
    await this.actors.a.kill()
    this.actors.a = new Actor(this.#programs.acting, `a${++this.#generations}`)
  }

  /** Kills the server, and starts another one on its data. */
  async restartServer(): Promise<void> {
    await endServer(this.#server)
    const { server } = await startServer(this.#programs.server, this.#directory)
    this.#server = server
  }

  /** Resolves once a collection of the store has ended that began after the call. One runs at a time. */
  collect(): Promise<unknown> {
    this.#nextCollection ??= this.#collection.then(() => {
      this.#nextCollection = undefined
      this.#collection = this.store.upkeep.collect()
      return this.#collection
    })
    return this.#nextCollection
  }

  /** Returns the next step of the clock by which the calls of all runs are ordered. */
  tick(): number {
    return ++this.#clock
  }

  /** Prepares a run of a scene in a lane, which has one run at a time. */
  async run(scene: Scene, at: number, { requests = 'socket', ttl = ttlDefault }: RunOptions = {}) {
    this.#lanes[at] ??= this.#makeLane()
    const lane = await this.#lanes[at]
    const acting = new Set([...(['a', 'b'] as const), ...scene.meanwhile.flat().flatMap(byOf)])
    const openings = [...acting].map((name) => {
      const way = name === 'a' ? requests : 'socket'
      const client = clientOf(name, at, way)
      return this.actors[name].open({ client, target: lane[name].target, requests: way })
    })
    await Promise.all(openings)
    const run = new Run(this, scene, { lane, at, requests, action: ++this.#actions, ttl })
    await run.prepare()
    return run
  }

  /** Ends runs, and returns what is wrong with them. */
  async judge(runs: readonly Run[]): Promise<readonly string[]> {
    await Promise.all(runs.map((run) => run.end()))
    const logs = new Map<string, string[]>()
    for await (const { name, context } of readEvents(this.store, 'log', { namespace })) {
      const { action } = (context ?? {}) as { readonly action?: string }
      if (action !== undefined) logs.set(action, [...(logs.get(action) ?? []), name])
    }
    return runs.flatMap((run) => run.complaints(logs))
  }

  async #makeLane(): Promise<Lane> {
    const start = () => HoldingProxy.start(this.#upstream)
    const [a, b, c] = await Promise.all([start(), start(), start()])
    return { a, b, c }
  }
}

type Started = { readonly server: ChildProcess; readonly upstream: string }

async function startServer(program: string, directory: string): Promise<Started> {
  const server = spawn(process.execPath, [program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [upstream] = await once(createInterface({ input: server.stdout }), 'line')
  return { server, upstream }
}

async function endServer(server: ChildProcess): Promise<void> {
  server.kill('SIGKILL')
  await once(server, 'exit')
}

type RunOptions = {
  readonly requests?: Requests
  /** The ttl of the claims of a, in ms. */
  readonly ttl?: number
}

type Way = {
  readonly lane: Lane
  readonly at: number
  readonly requests: Requests
  readonly action: number
  readonly ttl: number
}

/** A call on the stage, and what is known of it so far. */
type Told = { -readonly [field in keyof Deed]: Deed[field] }

/** One run of a scene: one action, and all that is done to it. */
export class Run {
  readonly #stage: Stage
  readonly #scene: Scene
  readonly #way: Way
  readonly #deeds: Told[] = []
  readonly #endings: Promise<unknown>[] = []
  readonly #complaints: string[] = []
  /** Where a was held. */
  readonly #places: string[] = []
  /** The one who computes when a begins, until it goes on. */
  #holder: Running | undefined
  #a: Running | undefined
  #hold: Hold | undefined
  #lostMax = 0
  /** The id of the action, once it was looked at. */
  #id = ''

  constructor(stage: Stage, scene: Scene, way: Way) {
    this.#stage = stage
    this.#scene = scene
    this.#way = way
  }

  /** Makes what there is when a begins. */
  async prepare(): Promise<void> {
    const { before, holder } = this.#scene
    if (before) await this.#call('b', 'publish').ended
    if (!holder) return
    const fails = holder === 'fails'
    this.#lostMax = fails ? 1 : 0
    this.#holder = this.#call('b', 'cached', { pauses: true, fails }, fails ? ['RangeError'] : [])
    await this.#holder.computing
  }

  /** Lets a begin, or go on, up to the point behind so many crossings. Returns the name of the point; undefined if a has
   *  ended before. `mayFail`: the errors that are right for a. */
  async stand(after: number, mayFail: readonly string[] = []): Promise<string | undefined> {
    const proxy = this.#way.lane.a
    const before = this.#hold
    const hold = proxy.hold(after)
    this.#hold = hold
    before?.open()
    this.#a ??= this.#call('a', this.#scene.a, {}, mayFail)
    const events = { reached: hold.reached, ended: this.#a.ended }
    let event = await firstOf({ ...events, waits: proxy.waiting() })
    await this.#endHolder()
    if (event === 'waits') event = await firstOf(events)
    if (event !== 'reached') return undefined
    const place = await hold.reached
    this.#places.push(place)
    return place
  }

  /** The crossings of a since it stands or goes on. */
  get crossed(): readonly string[] {
    return this.#hold?.crossed ?? []
  }

  /** Lets others act, one act behind the other. Each goes as far as it can: to its end, or until it waits for a. */
  async meanwhile(acts: Acts): Promise<void> {
    for (const act of acts) {
      if (act === 'collect') {
        await this.#stage.collect()
        continue
      }
      const ended = this.#act(act)
      const waiting = Promise.all(act.by.map((name) => this.#way.lane[name].waiting()))
      if ((await firstOf({ ended, waiting })) === 'ended' || this.#scene.mayWait) continue
      this.#complaints.push(`${act.call} of ${act.by} waits for a`)
    }
  }

  /** Lets another act, and waits for its end. */
  async toTheEnd(act: Act): Promise<void> {
    const ended = this.#act(act)
    if ((await firstOf({ ended })) === undefined) this.#complaints.push(`${act.call} hangs`)
  }

  /** Lets a go on. Resolves once the server has done what was held. */
  async goOn(): Promise<void> {
    this.#hold?.open()
    await this.#way.lane.a.answered()
  }

  /** Says that the process of a was killed. */
  killed(): void {
    this.#lostMax++
    for (const deed of this.#deeds) if (deed.by === 'a' && !deed.outcome) deed.isKilled = true
  }

  /** Says that the process of a was stopped for longer than its ttl. */
  stopped(): void {
    this.#lostMax++
  }

  /** Lets a go on, waits for the end of all calls, and looks at what there is. */
  async end(): Promise<void> {
    this.#hold?.open()
    const alive = this.#endings.filter((_, at) => !this.#deeds[at]?.isKilled)
    await firstOf({ ended: Promise.all(alive) })
    await this.#look()
  }

  /** Returns what is wrong. `logs`: the events of each action, by its id. REQUIRES: it has ended. */
  complaints(logs: ReadonlyMap<string, readonly string[]>): readonly string[] {
    const log = logs.get(this.#id) ?? []
    const story = { deeds: this.#deeds, log, lostMax: this.#lostMax }
    const where = this.#places.map((place) => `at ${place}: `).join('')
    return [...this.#complaints, ...complaintsOf(story)].map((complaint) => where + complaint)
  }

  /** Claims the action, as one more call: whatever happened, there is a result, or the claim is free or becomes so. */
  async #look(): Promise<void> {
    const begin = this.#stage.tick()
    const got = await this.#stage.cache.claim(this.#way.action, { timeoutMs: patienceMs })
    let value: string | null = null
    if (got.type === 'hit') {
      const bytes = await got.get()
      value = (unpack(bytes, 'the result') as { readonly version: string }).version
    } else if (got.type === 'claimed') await got.abandon()
    const end = this.#stage.tick()
    this.#deeds.push({ by: 'test', call: 'load', begin, end, made: [], outcome: { value } })
    this.#id = got.type === 'hit' ? got.result.id : got.id
  }

  async #endHolder(): Promise<void> {
    const holder = this.#holder
    this.#holder = undefined
    holder?.go()
    await holder?.ended
  }

  #act({ by, call, times = 1 }: Act): Promise<unknown> {
    const calls = by.flatMap((name) => Array.from({ length: times }, () => this.#call(name, call)))
    return Promise.all(calls.map(({ ended }) => ended))
  }

  #call(
    by: Name,
    call: Call,
    options: Pick<CallCommand, 'pauses' | 'fails'> = {},
    mayFail: readonly string[] = [],
  ): Running {
    const { at, requests, action, ttl } = this.#way
    const { size = sizeDefault } = this.#scene
    const client = clientOf(by, at, requests)
    const held = by === 'a' ? ttl : ttlDefault
    const command = { do: call, client, action, size, ttl: held, ...options }
    const begin = this.#stage.tick()
    const running = this.#stage.actors[by].call(command)
    const deed: Told = { by, call, begin, made: running.made, mayFail }
    this.#deeds.push(deed)
    const ending = running.ended.then((outcome) => {
      deed.outcome = outcome
      deed.end = this.#stage.tick()
    })
    this.#endings.push(ending)
    return running
  }
}

const namespace = 'cache-main'
const sizeDefault = 10

function byOf(act: Act | 'collect'): readonly Name[] {
  return act === 'collect' ? [] : act.by
}

/** Returns the name of the client of a process in a lane. */
function clientOf(name: Name, at: number, requests: Requests): string {
  return `${at} ${name === 'a' ? requests : 'socket'}`
}

/** Returns the name of the first promise that resolves; undefined if none does in time. */
async function firstOf<Key extends string>(
  promises: Readonly<Record<Key, Promise<unknown>>>,
): Promise<Key | undefined> {
  const late = deferred<undefined>()
  const stopTimer = startTimer(patienceMs, () => late.resolve(undefined))
  const named = (Object.keys(promises) as Key[]).map((name) => promises[name].then(() => name))
  try {
    return await Promise.race([...named, late.promise])
  } finally {
    stopTimer()
  }
}
