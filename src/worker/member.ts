/** One worker of a pool: what it has in hand, what it remembers, and what is sent to it next. See
 *  rfc/25, rules 8, 12 and 13.
 *  Invariant: calls are begun in the order in which they were sent, as many at a time as it has slots.
 *  So it is known which have begun, without a message for each. */

import { onAbort } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { canceled, TailraceError } from '../error.js'
import type { PlacedResult, TaskInput } from '../flow/caller.js'
import type { Envelope } from './batches.js'
import { seqMax } from './decisions.js'
import { InputMemory } from './input-memory.js'
import {
  isBytes,
  type LinkPorts,
  type MessagePart,
  type PlacedPart,
  type ProgramData,
  type WorkerLink,
} from './link.js'
import { callEnvelope, type FromWorker, parseFromWorker, type ToWorker } from './protocol.js'
import { sentErrorOf, thrownOf } from './sent-error.js'
import type { Task } from './task.js'

/** The bytes that a link moves in a ms: an estimate. */
const bytesPerMs = 1_000_000

/** An input for a worker: its bytes or their place, their number, and how many of them are sent. */
type LoadedInput = {
  readonly part: MessagePart
  readonly size: number
  readonly sentSize: number
}

/** The bounds of a member. */
export type MemberOptions = Omit<ProgramData, 'argv'> & {
  readonly labels: readonly string[]
  readonly lifetimeMs: number | undefined
  readonly callsMax: number
  readonly inputsSizeMax: number
}

/** Things that a member tells its pool. */
export type MemberPorts = {
  /** Something has changed: there may be room. */
  readonly changed: (member: Member) => void
  /** A call has returned, which took a worker so many ms. */
  readonly answered: (ms: number) => void
  /** The worker does not know the target of a call, or has other code. */
  readonly refused: (member: Member, task: Task, error: unknown) => void
  /** Calls were taken back that had not begun. */
  readonly tookBack: (tasks: readonly Task[]) => void
  /** The worker is gone, with these calls. */
  readonly ended: (member: Member, end: MemberEnd) => void
}

export type MemberEnd = {
  readonly why: string
  readonly tasks: readonly Task[]
  /** True if none of its calls is to blame: the pool itself has killed it, or it has left. */
  readonly isBlameless: boolean
  /** The reason why it cannot work. */
  readonly unfit: unknown
}

type MemberParts = {
  readonly number: number
  readonly options: MemberOptions
  readonly ports: MemberPorts
}

/** A worker. Mutable; owned by its pool. */
export class Member {
  /** Its number among the members of its pool, from 1 on. */
  readonly number: number
  readonly options: MemberOptions
  readonly #link: WorkerLink
  readonly #ports: MemberPorts
  readonly #memory: InputMemory
  /** The calls that it was given and has not answered, in their order; those that are sent have a
   *  number. */
  readonly #tasks = new Set<Task>()
  readonly #bySeq = new Map<number, Task>()
  #outgoing: Envelope<MessagePart>[] = []
  #state: 'starting' | 'ready' | 'leaving' = 'starting'
  #given = 0
  #answered = 0
  #seq = 0
  /** Calls that are asked back, question by question. */
  readonly #asked: (readonly Task[])[] = []
  #isKilled = false
  /** True if it was told to end. */
  #isLeft = false
  #unfit: unknown
  #endLifetime: () => void = () => {}
  /** A number that is greater for one that became idle later. */
  idleSince = 0

  constructor(
    link: (data: ProgramData, ports: LinkPorts) => WorkerLink,
    { number, options, ports }: MemberParts,
  ) {
    this.number = number
    const { modules, slots, graceMs } = options
    this.options = options
    this.#ports = ports
    this.#memory = new InputMemory(options.inputsSizeMax)
    this.#link = link(
      { modules, slots, graceMs, argv: process.argv.slice(1) },
      {
        received: (batch) => this.#received(batch),
        tookBack: (seqs) => this.#tookBack(seqs),
        ended: (why, isLeave = false) => this.#ended(why, isLeave),
      },
    )
  }

  get kind() {
    return this.#link.kind
  }

  get pid() {
    return this.#link.pid
  }

  get state() {
    return this.#state
  }

  get answered() {
    return this.#answered
  }

  /** The calls that it has, in their order. */
  get tasks(): ReadonlySet<Task> {
    return this.#tasks
  }

  /** Resolves when the worker is gone. */
  get gone(): Promise<void> {
    return this.#link.gone
  }

  /** True if it may run calls of the label. */
  fits(label: string | undefined): boolean {
    return label === undefined || this.options.labels.includes(label)
  }

  /** The number of calls that it takes besides those that it has. */
  room(ahead: number): number {
    if (this.#state !== 'ready') return 0
    const { slots, callsMax } = this.options
    return Math.min(slots + ahead - this.#tasks.size, callsMax - this.#given)
  }

  /** The calls that were sent, have not begun, and are not asked back. */
  get waiting(): readonly Task[] {
    if (this.#asked.length > 0) return []
    return [...this.#bySeq.values()].filter((task) => !task.hasBegun)
  }

  /** Gives it a call. */
  give(task: Task): void {
    this.#given++
    this.#tasks.add(task)
    void this.#send(task) // it never rejects
    const { callsMax } = this.options
    if (this.#given >= callsMax) this.leave()
  }

  /** Asks for calls back that have not begun. */
  takeBack(tasks: readonly Task[]): void {
    this.#asked.push(tasks)
    this.#link.takeBack(tasks.flatMap(({ seq }) => seq ?? []))
  }

  /** Takes no more calls, and ends when it has answered those that it has. */
  leave(): void {
    if (this.#state === 'leaving') return
    this.#state = 'leaving'
    this.#endLifetime()
    this.#ports.changed(this)
    this.#leaveIfDone()
  }

  /** Ends the worker, whatever it does. */
  kill(): void {
    this.#isKilled = true
    this.#link.kill()
  }

  /** Loads the inputs that the worker does not have, and sends the call with them. */
  async #send(task: Task): Promise<void> {
    const { signal, inputs } = task.call
    try {
      const loaded = new Map<string, LoadedInput>()
      for (;;) {
        const missing = inputs.filter(({ key }) => !this.#memory.has(key) && !loaded.has(key))
        if (missing.length === 0) break
        const began = performance.now()
        await Promise.all(
          missing.map(async (input) => loaded.set(input.key, await this.#load(input))),
        )
        task.fetchMs += performance.now() - began
      }
      if (!this.#tasks.has(task)) return
      if (signal.aborted) throw canceled(signal)
      this.#sendWith(task, loaded)
    } catch (error) {
      if (this.#tasks.has(task)) this.#settle(task, () => task.answered.reject(error))
    }
  }

  /** Loads an input, or puts it where the worker fetches it. */
  async #load({ place, load }: TaskInput): Promise<LoadedInput> {
    const part = place && (await this.#link.place?.(place))
    if (part) return { part, size: place.size, sentSize: 0 }
    const bytes = await load()
    return { part: bytes, size: bytes.length, sentSize: bytes.length }
  }

  /** Sends a call. `loaded`: inputs that the worker may lack. */
  #sendWith(task: Task, loaded: ReadonlyMap<string, LoadedInput>): void {
    // Another call may have brought some meanwhile.
    const sent = [...loaded].filter(([key]) => !this.#memory.has(key))
    const drop = this.#memory.keep(
      task.call.inputs.map(({ key }) => key),
      sent.map(([key, { size }]) => ({ key, size })),
    )
    task.sentSize = sent.reduce((sum, [, { sentSize }]) => sum + sentSize, 0)
    const seq = ++this.#seq
    task.seq = seq
    this.#bySeq.set(seq, task)
    const keys = sent.map(([key]) => key)
    const parts = sent.map(([, { part }]) => part)
    this.#say({ type: 'call', seq, task: task.call.task, keys, drop }, parts)
    this.#listen(task, seq)
    this.#beginFirst()
    if (seq === seqMax) this.leave()
  }

  /** Passes the abort of a call on, and kills the worker if it does not answer to that in time. */
  #listen(task: Task, seq: number): void {
    const { signal } = task.call
    const ends: (() => void)[] = []
    const abort = () => {
      if (this.#bySeq.get(seq) !== task) return
      if (!task.hasBegun) this.takeBack([task])
      const reason = sentErrorOf(canceled(signal))
      this.#say({ type: 'abort', seq, reason }, [])
      ends.push(startTimer(this.options.graceMs, () => this.kill()))
    }
    ends.push(onAbort(signal, abort))
    const end = () => {
      for (const each of ends) each()
    }
    task.answered.promise.then(end, end)
  }

  #say(body: ToWorker, parts: readonly MessagePart[]): void {
    // All of one turn is one write.
    if (this.#outgoing.length === 0) setImmediate(() => this.#flush())
    this.#outgoing.push(body.type === 'call' ? callEnvelope(body, parts) : { body, parts })
  }

  #flush(): void {
    const batch = this.#outgoing
    this.#outgoing = []
    this.#link.send(batch)
  }

  #received(batch: readonly Envelope<MessagePart>[]): void {
    try {
      const messages = batch.map((envelope) => parseFromWorker(envelope))
      for (const [at, message] of messages.entries()) this.#take(message, batch[at]?.parts ?? [])
    } catch (error) {
      // A worker that speaks nonsense is no worker.
      this.#unfit = error
      this.#link.kill()
    }
    this.#ports.changed(this)
  }

  #take(message: FromWorker, [part = new Uint8Array()]: readonly MessagePart[]): void {
    const bytes = isBytes(part) ? part : new Uint8Array()
    switch (message.type) {
      case 'ready': {
        const { lifetimeMs } = this.options
        if (this.#state === 'starting') this.#state = 'ready'
        if (lifetimeMs !== undefined) this.#endLifetime = startTimer(lifetimeMs, () => this.leave())
        return
      }
      case 'unfit':
        this.#unfit = thrownOf(message.error)
        return
      case 'done': {
        const task = this.#bySeq.get(message.seq)
        if (!task) {
          if (!isBytes(part)) this.#link.release?.(part)
          return
        }
        const facts = { worker: this.number, fetchMs: task.fetchMs, ...message.times }
        const { unpackMs, runMs, packMs } = facts
        const movedMs = (task.sentSize + bytes.length) / bytesPerMs
        this.#ports.answered(unpackMs + runMs + packMs + movedMs)
        const result = isBytes(part) ? part : this.#placed(part)
        this.#answer(task, () => task.answered.resolve({ result, facts }))
        return
      }
      case 'failed': {
        const task = this.#bySeq.get(message.seq)
        if (task) this.#answer(task, () => task.answered.reject(thrownOf(message.error)))
        return
      }
      case 'printed':
        this.#bySeq.get(message.seq)?.call.print(message.stream, bytes)
        return
      case 'refused': {
        const task = this.#bySeq.get(message.seq)
        if (task) this.#refused(task, thrownOf(message.error))
        return
      }
      case 'leaving':
        this.#giveBack()
        return
      default:
        message satisfies never
    }
  }

  /** Returns a result that the worker has stored. */
  #placed(part: PlacedPart): PlacedResult {
    const { store } = this.#link
    const { key, namespace, size, hash } = part
    if (!store || size === undefined || hash === undefined) {
      throw new TailraceError('EIO', 'a result of a worker is nowhere')
    }
    return { store, key, namespace, size, hash, release: () => this.#link.release?.(part) }
  }

  /** Gives a call back that the worker does not know. Others may: but those of this program have its
   *  code, so that there the call fails. */
  #refused(task: Task, error: unknown): void {
    if (this.kind !== 'remote') {
      this.#answer(task, () => task.answered.reject(error))
      return
    }
    this.#forget(task)
    this.#ports.refused(this, task, error)
    this.#giveBack()
  }

  /** Takes no more calls, and gives back those that have not begun. */
  #giveBack(): void {
    const { waiting } = this
    if (waiting.length > 0) this.takeBack(waiting)
    this.leave()
  }

  #answer(task: Task, settle: () => void): void {
    task.begin()
    this.#answered++
    this.#settle(task, settle)
  }

  /** Ends a call that it had. */
  #settle(task: Task, settle: () => void): void {
    this.#forget(task)
    settle()
    this.#beginFirst()
    this.#ports.changed(this)
    this.#leaveIfDone()
  }

  #forget(task: Task): void {
    this.#tasks.delete(task)
    if (task.seq !== undefined) this.#bySeq.delete(task.seq)
  }

  /** Begins the calls that the worker has begun by now. */
  #beginFirst(): void {
    let left = this.options.slots
    for (const task of this.#bySeq.values()) {
      if (left-- === 0) return
      task.begin()
    }
  }

  #tookBack(seqs: readonly number[]): void {
    const asked = this.#asked.shift() ?? []
    const tasks = seqs.flatMap((seq) => this.#bySeq.get(seq) ?? [])
    for (const task of tasks) {
      this.#forget(task)
      this.#given--
    }
    // The worker has begun the others, though their answers are still to come.
    for (const task of asked) if (this.#tasks.has(task)) task.begin()
    this.#ports.tookBack(tasks)
    this.#ports.changed(this)
    this.#leaveIfDone()
  }

  /** Lets a worker end that has nothing to do any more, and kills it if it does not. */
  #leaveIfDone(): void {
    if (this.#state !== 'leaving' || this.#tasks.size > 0 || this.#isLeft) return
    this.#isLeft = true
    this.#say({ type: 'leave' }, [])
    const end = startTimer(this.options.graceMs, () => this.kill())
    void this.gone.then(end) // it never rejects
  }

  #ended(why: string, isLeave: boolean): void {
    this.#endLifetime()
    const tasks = [...this.#tasks]
    this.#tasks.clear()
    this.#bySeq.clear()
    const isBlameless = this.#isKilled || isLeave
    this.#ports.ended(this, { why, tasks, isBlameless, unfit: this.#unfit })
  }
}

/** Returns the error for a call whose workers ended too often. */
export function poisonous(target: string, deaths: number, why: string): TailraceError {
  return new TailraceError(
    'EIO',
    `target ${target} is poisonous: ${deaths} workers ended while they had it in hand, the last one: ` +
      `${why}. It is not tried again in this run`,
  )
}
