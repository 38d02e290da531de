/** Messages of one websocket on their way in. See rfc/12, rules 22 and 32.
 *  Invariant: messages are handled in their order, and in one turn of the event loop no more of them, of all
 *  clients together, than the pace allows. A message has its memory of that of the bodies until it was taken. */

import type { Socket as RawSocket } from 'node:net'
import { TailraceError } from '../error.js'
import { type BodyBudget, type BodyShare, bodyFreeSize, evictedMs } from './body-budget.js'
import type { Pace, Share } from './pace.js'
import type { ServerSocket } from './websocket.js'

/** Cost of a request besides its bytes and that of a delivery: some 80 µs of work. So a turn has at most
 *  some 50 of them. */
export const requestCost = 16 * 1024

/** Bytes of a small frame besides its payload: its head and its mask. */
const smallFrameHead = 6

/** Why a socket is not read: its requests wait for their turn, its answers for their reader, or it is refused. */
type Reason = 'requests' | 'answers' | 'refused'

/** Whether a socket is read: while there is no reason not to. */
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

export type InboxPorts = {
  readonly raw: RawSocket
  readonly gate: Gate
  /** Of the requests of all websockets. */
  readonly pace: Pace
  readonly bodies: BodyBudget
  /** Takes a message, at once or in several turns; the next one waits until it is taken. Never throws. */
  readonly take: (data: Buffer, isBinary: boolean) => Promise<void> | undefined
  /** Too much memory is taken by what is not whole yet: EBUSY. */
  readonly refuse: (error: unknown) => void
}

type Message = {
  readonly data: Buffer
  readonly isBinary: boolean
  readonly memory: BodyShare | undefined
}

export class Inbox {
  readonly #ports: InboxPorts
  readonly #share: Share
  readonly #waiting: Message[] = []
  /** `bytesRead` of the raw socket when the last message was whole. */
  #whole: number
  #memory: BodyShare | undefined
  /** Bytes that `#memory` knows of. */
  #counted = 0
  #closed = false
  /** Messages wait for their turn, or for the one before. */
  #handling = false

  constructor(socket: ServerSocket, ports: InboxPorts) {
    this.#ports = ports
    this.#share = ports.pace.share()
    const { raw } = ports
    this.#whole = raw.bytesRead
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#receive(data, isBinary))
    // They may stand between the parts of a message, and are none.
    const skip = (data: Buffer) => {
      this.#whole += data.length + smallFrameHead
    }
    socket.on('ping', skip).on('pong', skip)
    // Whole messages are handled before this.
    const count = () => this.#count(raw.bytesRead - this.#whole)
    raw.on('data', count)
    socket.once('close', () => {
      this.#closed = true
      for (const { memory } of this.#waiting.splice(0)) memory?.[Symbol.dispose]()
      raw.off('data', count)
      this.#release()
    })
  }

  /** The message that is handled costs more than its bytes. */
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
    // What came with it is in memory already; nothing more is read until all of it was handled.
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
      this.#memory.whileWaiting(() => this.#refuse(stoodStill()))
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

function stoodStill(): TailraceError {
  const message = `nothing came of a message for ${evictedMs} ms while others needed its memory: connect again, and send it anew`
  return new TailraceError('EBUSY', message)
}
