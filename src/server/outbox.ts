/** The outgoing frames of one websocket. See rfc/12, rules 10, 11 and 22.
 *  Invariant: frames leave in the order of `send`. Watches and reads wait for `drained` before they
 *  send, so that the memory that a slow client takes is bounded. */

import type { Socket as RawSocket } from 'node:net'
import { Wakeup } from '../base/wakeup.js'
import { canceled } from '../error.js'
import { type ResponseFrame, subprotocol } from '../wire/frames.js'
import { encodeMessage, type Subprotocol, splitFrame, splitSize } from '../wire/messages.js'
import type { Gate } from './inbox.js'
import type { ServerSocket } from './websocket.js'

/** The number of bytes that may wait in a socket before its watches wait. A larger one is no
 *  faster. */
export const backlogSize = 1024 * 1024
/** The number of frames that may wait in a socket before its watches wait: each takes about 1 KiB
 *  of memory besides its bytes. */
export const backlogFramesMax = 1_024
/** The number of bytes that may wait in all sockets of a server together before the watches of each
 *  socket with a backlog wait. */
const backlogSumMax = 32 * 1024 * 1024
/** The number of bytes that may wait in a socket before the server reads no more requests from
 *  it. */
const backlogSizeMax = 8 * 1024 * 1024

/** The number of bytes that wait in all sockets of a server. Mutable; each outbox adds its part. */
export class BacklogSum {
  #size = 0

  /** True if more than `backlogSumMax` bytes wait. */
  get exceeded(): boolean {
    return this.#size > backlogSumMax
  }

  /** Adds `by` bytes; negative if bytes have left. */
  change(by: number): void {
    this.#size += by
  }
}

type OutboxPorts = {
  /** The socket below the websocket. */
  readonly raw: RawSocket
  readonly protocol: Subprotocol
  /** The gate of the requests of this client. */
  readonly gate: Gate
  /** The sum that all clients of the server share. */
  readonly sum: BacklogSum
}

/** The outbox of one websocket. Mutable; shared by its requests and watches. */
export class Outbox {
  readonly #socket: ServerSocket
  readonly #raw: RawSocket
  readonly #protocol: Subprotocol
  readonly #gate: Gate
  readonly #sum: BacklogSum
  /** Woken when the socket has drained. */
  readonly #moved = new Wakeup()
  #corked = false
  /** The number of frames since the socket was empty: at least as many as wait now. */
  #frames = 0
  /** The part of this outbox in `#sum`, in bytes. */
  #counted = 0
  /** The number of bytes that had left the process at the last `takeProgress`. */
  #sent = 0

  constructor(socket: ServerSocket, { raw, protocol, gate, sum }: OutboxPorts) {
    this.#socket = socket
    this.#raw = raw
    this.#protocol = protocol
    this.#gate = gate
    this.#sum = sum
    raw.on('drain', () => this.#drain())
    raw.on('close', () => this.#count(0))
  }

  /** True if watches must wait. A socket that is full drains later, and then `drained` resolves. */
  get full(): boolean {
    if (this.backlog > backlogSize) return true
    // Below its high-water mark a socket holds little, and emits no 'drain' to wait for.
    if (!this.#raw.writableNeedDrain) return false
    return this.#frames > backlogFramesMax || this.#sum.exceeded
  }

  /** The number of bytes that wait to be sent. */
  get backlog(): number {
    return this.#socket.bufferedAmount
  }

  /** Returns true if bytes of a backlog have left since the last call: the client is alive. */
  takeProgress(): boolean {
    const sent = this.#raw.bytesWritten - this.#raw.writableLength
    const moved = sent > this.#sent && this.#raw.writableLength > 0
    this.#sent = sent
    return moved
  }

  /** Sends a frame. Does nothing once the socket is closing. */
  send(frame: ResponseFrame): void {
    const socket = this.#socket
    if (socket.readyState !== socket.OPEN) return
    if (this.backlog === 0) this.#frames = 0
    this.#frames++
    this.#cork()
    const binary = this.#protocol === subprotocol
    const data = 'data' in frame ? frame.data : undefined
    if (binary && data && data.length >= splitSize) {
      const [head] = splitFrame(frame)
      socket.send(head, { binary, fin: false })
      socket.send(data, { binary, fin: true })
    } else {
      socket.send(encodeMessage(frame, this.#protocol), { binary })
    }
    if (this.backlog > backlogSizeMax) this.#gate.close('answers')
  }

  /** Resolves when the outbox is not full. Throws ECANCELED. */
  async drained(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw canceled(signal)
    for (;;) {
      const seen = this.#moved.count
      if (!this.full) return
      await this.#moved.wait(seen, signal)
    }
  }

  /** Joins the frames of one turn of the event loop in one write. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#raw.cork()
    process.nextTick(() => {
      this.#corked = false
      this.#raw.uncork()
      this.#count(this.#raw.writableNeedDrain ? this.backlog : 0)
    })
  }

  #count(size: number): void {
    this.#sum.change(size - this.#counted)
    this.#counted = size
  }

  #drain(): void {
    this.#count(0)
    this.#gate.open('answers')
    this.#moved.wake()
  }
}
