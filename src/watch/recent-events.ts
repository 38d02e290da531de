/** The newest events of append keys, which all watchers of a key share: each event is made once, so
 *  that those who deliver it can encode it once. See rfc/7, rules 8 and 14.
 *  Invariant: nothing is loaded here. All events that are kept have at most `recentSizeMax` bytes;
 *  those that were made first go first. */

import type { AppendEvent } from '../api/watch.js'
import type { Content } from '../content/content.js'
import { type AppendArray, emptyArray, pushBlob } from '../tree/array.js'
import { type ArrayEntry, peekBlob } from '../tree/array-read.js'
import { hashOnly, type Nodes } from '../tree/nodes.js'
import type { KeyHistory } from './history.js'

/** The largest size of all events that are kept, in bytes. */
const recentSizeMax = 4 * 1024 * 1024
/** The memory of an event besides its bytes, in bytes. */
const eventCost = 1_024

/** An event, and the array of all blobs up to it, which the position of the next one needs. */
export type RecentEvent = { readonly event: AppendEvent; readonly array: AppendArray }

type RecentPorts = { readonly content: Content; readonly nodes: Nodes }

/** The events of all histories of a store. Mutable; owned by the watch service. */
export class RecentEvents {
  readonly #ports: RecentPorts
  /** The events of each history that has several readers, by index. */
  readonly #histories = new Map<KeyHistory, Map<number, RecentEvent>>()
  /** All these events, the oldest first, each with its history. */
  readonly #kept = new Map<RecentEvent, KeyHistory>()
  #size = 0

  constructor(ports: RecentPorts) {
    this.#ports = ports
  }

  /** Returns the event of a blob at the newest root of its history, without a load. `before`: the
   *  array of the blobs before it, if the caller has it. Undefined if something that it needs is not
   *  in memory. Throws ECORRUPT. */
  peek(
    history: KeyHistory,
    index: number,
    before: AppendArray | undefined,
  ): RecentEvent | undefined {
    const recent = this.#histories.get(history)
    const known = recent?.get(index)
    if (known && known.event.seq === history.seq) return known
    const { content, nodes } = this.#ports
    const { array, inline } = history
    const entry = peekBlob(nodes, array, index)
    const data = entry && ((index === 0 ? inline : undefined) ?? content.peek(entry.ref))
    if (!data) return undefined
    const own = before?.count === index ? before : recent?.get(index - 1)?.array
    const after = arrayWith(array, entry, own)
    if (!after) return undefined
    const made = { event: eventOf(history, { entry, data, after }), array: after }
    if (history.readers > 1) this.#keep(history, made)
    return made
  }

  /** Drops the events of a history that nobody reads any more. */
  forget(history: KeyHistory): void {
    for (const made of this.#histories.get(history)?.values() ?? []) this.#drop(made)
    this.#histories.delete(history)
  }

  #keep(history: KeyHistory, made: RecentEvent): void {
    const { index } = made.event
    const recent = this.#histories.get(history) ?? new Map<number, RecentEvent>()
    this.#histories.set(history, recent)
    const before = recent.get(index)
    if (before) this.#drop(before)
    recent.set(index, made)
    this.#kept.set(made, history)
    this.#size += costOf(made)
    for (const [oldest, its] of this.#kept) {
      if (this.#size <= recentSizeMax) return
      this.#histories.get(its)?.delete(oldest.event.index)
      this.#drop(oldest)
    }
  }

  #drop(made: RecentEvent): void {
    if (this.#kept.delete(made)) this.#size -= costOf(made)
  }
}

/** Returns the array of all blobs up to `entry`. `before`: that of the blobs before it. Undefined if
 *  neither is known. */
function arrayWith(
  array: AppendArray,
  entry: ArrayEntry,
  before: AppendArray | undefined,
): AppendArray | undefined {
  if (entry.index + 1 === array.count) return array
  const known = entry.index === 0 ? emptyArray : before
  return known && pushBlob(hashOnly, known, entry)
}

/** Makes the event of a blob. `after`: the array of all blobs up to it. */
export function eventOf(
  history: KeyHistory,
  blob: { readonly entry: ArrayEntry; readonly data: Uint8Array; readonly after: AppendArray },
  seq = history.seq,
): AppendEvent {
  const { entry, data, after } = blob
  const { index, offset, more } = entry
  const count = index + 1
  const prefix = history.prefix(count, () => after)
  const position = { incarnation: history.incarnation, index: count, prefix }
  const event = { type: 'append', index, offset, seq, position } as const
  return more ? { ...event, more, data } : { ...event, data }
}

function costOf({ event }: RecentEvent): number {
  return event.data.length + eventCost
}
