/** One watch over a server. It goes at its consumer's pace, and goes on over lost connections. See
 *  rfc/7 and rfc/12, rules 11 and 17.
 *  Invariant: the consumer gets every event once, in order. The position is that of the last event
 *  that was queued, and each new socket goes on from there. The queue never holds more than the
 *  credit and one frame. */

import type {
  AppendEvent,
  ChangesEvent,
  ChangesPosition,
  From,
  LeaseEvent,
  Position,
  ValueEvent,
  WatchEvent,
  Watching,
  WatchOptions,
} from '../api/watch.js'
import { onAbort } from '../base/abort.js'
import { Wakeup } from '../base/wakeup.js'
import { canceled, isCode, TailraceError } from '../error.js'
import { changesCost, frameCost, position, type RequestFrame } from '../wire/frames.js'
import { parse } from '../wire/schema.js'
import type { Connection, Delivery, WatchStream } from './connection.js'
import { Fifo } from './fifo.js'

export class RemoteWatch implements Watching, WatchStream {
  readonly #connection: Connection
  readonly #key: string
  readonly #options: WatchOptions
  /** The number of bytes that may be queued or on their way. */
  readonly #window: number
  readonly #queue = new Fifo<WatchEvent>()
  readonly #moved = new Wakeup()
  #state: 'new' | 'open' | 'over' = 'new'
  /** The error that ended the watch. It is thrown once, after the queued events. */
  #failure: TailraceError | undefined
  /** The number of queued bytes. */
  #queued = 0
  /** The number of bytes that the consumer has taken, and that were not granted again yet. */
  #taken = 0
  /** The position after the last event that was queued. */
  #position: Position | undefined
  /** The position after the last event of changes that was queued. */
  #changes: ChangesPosition | undefined
  #value: { readonly seq: number; readonly ref: string } | undefined
  #lease: LeaseEvent | undefined
  #live = false
  /** True if the next value is the first one of a later socket. */
  #resumed = false
  /** The bytes of the last event, if they were lent. */
  #lent: Uint8Array | undefined
  #endAbort = () => {}

  constructor(connection: Connection, key: string, options: WatchOptions, window: number) {
    this.#connection = connection
    this.#key = key
    this.#options = options
    this.#window = window
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Returns the next event. The first call opens the watch. */
  async next(): Promise<IteratorResult<WatchEvent, undefined>> {
    if (this.#state === 'new') this.#open()
    if (this.#lent) this.#connection.recycle(this.#lent)
    this.#lent = undefined
    for (;;) {
      const seen = this.#moved.count
      const event = this.#queue.take()
      if (event) {
        this.#grant(costOf(event))
        if (this.#options.lend && event.type === 'append') this.#lent = event.data
        return { done: false, value: event }
      }
      const failure = this.#failure
      if (failure) {
        this.#failure = undefined
        throw failure
      }
      if (this.#state === 'over') return { done: true, value: undefined }
      await this.#moved.wait(seen)
    }
  }

  /** Cancels the watch, and drops the queued events. */
  async return(): Promise<IteratorResult<WatchEvent, undefined>> {
    this.#end(undefined)
    return { done: true, value: undefined }
  }

  request(id: number): RequestFrame {
    const { namespace, mode, uniq, lease, initial } = this.#options
    const since = this.#changes ?? this.#options.since
    // The queue may exceed the window by one frame. The excess is negative here, so that the
    // consumer takes as much before anything is granted again.
    this.#taken = Math.min(0, this.#window - this.#queued)
    this.#resumed = this.#value !== undefined
    const from: From | undefined = this.#position ?? this.#from
    // After the first event a missing key is an error that the consumer must see.
    const waitCreate = this.#options.waitCreate && !this.#position && !this.#value
    return {
      id,
      op: 'watch',
      key: this.#key,
      mode,
      credit: Math.max(0, this.#window - this.#queued),
      ...(namespace === undefined ? {} : { namespace }),
      ...(from === undefined || mode !== 'append' ? {} : { from }),
      ...(waitCreate ? { waitCreate } : {}),
      ...(uniq ? { uniq } : {}),
      ...(lease ? { lease } : {}),
      ...(since === undefined ? {} : { since }),
      ...(initial && since === undefined ? { initial } : {}),
    }
  }

  received(frame: Delivery): void {
    const { id: _, ...event } = this.#traced(frame)
    switch (event.type) {
      case 'append':
        this.#append(event)
        return
      case 'value':
        this.#deliverValue(event)
        return
      case 'lease':
        this.#deliverLease(event)
        return
      case 'changes':
        this.#deliverChanges(event)
        return
      case 'live':
        if (event.position) this.#position = event.position
        if (!this.#live) this.#add(event)
        this.#live = true
        return
      case 'end':
        this.#finish()
        if (event.position) this.#add({ ...event, reason: 'sealed', position: event.position })
        this.#moved.wake()
        return
      default:
        event satisfies never
    }
  }

  failed(error: TailraceError): void {
    const oldest = this.#passedOver(error)
    if (oldest) {
      this.#position = oldest
      this.#connection.add(this)
      return
    }
    this.#failure = error
    this.#finish()
    this.#moved.wake()
  }

  #open(): void {
    const { signal } = this.#options
    this.#state = 'open'
    if (signal?.aborted) {
      this.#end(canceled(signal))
      return
    }
    this.#endAbort = onAbort(signal, () => signal && this.#end(canceled(signal)))
    this.#connection.add(this)
  }

  /** The start that is asked for on a new socket. A watch from the end that was live before the key
   *  was there starts at 0, so that it misses no append. */
  get #from(): From | undefined {
    const { from } = this.#options
    return this.#live && typeof from === 'number' && from < 0 ? undefined : from
  }

  /** Returns a delivery whose place in a trace is that of its coming here. */
  #traced(frame: Delivery): Delivery {
    if (!('trace' in frame) || frame.trace === undefined) return frame
    const trace = this.#connection.tracing?.received(frame.trace)
    return trace === undefined ? frame : { ...frame, trace }
  }

  /** The first index that the consumer gets. A watch that begins beyond the end of the log resumes
   *  from that end, and drops the appends before its start. */
  get #start(): number {
    const { from } = this.#options
    return typeof from === 'number' ? Math.max(0, from) : 0
  }

  /** Returns the position to go on from after a trim that dropped only appends before the start.
   *  Returns undefined for any other error. */
  #passedOver(error: TailraceError): Position | undefined {
    if (!this.#position || !isCode(error, 'ECOMPACTED')) return undefined
    const { state } = error.failed ?? {}
    if (typeof state !== 'object' || state === null || !('position' in state)) return undefined
    const oldest = parse(position, state.position, 'position')
    return oldest.index > this.#position.index && oldest.index <= this.#start ? oldest : undefined
  }

  #append(event: AppendEvent): void {
    const start = this.#start
    const next = this.#position && Math.max(this.#position.index, start)
    if (next !== undefined && event.index !== next && event.index >= start) {
      const message = `the server sent append ${event.index} where ${next} is next`
      this.#fail(new TailraceError('EIO', message))
      return
    }
    this.#position = event.position
    if (event.index >= start) this.#add(event)
    else this.#connection.grant(this, costOf(event))
  }

  /** Delivers a value. The first value of a new socket is the current one: it is dropped if the
   *  consumer has it, and is `skipped` if there were values between. */
  #deliverValue(event: ValueEvent): void {
    const before = this.#value
    const resumed = this.#resumed
    this.#resumed = false
    this.#value = { seq: event.seq, ref: event.ref }
    if (!resumed || !before) this.#add(event)
    else if (event.seq < before.seq) this.#fail(madeAnew())
    else if (event.ref !== before.ref || (!this.#options.uniq && event.seq > before.seq)) {
      this.#add(event.seq > before.seq + 1 ? { ...event, skipped: true } : event)
    } else this.#connection.grant(this, costOf(event))
  }

  /** Delivers the state of a lease. The first state of a new socket is the current one: it is
   *  dropped if the consumer has it. */
  #deliverLease(event: LeaseEvent): void {
    const before = this.#lease
    this.#lease = event
    const { token } = event
    const same =
      before?.token?.seq === token?.seq && before?.token?.incarnation === token?.incarnation
    if (!before || !same) this.#add(event)
    else this.#connection.grant(this, costOf(event))
  }

  /** Delivers changes. A new socket goes on from the last position; its first event is dropped if it
   *  has nothing. */
  #deliverChanges(event: ChangesEvent): void {
    const isFirst = this.#changes === undefined
    this.#changes = event.position
    if (isFirst || event.entries.length > 0) this.#add(event)
    else this.#connection.grant(this, costOf(event))
  }

  #add(event: WatchEvent): void {
    this.#queued += costOf(event)
    this.#queue.add(event)
    this.#moved.wake()
  }

  /** Counts what the consumer took, and grants it again in steps of half the window, so that small
   *  events do not cost a frame each. */
  #grant(cost: number): void {
    this.#queued -= cost
    this.#taken += cost
    if (this.#state !== 'open' || this.#taken * 2 < this.#window) return
    this.#connection.grant(this, this.#taken)
    this.#taken = 0
  }

  /** Ends the watch because the server sent something impossible. Queued events are still
   *  delivered. */
  #fail(failure: TailraceError): void {
    this.#connection.remove(this)
    this.failed(failure)
  }

  /** Ends the watch for the consumer, and drops the queued events. */
  #end(failure: TailraceError | undefined): void {
    this.#queue.clear()
    this.#queued = 0
    this.#failure = failure
    this.#finish()
    this.#connection.remove(this)
    this.#moved.wake()
  }

  #finish(): void {
    this.#state = 'over'
    this.#endAbort()
  }
}

function madeAnew(): TailraceError {
  const message = 'the namespace was removed and made anew while the connection was away'
  return new TailraceError('ENONS', message)
}

function costOf(event: WatchEvent): number {
  if (event.type === 'append') return event.data.length + frameCost
  if (event.type === 'lease') return frameCost
  if (event.type === 'changes') return changesCost(event.entries)
  return event.type === 'value' ? (event.data?.length ?? 0) + frameCost : 0
}
