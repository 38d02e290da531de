/** A pool of workers: which call goes to which of them, and what becomes of the calls of those that end.
 *  See rfc/25, rules 11 to 15.
 *  Invariant: a call is in the queue, or at one member, until it is answered. Nothing polls: all that
 *  happens follows an answer, a message, or the end of a worker. */

import { type FlowWorkerView, type RemoteWorkersOptions, workersMax } from '../api/flow.js'
import { onAbort } from '../base/abort.js'
import { pause, startTimer, waitMsMax } from '../base/timer.js'
import { canceled, TailraceError } from '../error.js'
import { CallPool, type PooledAnswer, type PooledCall } from '../flow/caller.js'
import { seqMax } from './decisions.js'
import { JoinedWorkers } from './joining.js'
import type { WorkerLink } from './link.js'
import {
  Member,
  type MemberEnd,
  type MemberOptions,
  type MemberPorts,
  poisonous,
} from './member.js'
import type { Offer } from './offers.js'
import { processLink } from './process-link.js'
import { RemoteLink, type TakenWorker } from './remote-link.js'
import { type Label, Task, TaskQueue } from './task.js'
import { threadLink } from './thread-link.js'

/** The time that calls which are sent ahead to a worker should take, in ms, and the most of them. */
const [aheadMs, aheadMax] = [10, 128]
/** The time that calls which are sent ahead to a remote worker should take, in ms: each message takes a
 *  commit. */
const remoteAheadMs = 100
/** The time for which a remote worker is kept that has no calls, in ms. */
const idleMsMax = 5_000
/** The share of the newest call in the mean time of calls. */
const meanShare = 0.1
/** The number of workers that may end while they have a call in hand: then it is not tried again. */
const deathsMax = 3
/** The number of workers that may end one after the other before they are ready. */
const startsMax = 3

/** The options of a pool. */
export type PoolOptions = MemberOptions & {
  readonly processes: number
  readonly threads: number
  readonly remote: RemoteWorkersOptions | undefined
}

/** The pool. Mutable; owned by who opened it. */
export class WorkerPool extends CallPool {
  readonly #options: PoolOptions
  readonly #members = new Set<Member>()
  /** Calls that no worker has; those that may have ended one go alone, and first. */
  readonly #queue = new TaskQueue()
  readonly #suspects = new TaskQueue()
  /** Members that run a call alone. */
  readonly #alone = new Set<Member>()
  /** The workers that have joined a store. */
  readonly #joined: JoinedWorkers | undefined
  /** The offers of workers that are being taken. */
  readonly #taking = new Set<Offer>()
  /** The offers of the remote members. */
  readonly #offers = new Map<Member, Offer>()
  readonly #listeners = new Set<() => void>()
  #meanMs: number | undefined
  #started = 0
  #failedStarts = 0
  #idles = 0
  #calls = 0
  /** Keeps this process alive while there are calls, and while workers end. */
  #alive: AbortController | undefined
  #isClosed = false

  constructor(options: PoolOptions) {
    super()
    this.#options = options
    const { remote } = options
    this.#joined =
      remote &&
      new JoinedWorkers(remote, {
        changed: () => this.#joinedChanged(),
        failed: (error) => this.#joinFailed(error),
      })
    this.#start()
  }

  get places(): number {
    return this.#placesOf(undefined)
  }

  get opened(): Promise<void> {
    return this.#joined?.opened ?? Promise.resolve()
  }

  isKnown(label: string): boolean {
    return this.#joined !== undefined || this.#options.labels.includes(label)
  }

  placesOf(label: string): number {
    return this.#placesOf(label)
  }

  onPlaces(run: () => void): () => void {
    this.#listeners.add(run)
    this.#stayAlive()
    return () => {
      this.#listeners.delete(run)
      this.#stayAlive()
    }
  }

  /** Returns the places at workers that may run calls of a label. All workers take calls ahead, in
   *  proportion to how short calls are. */
  #placesOf(label: Label): number {
    const { processes, threads, slots, labels } = this.#options
    const isHere = label === undefined || labels.includes(label)
    let places = isHere ? (processes + threads) * (slots + this.#aheadOf('process')) : 0
    for (const member of this.#members) {
      if (member.kind !== 'remote' || member.state === 'leaving' || !member.fits(label)) continue
      places += member.options.slots + this.#aheadOf('remote')
    }
    for (const offer of [...this.#taking, ...(this.#joined?.free ?? [])]) {
      if (offerFits(offer, label)) places += offer.slots
    }
    return places
  }

  async call(call: PooledCall): Promise<PooledAnswer> {
    if (this.#isClosed) throw closed()
    if (call.signal.aborted) throw canceled(call.signal)
    const task = new Task(call)
    this.#calls++
    this.#stayAlive()
    const end = onAbort(call.signal, () => this.#unqueue(task))
    this.#queue.push(task)
    this.#dispatch()
    try {
      return await task.answered.promise
    } finally {
      end()
      this.#calls--
      this.#stayAlive()
    }
  }

  list(): readonly FlowWorkerView[] {
    return [...this.#members].map((member) => {
      const { kind, number, pid, state, answered, tasks } = member
      const offer = this.#offers.get(member)
      return {
        ...{ kind, worker: number, pid, state, answered },
        calls: [...tasks].map(({ call }) => call.task.target),
        ...(offer && { id: offer.id, host: offer.host }),
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    for (const { answered } of this.#takeWaiting()) answered.reject(closed())
    this.#stayAlive()
    const members = [...this.#members]
    for (const member of members) {
      if (member.state === 'starting') member.kill()
      else member.leave()
    }
    await Promise.all(members.map(({ gone }) => gone))
    await this.#joined?.close()
    this.#alive?.abort()
  }

  /** Returns the number of calls that are sent ahead to a worker. */
  #aheadOf(kind: WorkerLink['kind']): number {
    if (this.#meanMs === undefined) return 1
    const ms = kind === 'remote' ? remoteAheadMs : aheadMs
    return Math.min(aheadMax, Math.max(1, Math.floor(ms / Math.max(this.#meanMs, 0.001))))
  }

  /** Gives calls to workers that have room for them. */
  #dispatch(): void {
    for (const label of this.#suspects.labels) {
      for (;;) {
        const mayRun = (member: Member) => member.tasks.size === 0 && member.fits(label)
        const idle = this.#idlest(mayRun, () => 0)
        if (!idle || !this.#give(idle, this.#suspects, label)) break
        this.#alone.add(idle)
      }
    }
    // Workers get idle for those that go alone.
    const kept = this.#suspects.labels
    for (const label of this.#queue.labels) {
      const mayRun = (member: Member) =>
        member.fits(label) && !kept.some((other) => member.fits(other))
      for (;;) {
        const member = this.#idlest(mayRun, ({ kind }) => this.#aheadOf(kind))
        if (!member || !this.#give(member, this.#queue, label)) break
      }
    }
    if (this.#queue.isEmpty && this.#suspects.isEmpty) {
      this.#spread()
      return
    }
    this.#start()
    this.#takeJoined()
    this.#tellWaiting()
  }

  /** Takes workers that have joined for calls that wait. */
  #takeJoined(): void {
    if (!this.#joined || this.#isClosed) return
    for (const label of new Set([...this.#suspects.labels, ...this.#queue.labels])) {
      let missing = this.#suspects.of(label).length + this.#queue.of(label).length
      for (const offer of this.#taking) if (offerFits(offer, label)) missing -= offer.slots
      for (const offer of this.#joined.free) {
        if (missing <= 0 || this.#members.size + this.#taking.size >= workersMax) break
        if (!offerFits(offer, label)) continue
        missing -= offer.slots
        void this.#takeOne(this.#joined, offer) // it never rejects
      }
    }
  }

  async #takeOne(joined: JoinedWorkers, offer: Offer): Promise<void> {
    this.#taking.add(offer)
    try {
      const taken = await joined.take(offer)
      this.#taking.delete(offer)
      if (taken) this.#addRemote(taken)
    } catch (error) {
      this.#taking.delete(offer)
      if (!this.#isClosed) this.#joinFailed(error)
    }
    if (!this.#isClosed) this.#joinedChanged()
  }

  #addRemote(taken: TakenWorker): void {
    const { offer } = taken
    const { slots, labels, callsLeft } = offer
    const options = { ...this.#options, slots, labels, lifetimeMs: undefined }
    const parts = {
      number: ++this.#started,
      options: { ...options, callsMax: callsLeft ?? seqMax },
      ports: this.#memberPorts,
    }
    const member = new Member((_data, ports) => new RemoteLink(taken, ports), parts)
    this.#offers.set(member, offer)
    this.#members.add(member)
    if (this.#isClosed) member.kill()
  }

  /** Says that calls wait for which no worker is there. */
  #tellWaiting(): void {
    for (const queue of [this.#suspects, this.#queue]) {
      for (const label of queue.labels) {
        const [task] = queue.of(label)
        if (!task || task.isToldWaiting || this.#placesOf(label) > 0) continue
        task.isToldWaiting = true
        task.call.waits()
      }
    }
  }

  #joinedChanged(): void {
    this.#dispatch()
    for (const run of [...this.#listeners]) run()
  }

  /** Fails what waits if no worker is here and none is heard of any more. */
  #joinFailed(error: unknown): void {
    if (this.#members.size > 0 || this.#options.processes + this.#options.threads > 0) return
    for (const { answered } of this.#takeWaiting()) answered.reject(error)
  }

  /** Gives a member the next call of a label. Returns false if there is none. */
  #give(member: Member, from: TaskQueue, label: Label): boolean {
    const task = from.take(label)
    if (!task) return false
    if (member.tasks.size === 0) member.idleSince = 0
    member.give(task)
    return true
  }

  /** Takes all calls that no worker has. */
  #takeWaiting(): readonly Task[] {
    return [...this.#suspects.clear(), ...this.#queue.clear()]
  }

  /** Returns the member that a call goes to: one with a free slot that got it last, else the one with the
   *  fewest calls. */
  #idlest(
    may: (member: Member) => boolean,
    aheadOf: (member: Member) => number,
  ): Member | undefined {
    let best: Member | undefined
    for (const member of this.#members) {
      if (this.#alone.has(member) || member.room(aheadOf(member)) <= 0 || !may(member)) continue
      if (!best || isBefore(member, best)) best = member
    }
    return best
  }

  /** Lets members without calls take some from others that have not begun them. */
  #spread(): void {
    const isIdle = ({ tasks, state }: Member) => tasks.size === 0 && state === 'ready'
    const idle = [...this.#members].filter((member) => isIdle(member) && !this.#alone.has(member))
    for (const taker of idle) {
      const { waiting } = taker
      let most: { readonly member: Member; readonly waiting: readonly Task[] } | undefined
      for (const member of this.#members) {
        if (member.tasks.size <= member.options.slots) continue
        const waits = member.waiting.filter(({ call }) => taker.fits(call.label))
        if (waits.length > (most?.waiting.length ?? waiting.length))
          most = { member, waiting: waits }
      }
      if (!most) return
      most.member.takeBack(most.waiting.slice(Math.floor(most.waiting.length / 2)))
    }
  }

  /** Starts the workers that are missing. */
  #start(): void {
    if (this.#isClosed) return
    const missing = { process: this.#options.processes, thread: this.#options.threads }
    for (const { kind, state } of this.#members) {
      if (state !== 'leaving' && kind !== 'remote') missing[kind]--
    }
    for (const kind of ['process', 'thread'] as const) {
      for (let at = 0; at < missing[kind]; at++) this.#add(kind)
    }
  }

  #add(kind: 'process' | 'thread'): void {
    const link = kind === 'process' ? processLink : threadLink
    const ports = this.#memberPorts
    const member = new Member(link, { number: ++this.#started, options: this.#options, ports })
    this.#members.add(member)
  }

  readonly #memberPorts: MemberPorts = {
    changed: (member) => this.#changed(member),
    answered: (ms) => this.#note(ms),
    refused: (member, task, error) => this.#refused(member, task, error),
    tookBack: (tasks) => this.#again(tasks),
    ended: (member, end) => this.#ended(member, end),
  }

  #changed(member: Member): void {
    if (member.tasks.size === 0) {
      this.#alone.delete(member)
      if (member.idleSince === 0) this.#becameIdle(member)
    }
    if (member.state === 'ready') this.#failedStarts = 0
    this.#dispatch()
  }

  #becameIdle(member: Member): void {
    const since = ++this.#idles
    member.idleSince = since
    if (member.kind !== 'remote') return
    // Others may want it.
    startTimer(idleMsMax, () => {
      if (member.idleSince === since && member.tasks.size === 0) member.leave()
    })
  }

  /** Lets others run a call that a worker does not know, and takes that worker no more. */
  #refused(member: Member, task: Task, error: unknown): void {
    const offer = this.#offers.get(member)
    if (offer) this.#joined?.refuse(offer)
    task.refuse(offer ? `${offer.id} (${offer.host})` : '', error)
    if (!this.#isOver(task)) this.#queue.putBack([task])
  }

  #note(ms: number): void {
    const before = this.#meanMs ?? ms
    this.#meanMs = before + (ms - before) * meanShare
  }

  /** Puts calls back into the queue that a worker has given back. */
  #again(tasks: readonly Task[]): void {
    const waiting = tasks.filter((task) => !this.#isOver(task))
    for (const task of waiting) task.reset()
    this.#queue.putBack(waiting)
  }

  /** Ends a call whose signal has aborted, and returns true then. */
  #isOver({ call: { signal }, answered }: Task): boolean {
    if (signal.aborted) answered.reject(canceled(signal))
    else if (this.#isClosed) answered.reject(closed())
    return signal.aborted || this.#isClosed
  }

  #unqueue(task: Task): void {
    if (this.#queue.remove(task) || this.#suspects.remove(task)) this.#isOver(task)
  }

  #ended(member: Member, { why, tasks, isBlameless, unfit }: MemberEnd): void {
    this.#members.delete(member)
    this.#offers.delete(member)
    this.#alone.delete(member)
    for (const task of tasks) {
      if (this.#isOver(task)) continue
      if (!isBlameless) task.deaths++
      task.reset()
      if (task.deaths < deathsMax) (isBlameless ? this.#queue : this.#suspects).push(task)
      else {
        task.call.poisoned()
        task.answered.reject(poisonous(task.call.task.target, task.deaths, why))
      }
    }
    if (member.state === 'starting') this.#startFailed(why, unfit)
    if (!this.#isClosed) this.#dispatch()
  }

  /** Fails the calls that wait if workers do not start. */
  #startFailed(why: string, unfit: unknown): void {
    this.#failedStarts++
    if (unfit === undefined && this.#failedStarts < startsMax) return
    if ([...this.#members].some(({ state }) => state === 'ready')) return
    const message = `${this.#failedStarts} workers ended before they were ready, the last one: ${why}`
    const error = unfit ?? new TailraceError('EIO', `${message}. Look at stderr`)
    this.#failedStarts = 0
    for (const { answered } of this.#takeWaiting()) answered.reject(error)
  }

  #stayAlive(): void {
    if (this.#calls > 0 || this.#listeners.size > 0 || this.#isClosed) {
      if (this.#alive) return
      this.#alive = new AbortController()
      // Links keep no process alive, so that a timer has to.
      pause(waitMsMax, this.#alive.signal).catch(() => {})
    } else {
      this.#alive?.abort()
      this.#alive = undefined
    }
  }
}

function closed(): TailraceError {
  return new TailraceError('ECLOSED', 'the workers were closed: open others')
}

function offerFits({ labels }: Offer, label: Label): boolean {
  return label === undefined || labels.includes(label)
}

function isBefore(a: Member, b: Member): boolean {
  if (a.tasks.size !== b.tasks.size) return a.tasks.size < b.tasks.size
  return a.idleSince > b.idleSince
}
