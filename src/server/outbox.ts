/** Frames on their way to one client. See rfc/12, rules 10 and 11.
 *  Invariant: frames leave in the order of `send`. Whoever has much to send waits for `drained`
 *  first, so that what is held for a slow client is bounded. */

import type { Socket as RawSocket } from 'node:net'
import { Wakeup } from '../base/wakeup.js'
import { canceled } from '../error.js'
import { type ResponseFrame, subprotocol } from '../wire/frames.js'
import { encodeMessage, type Subprotocol, splitFrame, splitSize } from '../wire/messages.js'
import type { Gate } from './inbox.js'
import type { ServerSocket } from './websocket.js'

/** Bytes that may wait in a socket before its watches wait. More is no faster. */
export const backlogSize = 1024 * 1024
/** Frames that may wait in a socket before its watches wait: each small one costs some 1 KiB besides its
 *  bytes. */
export const backlogFramesMax = 1_024
/** Bytes that may wait in all sockets of a server together before those that have a backlog wait. */
export const backlogSumMax = 32 * 1024 * 1024
/** Bytes of answers that may wait before the client's requests are no longer read. */
export const backlogSizeMax = 8 * 1024 * 1024

/** Bytes that wait for all clients of a server together. */
export class BacklogSum {
  #size = 0

  get exceeded(): boolean {
    return this.#size > backlogSumMax
  }

  change(by: number): void {
    this.#size += by
  }
}

export type OutboxPorts = {
  /** The socket below the websocket. */
  readonly raw: RawSocket
  readonly protocol: Subprotocol
  /** Of what the client sends. */
  readonly gate: Gate
  /** Shared by all clients of the server. */
  readonly sum: BacklogSum
}

export class Outbox {
  readonly #socket: ServerSocket
  readonly #raw: RawSocket
  readonly #protocol: Subprotocol
  readonly #gate: Gate
  readonly #sum: BacklogSum
  readonly #moved = new Wakeup()
  #corked = false
  /** Frames since nothing waited: at least as many as wait now. */
  #frames = 0
  /** Our part of the sum. */
  #counted = 0
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

  /** Whether watches must wait. A socket that is full will drain: `drained` hears of it. */
  get full(): boolean {
    if (this.backlog > backlogSize) return true
    // Below its high-water mark a socket holds little, and does not tell when that has left.
    if (!this.#raw.writableNeedDrain) return false
    return this.#frames > backlogFramesMax || this.#sum.exceeded
  }

  /** Bytes that wait for the client. */
  get backlog(): number {
    return this.#socket.bufferedAmount
  }

  /** Whether bytes left since the last call, out of a backlog: a sign of life. */
  takeProgress(): boolean {
    const sent = this.#raw.bytesWritten - this.#raw.writableLength
    const moved = sent > this.#sent && this.#raw.writableLength > 0
    this.#sent = sent
    return moved
  }

  /** Does nothing once the socket is closing. */
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

  /** Resolves when not much waits. Throws ECANCELED. */
  async drained(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw canceled(signal)
    for (;;) {
      const seen = this.#moved.count
      if (!this.full) return
      await this.#moved.wait(seen, signal)
    }
  }

  /** The frames of one turn of the event loop go out in one write. */
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
