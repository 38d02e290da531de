/** The incoming messages of one websocket. See rfc/12, rules 22 and 32.
 *  Invariant: messages are handled in order. In one turn of the event loop the messages of all
 *  clients together take no more than the pace allows. A message that is longer than `bodyFreeSize`
 *  has memory of the bodies' budget until it was handled. */

import type { Socket as RawSocket } from 'node:net'
import { TailraceError } from '../error.js'
import { type BodyBudget, type BodyShare, bodyFreeSize } from './body-budget.js'
import type { Pace, Share } from './pace.js'
import type { ServerSocket } from './websocket.js'

/** The cost of a request besides its bytes and the `deliveryCost`, in bytes of a turn: about 40 µs
 *  of work with it. So a turn has about 128 requests at most. */
export const requestCost = 4 * 1024

/** The size of a small frame without its payload, in bytes: its head and its mask. */
const smallFrameHead = 6

/** A reason not to read a socket: its requests wait for their turn, its answers wait for the
 *  client, or the client is refused. */
type Reason = 'requests' | 'answers' | 'refused'

/** Pauses the reading of a socket while there is a reason. */
export class Gate {
  readonly #socket: ServerSocket
  readonly #reasons = new Set<Reason>()

  constructor(socket: ServerSocket) {
    this.#socket = socket
  }

  close(reason: Reason): void {
    this.#reasons.add(reason)
    if (!this.#socket.isPaused) this.#socket.pause()
  }

  open(reason: Reason): void {
    this.#reasons.delete(reason)
    if (this.#reasons.size === 0 && this.#socket.isPaused) this.#socket.resume()
  }
}

type InboxPorts = {
  /** The socket below the websocket. */
  readonly raw: RawSocket
  readonly gate: Gate
  /** The pace of the requests of all websockets together. */
  readonly pace: Pace
  readonly bodies: BodyBudget
  /** Handles a message: at once, or until the promise resolves. The next message waits for it.
   *  Never throws. */
  readonly take: (data: Buffer, isBinary: boolean) => Promise<void> | undefined
  /** Refuses the client with EBUSY: there is no memory for the rest of a message. */
  readonly refuse: (error: unknown) => void
}

type Message = {
  readonly data: Buffer
  readonly isBinary: boolean
  readonly memory: BodyShare | undefined
}

/** The inbox of one websocket. */
export class Inbox {
  readonly #ports: InboxPorts
  readonly #share: Share
  readonly #waiting: Message[] = []
  /** The `bytesRead` of the raw socket at the end of the last message. */
  #whole: number
  /** The memory of the message that is not whole yet. */
  #memory: BodyShare | undefined
  /** The number of bytes that were added to `#memory`. */
  #counted = 0
  #closed = false
  /** True while messages wait for their turn or for the message before. */
  #handling = false

  constructor(socket: ServerSocket, ports: InboxPorts) {
    this.#ports = ports
    this.#share = ports.pace.share()
    const { raw } = ports
    this.#whole = raw.bytesRead
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#receive(data, isBinary))
    // Control frames may come between the fragments of a message, and do not count as its bytes.
    const skip = (data: Buffer) => {
      this.#whole += data.length + smallFrameHead
    }
    socket.on('ping', skip).on('pong', skip)
    // The listener of 'message' has run for whole messages before this one runs.
    const count = () => this.#count(raw.bytesRead - this.#whole)
    raw.on('data', count)
    socket.once('close', () => {
      this.#closed = true
      for (const { memory } of this.#waiting.splice(0)) memory?.[Symbol.dispose]()
      raw.off('data', count)
      this.#release()
    })
  }

  /** Charges the message that is being handled for more work, in bytes of a turn. */
  spend(cost: number): void {
    this.#share.spend(cost)
  }

  #receive(data: Buffer, isBinary: boolean): void {
    this.#whole = this.#ports.raw.bytesRead
    const message = { data, isBinary, memory: this.#memory }
    message.memory?.whileWaiting(undefined)
    this.#memory = undefined
    this.#counted = 0
    if (!this.#handling && this.#share.tryTake()) {
      const taking = this.#take(message)
      if (taking) void this.#handle(taking)
      return
    }
    // The messages of this read are in memory already. The socket is not read until all are
    // handled.
    this.#waiting.push(message)
    if (!this.#handling) void this.#handle()
  }

  async #handle(first?: Promise<void>): Promise<void> {
    this.#handling = true
    this.#ports.gate.close('requests')
    await first
    for (let at = 0; at < this.#waiting.length; at++) {
      if (!this.#share.tryTake()) await this.#share.take()
      const next = this.#waiting[at]
      if (this.#closed || !next) return
      await this.#take(next)
    }
    this.#waiting.length = 0
    this.#handling = false
    this.#ports.gate.open('requests')
  }

  #take({ data, isBinary, memory }: Message): Promise<void> | undefined {
    this.#share.spend(requestCost + data.length)
    const taking = this.#ports.take(data, isBinary)
    if (!memory) return taking
    const giveBack = () => memory[Symbol.dispose]()
    if (taking) return taking.finally(giveBack)
    giveBack()
    return undefined
  }

  #count(size: number): void {
    if (size <= bodyFreeSize || this.#closed) return
    this.#memory ??= this.#ports.bodies.begin()
    try {
      this.#memory.add(size - this.#counted)
      this.#counted = size
      this.#memory.whileWaiting(() => this.#refuse(evicted()))
    } catch (error) {
      this.#refuse(error)
    }
  }

  #refuse(error: unknown): void {
    this.#ports.gate.close('refused')
    this.#ports.refuse(error)
  }

  #release(): void {
    this.#memory?.[Symbol.dispose]()
    this.#memory = undefined
    this.#counted = 0
  }
}

function evicted(): TailraceError {
  const message =
    'others needed the memory of a message that was not whole: connect again, and send it anew'
  return new TailraceError('EBUSY', message)
}
