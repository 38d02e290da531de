/** The memory of all that waits in sockets of a server to be read by its clients. See rfc/12, rule 40.
 *  Invariant: above `backlogSpentSize` nothing large is begun. A client that has read nothing for
 *  `stalledMs` loses its connection where others wait for memory, the one that has stalled longest first.
 *  Small answers and events never wait here. */

import { setImmediate } from 'node:timers/promises'
import { LightSignal, onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { Wakeup } from '../base/wakeup.js'
import { canceled, TailraceError } from '../error.js'

/** The number of bytes that may wait in all sockets before the watches of each socket with a backlog
 *  wait. */
const backlogSumMax = 32 * 1024 * 1024
/** The number of bytes that may wait in all sockets before answers and events above `smallSize` wait. */
export const backlogSpentSize = 1.5 * backlogSumMax
/** The size of an answer, an event or a piece of a stream that never waits, in bytes. */
export const smallSize = 16 * 1024
/** The time without progress after which a client loses its connection where others need its memory,
 *  in ms. */
export const stalledMs = 2_000
/** The time for which memory is kept for one who may send something large, in ms. */
const promisedMs = 1_000

/** The backlogs of one server. Mutable; each socket and each answer over HTTP has a part. */
export class Backlogs {
  readonly #monotonic: () => number
  #size = 0
  /** The parts that have bytes, in the order of their last progress. */
  readonly #held = new Set<Backlog>()
  readonly #waiting = new Set<{ readonly pass: () => void; readonly passed: Deferred<void> }>()
  /** Woken when bytes have left. */
  readonly #moved = new Wakeup()
  #running = false

  /** `monotonic` returns a time in ms. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /** The number of bytes that wait. */
  get size(): number {
    return this.#size
  }

  /** True if watches with a backlog wait. */
  get exceeded(): boolean {
    return this.#size > backlogSumMax
  }

  /** True if all that is large waits. */
  get spent(): boolean {
    return this.#size > backlogSpentSize
  }

  /** Returns the part of a connection or of an answer. `drop` ends its connection. */
  begin(drop: () => void): Backlog {
    return new Backlog(this, drop)
  }

  /** Changes the size of a part, which calls it. One that becomes smaller has made progress. */
  change(part: Backlog, by: number): void {
    this.#size += by
    if (part.size === 0) this.#held.delete(part)
    else if (by < 0 || !this.#held.has(part)) {
      part.movedAt = this.#monotonic()
      this.#held.delete(part)
      this.#held.add(part)
    }
    if (by < 0) this.#moved.wake()
  }

  /** Keeps `by` bytes more for what was let pass; negative if less. The part calls it. */
  keep(by: number): void {
    this.#size += by
    if (by < 0) this.#moved.wake()
  }

  /** Resolves when something large may be sent. Callers pass one by one; `pass` counts what each may
   *  send before the next one passes. Throws the error that `canceled` returns. */
  async room(signal: LightSignal, pass: () => void): Promise<void> {
    if (signal.aborted) throw canceled(signal)
    if (!this.spent && this.#waiting.size === 0) return pass()
    const turn = { pass, passed: deferred<void>() }
    this.#waiting.add(turn)
    const end = onAbort(signal, () => {
      this.#waiting.delete(turn)
      turn.passed.reject(canceled(signal))
    })
    if (!this.#running) void this.#run()
    try {
      await turn.passed.promise
    } finally {
      end()
    }
  }

  /** Throws EBUSY if something large may not be sent. */
  checkRoom(): void {
    if (this.spent) this.#evict()
    if (!this.spent) return
    const message = 'clients that do not read have the memory of answers: ask again later'
    throw new TailraceError('EBUSY', message)
  }

  /** Never throws. */
  async #run(): Promise<void> {
    this.#running = true
    while (this.#waiting.size > 0) {
      if (this.spent && !this.#evict()) {
        await this.#untilMoved()
        continue
      }
      const [next] = this.#waiting
      if (!next || this.spent) continue
      this.#waiting.delete(next)
      next.pass()
      next.passed.resolve()
      await setImmediate()
    }
    this.#running = false
  }

  async #untilMoved(): Promise<void> {
    const seen = this.#moved.count
    const [first] = this.#held
    const left = first ? first.movedAt + stalledMs - this.#monotonic() : stalledMs
    const late = new LightSignal()
    const stopTimer = startTimer(Math.max(1, left), () => late.abort())
    // After that time the first part has stalled, and the next pass ends its connection.
    await this.#moved.wait(seen, late).catch(() => {})
    stopTimer()
  }

  /** Ends the connection that has stalled longest. Returns false if none has stalled for `stalledMs`. */
  #evict(): boolean {
    const [first] = this.#held
    if (!first || this.#monotonic() - first.movedAt < stalledMs) return false
    first.evict()
    return true
  }
}

/** The bytes that wait in one socket. */
export class Backlog {
  /** The time of the last progress, in ms of a monotonic clock. `Backlogs` writes it. */
  movedAt = 0
  readonly #all: Backlogs
  readonly #drop: () => void
  readonly #ended = new LightSignal()
  #size = 0
  /** Memory that is kept for what `room` let pass, until it counts in `#size`. */
  #promised = 0
  #stopTimer: () => void = () => {}

  constructor(all: Backlogs, drop: () => void) {
    this.#all = all
    this.#drop = drop
  }

  /** The number of bytes that wait. */
  get size(): number {
    return this.#size
  }

  /** True once the connection or the answer has ended. */
  get ended(): boolean {
    return this.#ended.aborted
  }

  /** True if all that is large waits. */
  get spent(): boolean {
    return this.#all.spent
  }

  /** Sets the number of bytes that wait. */
  set(size: number): void {
    if (this.ended) return
    this.#promise(0)
    const by = size - this.#size
    this.#size = size
    if (by !== 0) this.#all.change(this, by)
  }

  /** Resolves when something of up to `size` bytes may be sent. They count from then on, until the next
   *  `set`, or for `promisedMs`: what is asked for may come late, or never. Throws ECANCELED once the
   *  part has ended. */
  async room(size: number): Promise<void> {
    await this.#all.room(this.#ended, () => this.#promise(size))
  }

  #promise(size: number): void {
    if (size === 0 && this.#promised === 0) return
    this.#stopTimer()
    const by = size - this.#promised
    this.#promised = size
    this.#all.keep(by)
    if (size > 0) this.#stopTimer = startTimer(promisedMs, () => this.#promise(0))
  }

  /** Ends the connection, and gives its memory back. */
  evict(): void {
    this.end()
    this.#drop()
  }

  /** Gives the memory back: the client has all, or has gone. Idempotent. */
  end(): void {
    this.set(0)
    this.#ended.abort()
  }
}
