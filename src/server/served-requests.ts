/** The requests and watches of one websocket: answers go out in any order, by id. See rfc/12,
 *  rules 10 to 12.
 *  Invariant: an id is in use from its request to its last frame. After `end` every watch and every
 *  wait ends. */

import { setImmediate } from 'node:timers/promises'
import { LoopSlice } from '../base/loop-slice.js'
import { defined, invalid } from '../base/shape.js'
import { Wakeup } from '../base/wakeup.js'
import { TailraceError, toTailraceError } from '../error.js'
import { type CallFrame, isCallFrame, type RequestFrame } from '../wire/frames.js'
import { type ArgsOf, isWaiting } from '../wire/request.js'
import { errorBodyOf } from '../wire/status.js'
import type { read } from '../wire/transaction.js'
import type { ServerContext } from './context.js'
import type { Inbox } from './inbox.js'
import type { Outbox } from './outbox.js'
import { Flow } from './pace.js'
import type { AskedCall, Call, Routes } from './routes.js'
import { ServedWatch, type WatchRequest } from './served-watch.js'
import { Turns } from './turns.js'

/** The largest number of requests of one connection that have no answer yet. Watches are not
 *  counted. One more is EBUSY. */
const requestsMax = 65_536
/** The number of reads of one connection that are answered at the same time; later ones wait. This
 *  bounds the memory that answers take while the client does not read them. */
export const readsMax = 16
/** The cost of looking up one key, in bytes of a turn (`pace.ts`). */
const lookupCost = 1024

/** A request that has no answer yet. It has a controller if it waits. */
type Pending = { canceled: boolean; controller: AbortController | undefined }

type RequestPorts = {
  /** Charged for the keys that a read looks up. */
  readonly inbox: Inbox
  /** Takes the frames of all answers. */
  readonly outbox: Outbox
}

/** The requests and watches of one connection. */
export class ServedRequests {
  readonly #context: ServerContext
  readonly #routes: Routes
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #watches = new Map<number, ServedWatch>()
  readonly #requests = new Map<number, Pending>()
  readonly #reads = new Turns(readsMax)
  /** The account of all watches of the connection. */
  readonly #flow = new Flow()
  /** The number of requests that have a controller. */
  #waits = 0
  /** Aborted when the connection has closed. */
  readonly #closed = new AbortController()
  /** Woken when the last request or watch has sent its last frame. */
  readonly #quiet = new Wakeup()

  constructor(context: ServerContext, routes: Routes, { inbox, outbox }: RequestPorts) {
    this.#context = context
    this.#routes = routes
    this.#inbox = inbox
    this.#outbox = outbox
  }

  /** Starts what the frame asks for. `parsed` is the result of `Routes.asked` for this frame, if
   *  the caller has it already. Throws EINVAL (the id is in use), EBUSY. */
  take(request: Exclude<RequestFrame, { readonly op: 'auth' }>, parsed?: AskedCall): void {
    if (isCallFrame(request)) {
      this.#checkId(request.id)
      void this.#answer(request.id, request, parsed)
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
        this.#checkId(request.id)
        this.#watch(request)
        return
      default:
        request satisfies never
    }
  }

  /** Sends an error frame. A fault of the server also goes to the log. */
  fail(id: number, thrown: unknown): void {
    const error = toTailraceError(thrown)
    this.#context.log.fault('websocket', thrown)
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
      ...requests.map((pending) => () => cancel(pending)),
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
    const controller = activity.wait(this.#open)
    const counted = activity.beginWatch()
    const watch = new ServedWatch(request, this.#outbox, {
      controller,
      share: this.#context.pace.share(this.#flow),
    })
    this.#watches.set(request.id, watch)
    const finish = () => {
      counted.end()
      activity.giveBack(controller)
      // After a cancel a new watch may have the same id.
      if (this.#watches.get(request.id) === watch) this.#watches.delete(request.id)
      this.#wakeIfQuiet()
    }
    // `run` never throws: it sends an error as the last frame of the watch.
    void watch.run(store).finally(finish)
  }

  #cancel(id: number): void {
    const watch = this.#watches.get(id)
    this.#watches.delete(id)
    watch?.cancel()
    const pending = this.#requests.get(id)
    if (pending) cancel(pending)
  }

  async #answer(id: number, frame: CallFrame, parsed: AskedCall | undefined): Promise<void> {
    const pending: Pending = { canceled: false, controller: undefined }
    const after: (() => void)[] = []
    const signalOf = () => this.#signalOf(pending)
    this.#requests.set(id, pending)
    try {
      const call: Call = {
        ...defined({ idempotencyKey: frame.idempotencyKey }),
        get signal() {
          return signalOf()
        },
        afterwards: (act) => after.push(act),
      }
      await this.#run(parsed ?? this.#routes.asked(frame), call, (body) => {
        this.#forget(id)
        this.#outbox.send({ id, type: 'result', body })
      })
    } catch (error) {
      this.#forget(id)
      this.fail(id, error)
    }
    this.#wakeIfQuiet()
    for (const act of after) void setImmediate().then(act)
  }

  /** Runs writes and waits at once. A read waits for one of the `readsMax` places, because its
   *  answer may be long. It keeps the place until `deliver` has handed the answer to the outbox:
   *  the read that takes the place next must see this answer in the backlog. */
  async #run(asked: AskedCall, call: Call, deliver: (body: unknown) => void): Promise<void> {
    const { spec, args } = asked
    const waits = isWaiting(spec, args)
    const { minSeq, namespace } = args as ArgsOf<typeof read>
    if (spec.right === 'write' || (waits && minSeq === undefined)) {
      deliver(await asked.run(call))
      return
    }
    this.#inbox.spend(lookupsOf(args) * lookupCost)
    // A read that waits for a seq takes no place meanwhile.
    if (waits)
      await this.#context.store.root(defined({ namespace, waitSeq: minSeq, signal: call.signal }))
    await this.#reads.run(async () => {
      await this.#outbox.drained(this.#closed.signal)
      deliver(await asked.run(call))
    })
  }

  /** Makes the signal of a request when its handler first asks for it. Only requests that may wait
   *  long ask, so all others need no controller and cannot be canceled. Throws EBUSY. */
  #signalOf(pending: Pending): AbortSignal {
    if (pending.controller) return pending.controller.signal
    const controller = this.#context.activity.wait(this.#open)
    this.#waits++
    pending.controller = controller
    if (pending.canceled) controller.abort()
    return controller.signal
  }

  #forget(id: number): void {
    const controller = this.#requests.get(id)?.controller
    if (controller) {
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

function cancel(pending: Pending): void {
  pending.canceled = true
  pending.controller?.abort()
}

/** Returns the number of keys that a read looks up. */
function lookupsOf({ keys }: Readonly<Record<string, unknown>>): number {
  return Array.isArray(keys) ? keys.length : 1
}
