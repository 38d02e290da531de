/** The requests and watches of one websocket: answers go out in any order, by id. See rfc/12,
 *  rules 10 to 12.
 *  Invariant: an id is in use from its request to its last frame. After `end` every watch and every
 *  wait ends. */

import { setImmediate } from 'node:timers/promises'
import { LightSignal, quietEnd } from '../base/abort.js'
import { LoopSlice } from '../base/loop-slice.js'
import { defined, invalid } from '../base/shape.js'
import { servedSpan } from '../base/tracing.js'
import { Wakeup } from '../base/wakeup.js'
import { TailraceError, toTailraceError } from '../error.js'
import { type CallFrame, isCallFrame, type RequestFrame } from '../wire/frames.js'
import { type ArgsOf, isWaiting } from '../wire/request.js'
import { errorBodyOf, statusOf } from '../wire/status.js'
import type { read } from '../wire/transaction.js'
import type { Backlog } from './backlogs.js'
import type { ServerContext } from './context.js'
import { Deliveries } from './deliveries.js'
import type { Inbox } from './inbox.js'
import { encodeAnswer, isLong } from './json-answer.js'
import { roundedMs } from './log.js'
import type { Outbox } from './outbox.js'
import type { AskedCall, Call, Routes } from './routes.js'
import { ServedWatch, type WatchPorts, type WatchRequest } from './served-watch.js'
import { Turns } from './turns.js'

/** The largest number of requests of one connection that have no answer yet. Watches are not
 *  counted. One more is EBUSY. */
const requestsMax = 65_536
/** The number of reads of one connection that are answered at the same time; later ones wait. This
 *  bounds the memory that answers take while the client does not read them. */
export const readsMax = 16
/** The cost of looking up one key, in bytes of a turn (`pace.ts`). */
const lookupCost = 1024

/** A request that has no answer yet. */
class PendingCall implements Call {
  readonly id: number
  readonly idempotencyKey: string | undefined
  readonly trace: string | undefined
  readonly idempotencySince: number | undefined
  readonly context: ServerContext
  readonly backlog: Backlog
  readonly #signalOf: (call: PendingCall) => AbortSignal
  canceled = false
  /** Present if it waits. */
  controller: AbortController | undefined
  /** The functions to call after the answer. */
  #after: (() => void)[] | undefined

  constructor(
    { id, idempotencyKey, idempotencySince }: CallFrame,
    { trace, context, backlog }: Pick<PendingCall, 'trace' | 'context' | 'backlog'>,
    signalOf: (call: PendingCall) => AbortSignal,
  ) {
    this.context = context
    this.backlog = backlog
    this.id = id
    this.idempotencyKey = idempotencyKey
    this.trace = trace
    this.idempotencySince = idempotencySince
    this.#signalOf = signalOf
  }

  get signal(): AbortSignal {
    return this.#signalOf(this)
  }

  afterwards(act: () => void): void {
    this.#after ??= []
    this.#after.push(act)
  }

  cancel(): void {
    this.canceled = true
    this.controller?.abort(quietEnd)
  }

  /** Calls what was to be called after the answer. */
  answered(): void {
    if (!this.#after) return
    for (const act of this.#after) void setImmediate().then(act)
  }
}

type RequestPorts = {
  /** Charged for the keys that a read looks up. */
  readonly inbox: Inbox
  /** Takes the frames of all answers. */
  readonly outbox: Outbox
}

/** The requests and watches of one connection. */
export class ServedRequests {
  /** The context of the caller; before one is admitted, that of a caller who may do nothing. */
  #context: ServerContext
  readonly #routes: Routes
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #watches = new Map<number, ServedWatch>()
  readonly #requests = new Map<number, PendingCall>()
  readonly #reads = new Turns(readsMax)
  /** The ports of all watches of the connection. They share one part of the event loop, so that who
   *  opens many watches gets no more. */
  readonly #watchPorts: WatchPorts
  /** The name of the connection in the log, once it stands there. */
  #name: string | undefined
  /** The number of requests that have a controller. */
  #waits = 0
  /** Aborted when the connection has closed. */
  readonly #closed = new LightSignal()
  /** Woken when the last request or watch has sent its last frame. */
  readonly #quiet = new Wakeup()

  constructor(context: ServerContext, routes: Routes, { inbox, outbox }: RequestPorts) {
    this.#context = context
    this.#routes = routes
    this.#inbox = inbox
    this.#outbox = outbox
    const share = context.pace.share()
    const deliveries = new Deliveries({ outbox, share, closed: this.#closed })
    const { meters, traces } = context
    this.#watchPorts = {
      ...{ meters, traces },
      outbox,
      share,
      deliveries,
      ended: (watch) => this.#endWatch(watch),
    }
  }

  /** The number of watches that wait for their client: it gave no credit, or does not read its socket. */
  get behind(): number {
    let count = this.#outbox.full ? this.#watchPorts.deliveries.waiting : 0
    for (const watch of this.#watches.values()) if (watch.isStarved) count++
    return count
  }

  /** Serves later frames with the context of another caller. */
  serve(context: ServerContext): void {
    this.#context = context
  }

  /** Ends all watches, and answers all requests, with an error. The caller closes the connection in this
   *  turn, so that a request that goes on is not answered again. */
  refuse(error: unknown): void {
    for (const watch of [...this.#watches.values()]) watch.abort(error)
    for (const call of this.#requests.values()) {
      this.fail(call.id, error)
      call.controller?.abort(error)
    }
  }

  /** Starts what the frame asks for. `parsed` is the result of `Routes.asked` for this frame, if
   *  the caller has it already. Throws EINVAL (the id is in use, or the request is wrong), E2BIG,
   *  EPERM, EBUSY, and what an answer from memory throws. */
  take(request: Exclude<RequestFrame, { readonly op: 'auth' }>, parsed?: AskedCall): void {
    if (isCallFrame(request)) {
      this.#context.checkRate()
      this.#checkId(request.id)
      this.#call(request, parsed ?? this.#routes.asked(request))
      return
    }
    switch (request.op) {
      case 'credit':
        this.#watches.get(request.id)?.grant(request.bytes)
        return
      case 'cancel':
        this.#cancel(request.id)
        return
      case 'watch':
        this.#context.checkRate()
        this.#checkId(request.id)
        this.#watch(request)
        return
      default:
        request satisfies never
    }
  }

  /** Sends an error frame. A fault of the server also goes to the log. */
  fail(id: number, thrown: unknown, what = 'websocket'): void {
    const error = toTailraceError(thrown)
    const { log } = this.#context
    if (statusOf(error.code) === 500) log.fault(what, thrown, this.#logId(id))
    this.#outbox.send({ id, type: 'error', ...errorBodyOf(error) })
  }

  /** Resolves when every request and watch has sent its last frame. Throws ECANCELED. */
  async settled(signal: AbortSignal): Promise<void> {
    while (this.#watches.size + this.#requests.size > 0) {
      await this.#quiet.wait(this.#quiet.count, signal)
    }
  }

  /** Ends all watches and waits without a frame. The caller has seen the connection close. */
  end(): void {
    this.#closed.abort()
    void this.#endAll()
  }

  /** Works in slices: there may be tens of thousands of watches, and ending each one takes time. It
   *  goes before other long work, since others may wait for the places of these watches. */
  async #endAll(): Promise<void> {
    const watches = [...this.#watches.values()]
    const requests = [...this.#requests.values()]
    this.#watches.clear()
    const ends = [
      ...watches.map((watch) => () => watch.drop()),
      ...requests.map((call) => () => call.cancel()),
    ]
    const slice = new LoopSlice({ urgent: true })
    for (const end of ends) {
      end()
      if (slice.over) await slice.turn()
    }
  }

  /** The number of watches, and of requests that wait. */
  get #open(): number {
    return this.#watches.size + this.#waits
  }

  #watch(request: WatchRequest): void {
    const { activity, store } = this.#context
    activity.checkWaits(this.#open)
    const { id: _id, op: _op, key, credit: _credit, ...options } = request
    const reader = store.watchReader(key, options)
    const watch = new ServedWatch(request, reader, this.#watchPorts)
    this.#watches.set(request.id, watch)
    activity.startWatch(watch)
    watch.start()
  }

  #endWatch(watch: ServedWatch): void {
    this.#context.activity.endWatch(watch)
    // After a cancel a new watch may have the same id.
    if (this.#watches.get(watch.id) === watch) this.#watches.delete(watch.id)
    this.#wakeIfQuiet()
  }

  #cancel(id: number): void {
    this.#watches.get(id)?.cancel()
    this.#requests.get(id)?.cancel()
  }

  #call(frame: CallFrame, asked: AskedCall): void {
    const body = this.#bodyNow(asked)
    if (body === undefined) {
      void this.#answer(frame, asked)
      return
    }
    this.#outbox.send({ id: frame.id, type: 'result', body })
    if (this.#context.log.takes('debug')) this.#logEnd(frame, 'ok', 0)
  }

  /** Returns the id of a request for the log: that of the connection, and that of the frame. */
  #logId(id: number): string {
    this.#name ??= this.#context.requestIds.next()
    return `${this.#name}/${id}`
  }

  #logEnd({ id, op }: CallFrame, outcome: string, ms: number): void {
    const { log, principalId } = this.#context
    const request = this.#logId(id)
    log.request({ way: 'websocket', request, what: op, outcome, ms, token: principalId })
  }

  /** Returns the answer of a read if it is in memory and may be sent now: most reads need no promise
   *  and no place among others. */
  #bodyNow(asked: AskedCall): unknown {
    if (this.#outbox.full) return undefined
    const body = asked.now(this.#context)
    if (body !== undefined) this.#inbox.spend(lookupsOf(asked.args) * lookupCost)
    return body
  }

  /** Answers a request, within a span if the frame names a place in a trace. Never throws. */
  async #answer(frame: CallFrame, asked: AskedCall): Promise<void> {
    const { meter } = asked
    const span = frame.trace === undefined ? undefined : servedSpan(frame.op, frame.trace)
    const call = new PendingCall(
      frame,
      { trace: span?.parent, context: this.#context, backlog: this.#outbox.part },
      this.#signalOf,
    )
    this.#requests.set(call.id, call)
    const timed = meter.begin()
    const begun = this.#context.log.takes('debug') ? performance.now() : undefined
    let outcome = 'ok'
    try {
      await (span ? span.during(() => this.#work(asked, call)) : this.#work(asked, call))
      meter.answer(timed)
    } catch (error) {
      meter.fail(error, timed)
      this.#forget(call)
      this.fail(call.id, error, frame.op)
      outcome = toTailraceError(error).code
    }
    if (begun !== undefined) this.#logEnd(frame, outcome, roundedMs(performance.now() - begun))
    this.#wakeIfQuiet()
    call.answered()
  }

  async #work(asked: AskedCall, call: PendingCall): Promise<void> {
    if (isRead(asked)) await this.#read(asked, call)
    else this.#deliver(call, await asked.run(call))
  }

  #deliver(call: PendingCall, body: unknown): void {
    this.#forget(call)
    this.#outbox.send({ id: call.id, type: 'result', body })
  }

  /** Runs a read in one of the `readsMax` places, because its answer may be long. It keeps the place
   *  until the outbox has the answer: the read that takes the place next must see this answer in the
   *  backlog. */
  async #read(asked: AskedCall, call: PendingCall): Promise<void> {
    const { minSeq, namespace } = asked.args as ArgsOf<typeof read>
    this.#inbox.spend(lookupsOf(asked.args) * lookupCost)
    // A read that waits for a seq takes no place meanwhile.
    if (minSeq !== undefined) {
      const waiting = { waitSeq: minSeq, signal: call.signal }
      await call.context.store.root(defined({ namespace, ...waiting }))
    }
    await this.#reads.run(async () => {
      if (this.#outbox.full) await this.#outbox.drained(this.#closed)
      const body = await asked.run(call)
      const text = this.#outbox.isText && isLong(body) ? await encodeAnswer(body) : undefined
      if (text === undefined) return this.#deliver(call, body)
      this.#forget(call)
      this.#outbox.sendText(call.id, text)
    })
  }

  /** Makes the signal of a request when its handler first asks for it. Only requests that may wait
   *  long ask, so all others need no controller and cannot be canceled. Throws EBUSY. */
  readonly #signalOf = (call: PendingCall): AbortSignal => {
    if (call.controller) return call.controller.signal
    const controller = this.#context.activity.wait(this.#open)
    this.#waits++
    call.controller = controller
    if (call.canceled) controller.abort(quietEnd)
    return controller.signal
  }

  #forget({ id, controller }: PendingCall): void {
    if (controller && this.#requests.has(id)) {
      this.#waits--
      this.#context.activity.giveBack(controller)
    }
    this.#requests.delete(id)
  }

  #wakeIfQuiet(): void {
    if (this.#watches.size + this.#requests.size === 0) this.#quiet.wake()
  }

  /** Throws EINVAL, EBUSY. */
  #checkId(id: number): void {
    if (this.#watches.has(id) || this.#requests.has(id)) {
      throw invalid(`the id ${id} is in use: take another`)
    }
    if (this.#requests.size >= requestsMax) {
      throw new TailraceError('EBUSY', `at most ${requestsMax} requests wait for an answer`)
    }
  }
}

/** True if a request only reads. One that waits for something else than a seq counts as none. */
function isRead({ spec, args }: AskedCall): boolean {
  const { minSeq } = args as ArgsOf<typeof read>
  return spec.right !== 'write' && (minSeq !== undefined || !isWaiting(spec, args))
}

/** Returns the number of keys that a read looks up. */
function lookupsOf({ keys }: Readonly<Record<string, unknown>>): number {
  return Array.isArray(keys) ? keys.length : 1
}
