/** The frames of watch events, each encoded once for all watches that deliver the event. See rfc/7,
 *  rule 8.
 *  Invariant: an encoding lives as long as its event. */

import type { AppendEvent, ValueEvent } from '../api/watch.js'
import { headOfShared, type SharedFrame, shareFrame } from '../wire/messages.js'
import { messageHead, messageHeadMax } from './message-head.js'

/** An event that watchers of one key may share. */
export type SharedEvent = AppendEvent | ValueEvent

/** The largest data of an event whose message is kept whole, in bytes: of a larger one the parts
 *  before the data cost little beside it. */
const wholeSizeMax = 16 * 1024

/** The encoded events of a server. */
export class EventFrames {
  readonly #frames = new WeakMap<SharedEvent, EncodedEvent>()

  /** Returns the encoding of an event, with its place in a trace if the first call has one. REQUIRES: the
   *  event does not change, and its data come last. */
  of(event: SharedEvent, trace?: string): EncodedEvent {
    const known = this.#frames.get(event)
    if (known) return known
    const encoded = new EncodedEvent(shareFrame(trace === undefined ? event : traced(event, trace)))
    this.#frames.set(event, encoded)
    return encoded
  }
}

/** Returns an event with its place in a trace, before its data. */
export function traced(event: SharedEvent, trace: string): SharedEvent {
  if (event.data === undefined) return { ...event, trace }
  const { data, ...head } = event
  return { ...head, trace, data } as SharedEvent
}

/** One event, encoded. */
export class EncodedEvent {
  readonly #frame: SharedFrame
  /** The id for which it was asked first: programs that watch alike have one id. */
  #id: number | undefined
  /** The whole message under that id, once it was asked for again. */
  #whole: readonly [Uint8Array] | undefined

  constructor(frame: SharedFrame) {
    this.#frame = frame
  }

  /** The bytes of the event's data. */
  get data(): Uint8Array {
    return this.#frame.data
  }

  /** Returns the pieces of the message of a websocket, under an id. Nobody writes to them. */
  message(id: number): readonly Uint8Array[] {
    if (id !== this.#id) {
      this.#id ??= id
      return this.#pieces(id)
    }
    if (this.data.length > wholeSizeMax) return this.#pieces(id)
    this.#whole ??= [joined(this.#pieces(id))]
    return this.#whole
  }

  #pieces(id: number): Uint8Array[] {
    const { tail, data } = this.#frame
    const head = headOfShared(this.#frame, id, messageHeadMax)
    const length = head.length - messageHeadMax + tail.length + data.length
    const begin = head.subarray(messageHead(head, length, 'binary'))
    return data.length > 0 ? [begin, tail, data] : [begin, tail]
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
