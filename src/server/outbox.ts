/** The outgoing frames of one websocket. See rfc/12, rules 10, 11, 15 and 22.
 *  Invariant: frames leave in the order of `send`, and at the latest when the event loop has run all
 *  that is ready: those of that time leave with one write. Watches and reads wait for `drained`
 *  before they send, so that the memory that a slow client takes is bounded. */

import type { Socket as RawSocket } from 'node:net'
import type { Signal } from '../base/abort.js'
import { Wakeup } from '../base/wakeup.js'
import { blobSizeMax } from '../blob/blob.js'
import { canceled } from '../error.js'
import { type ResponseFrame, subprotocol } from '../wire/frames.js'
import { encodeMessage, packWithRoom, type Subprotocol } from '../wire/messages.js'
import { type Backlog, type Backlogs, smallSize } from './backlogs.js'
import { type EventFrames, type SharedEvent, traced } from './event-frames.js'
import type { Gate } from './inbox.js'
import { messageHead, messageHeadMax } from './message-head.js'
import type { ServerSocket } from './websocket.js'

/** The size of a piece, in bytes, from which it is not copied into the write of its turn: below it a
 *  copy is cheaper than another buffer for the system call. */
const copiedSizeMax = 2 * 1024

/** The number of bytes that may wait in a socket before its watches wait. A larger one is no
 *  faster. */
export const backlogSize = 1024 * 1024
/** The number of frames that may wait in a socket before its watches wait: one that was written
 *  alone takes about 1 KiB of memory besides its bytes. */
export const backlogFramesMax = 1_024
/** The number of bytes that may wait in a socket before the server reads no more requests from
 *  it. */
const backlogSizeMax = 8 * 1024 * 1024

type OutboxPorts = {
  /** The socket below the websocket. */
  readonly raw: RawSocket
  readonly protocol: Subprotocol
  /** The gate of the requests of this client. */
  readonly gate: Gate
  /** The backlogs of all clients of the server. */
  readonly backlogs: Backlogs
  /** The encoded events of the server. */
  readonly events: EventFrames
}

/** The outbox of one websocket. Mutable; shared by its requests and watches. */
export class Outbox {
  readonly #socket: ServerSocket
  readonly #raw: RawSocket
  readonly #protocol: Subprotocol
  readonly #gate: Gate
  readonly #backlogs: Backlogs
  /** The part of this outbox in `#backlogs`. */
  readonly #part: Backlog
  readonly #events: EventFrames
  /** Woken when the socket has drained. */
  readonly #moved = new Wakeup()
  /** The bytes of this turn's frames, in order. */
  #pieces: Uint8Array[] = []
  /** Called once the bytes of these frames are not needed any more. */
  #onDone: (() => void)[] = []
  /** The sum of their sizes. */
  #size = 0
  /** The number of frames since the socket was empty: at least as many as wait now. */
  #frames = 0
  /** True unless the last frame was small: the next one is likely to be large, too. */
  #isLarge = true
  /** The number of bytes that had left the process at the last `takeProgress`. */
  #sent = 0

  constructor(socket: ServerSocket, { raw, protocol, gate, backlogs, events }: OutboxPorts) {
    this.#socket = socket
    this.#raw = raw
    this.#protocol = protocol
    this.#gate = gate
    this.#backlogs = backlogs
    this.#part = backlogs.begin(() => socket.terminate())
    this.#events = events
    raw.on('drain', () => this.#drain())
    raw.on('close', () => this.#part.end())
  }

  /** True if watches and reads must wait. A socket that is full drains later, or gets memory, and then
   *  `drained` resolves. */
  get full(): boolean {
    return this.#isBehind || (this.#isLarge && this.#backlogs.spent)
  }

  /** True if the client has to read before more is sent. */
  get #isBehind(): boolean {
    if (this.backlog > backlogSize) return true
    // Below its high-water mark a socket holds little, and emits no 'drain' to wait for.
    if (!this.#raw.writableNeedDrain) return false
    return this.#frames > backlogFramesMax || this.#backlogs.exceeded
  }

  /** True if frames are JSON in text messages. */
  get isText(): boolean {
    return this.#protocol !== subprotocol
  }

  /** The number of bytes that wait to be sent. */
  get backlog(): number {
    return this.#size + this.#socket.bufferedAmount
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
    if (!this.#begin()) return
    if (this.#protocol === subprotocol) {
      const packed = packWithRoom(frame, messageHeadMax)
      const head = messageHead(packed, packed.length - messageHeadMax, 'binary')
      this.#push(packed.subarray(head))
    } else {
      this.#pushText([Buffer.from(encodeMessage(frame, this.#protocol))])
    }
    this.#added()
  }

  /** Sends the answer of a request whose body was encoded in JSON already. REQUIRES: `isText`. */
  sendText(id: number, body: Uint8Array): void {
    if (!this.#begin()) return
    const before = Buffer.from(`{"id":${id},"type":"result","body":`)
    this.#pushText([before, body, Buffer.from('}')])
    this.#added()
  }

  /** Sends an event of a watch. It is encoded once for all watches that send it. `done` is called when
   *  its bytes are not needed here any more: they have left this process, or the socket has let go of
   *  them. It may never be called. */
  sendEvent(
    event: SharedEvent,
    id: number,
    { trace, done }: { readonly trace?: string | undefined; readonly done?: () => void } = {},
  ): void {
    if (this.#protocol !== subprotocol) {
      this.send({ id, ...(trace === undefined ? event : traced(event, trace)) })
      return
    }
    if (!this.#begin()) return
    const encoded = this.#events.of(event, trace)
    for (const piece of encoded.message(id)) this.#push(piece)
    if (done && encoded.data.length > 0) this.#onDone.push(done)
    this.#added()
  }

  /** Writes the frames of this turn now. Call it before the websocket sends a frame of its own that
   *  must come behind them. */
  flush(): void {
    const pieces = this.#pieces
    if (pieces.length === 0) return
    const size = this.#size
    const onDone = this.#onDone
    this.#pieces = []
    this.#size = 0
    this.#onDone = []
    // Behind a close frame no data may follow.
    if (!this.#isOpen) return
    const written = (error?: Error | null) => {
      if (!error) for (const done of onDone) done()
    }
    writeJoined(this.#raw, { pieces, size }, onDone.length > 0 ? written : undefined)
    this.#isLarge = size > smallSize
    this.#part.set(this.#raw.writableNeedDrain ? this.backlog : 0)
  }

  /** The part of this connection in the backlogs of the server. */
  get part(): Backlog {
    return this.#part
  }

  /** Resolves when the outbox is not full. Throws ECANCELED; also if the connection was ended, or ends. */
  async drained(signal: Signal): Promise<void> {
    if (signal.aborted) throw canceled(signal)
    for (;;) {
      const seen = this.#moved.count
      if (!this.full) return
      if (this.#isBehind) await this.#moved.wait(seen, signal)
      else await this.#part.room(blobSizeMax)
    }
  }

  get #isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN
  }

  /** Counts a frame. Returns false if the socket takes none any more. */
  #begin(): boolean {
    if (!this.#isOpen) return false
    if (this.backlog === 0) this.#frames = 0
    this.#frames++
    return true
  }

  /** Stops the reading of requests if too much waits now. */
  #added(): void {
    if (this.backlog > backlogSizeMax) this.#gate.close('answers')
  }

  #pushText(parts: readonly Uint8Array[]): void {
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    const head = new Uint8Array(messageHeadMax)
    this.#push(head.subarray(messageHead(head, length, 'text')))
    for (const part of parts) this.#push(part)
  }

  #push(piece: Uint8Array): void {
    if (this.#pieces.length === 0) process.nextTick(() => this.flush())
    this.#pieces.push(piece)
    this.#size += piece.length
  }

  #drain(): void {
    this.#part.set(0)
    this.#gate.open('answers')
    this.#moved.wake()
  }
}

/** Writes pieces with one system call. Small ones are copied into one buffer, large ones stand
 *  beside it as they are. */
function writeJoined(
  raw: RawSocket,
  { pieces, size }: { readonly pieces: readonly Uint8Array[]; readonly size: number },
  written: ((error?: Error | null) => void) | undefined,
): void {
  const [only] = pieces
  if (only && pieces.length === 1) {
    raw.write(only, written)
    return
  }
  const large = pieces.reduce((sum, { length }) => sum + (length > copiedSizeMax ? length : 0), 0)
  const joined = Buffer.allocUnsafe(size - large)
  raw.cork()
  let begin = 0
  let end = 0
  let unwritten: Uint8Array | undefined
  const write = (next: Uint8Array | undefined) => {
    if (unwritten && next) raw.write(unwritten)
    else if (unwritten) raw.write(unwritten, written) // the last one
    unwritten = next
  }
  for (const piece of pieces) {
    if (piece.length <= copiedSizeMax) {
      joined.set(piece, end)
      end += piece.length
      continue
    }
    if (begin < end) write(joined.subarray(begin, end))
    begin = end
    write(piece)
  }
  if (begin < end) write(joined.subarray(begin, end))
  write(undefined)
  raw.uncork()
}
