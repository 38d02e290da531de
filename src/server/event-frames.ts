/** The frames of watch events, each encoded once for all watches that deliver the event. See rfc/7,
 *  rule 8.
 *  Invariant: an encoding lives as long as its event. */

import type { AppendEvent, ValueEvent } from '../api/watch.js'
import { type SharedFrame, shareFrame } from '../wire/messages.js'

/** An event that watchers of one key may share. */
export type SharedEvent = AppendEvent | ValueEvent

/** The encoded events of a server. */
export class EventFrames {
  readonly #frames = new WeakMap<SharedEvent, SharedFrame>()

  /** Returns the frame of an event. REQUIRES: the event does not change, and its data come last. */
  of(event: SharedEvent): SharedFrame {
    const known = this.#frames.get(event)
    if (known) return known
    const frame = shareFrame(event)
    this.#frames.set(event, frame)
    return frame
  }
}
