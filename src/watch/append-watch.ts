/** One append watcher: a position in a history, and nothing else. See rfc/7, rules 1, 5, 6, 8, 10
 *  and 17.
 *  Invariant: each blob from the start on is delivered once and in order. Then comes the end of the
 *  history, its error, or ECOMPACTED if a trim overtook the watcher. No byte of another history is
 *  delivered, no blob is left out, and no blob is loaded before it is asked for. */

import type { AppendEvent, From, Position, WatchEvent } from '../api/watch.js'
import type { Signal } from '../base/abort.js'
import type { Blobref } from '../blob/blobref.js'
import { type Content, cacheSizeDefault } from '../content/content.js'
import { isCode, TailraceError } from '../error.js'
import { type AppendArray, arrayRef, pushBlob } from '../tree/array.js'
import {
  type ArrayEntry,
  blobAt,
  indexAtOffset,
  peekBlob,
  truncateArray,
} from '../tree/array-read.js'
import { hashOnly, type Nodes } from '../tree/nodes.js'
import type { AppendKey } from './append-key.js'
import type { KeyHistory } from './history.js'
import { eventOf, type RecentEvents } from './recent-events.js'

/** The ports of append watches. */
export type AppendWatchPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly recent: RecentEvents
  readonly monotonic: () => number
}

type AppendWatchOptions = {
  readonly from: From | undefined
  readonly waitCreate: boolean
  /** Ends the watch. */
  readonly signal: Signal
}

/** An append watch. Mutable; owned by the one who asks for its events, one after the other. */
export class AppendWatch implements Disposable {
  readonly #ports: AppendWatchPorts
  readonly #appendKey: AppendKey
  readonly #options: AppendWatchOptions
  /** True if the watch waits for its key. Undefined before the first event was asked for. */
  #waits: boolean | undefined
  /** The history that it reads, and the end of the reading. */
  #history: KeyHistory | undefined
  #reading: Disposable | undefined
  /** The index of the next blob. */
  #index = 0
  /** The number of blobs that were there when the watch began: `live` comes behind them. */
  #startCount = 0
  /** True once `live` was delivered. */
  #live = false
  #ended = false
  /** The array of all blobs up to the last one that was read. It saves a look at the nodes when
   *  the position after the next blob is computed. */
  #walked: AppendArray | undefined

  constructor(ports: AppendWatchPorts, appendKey: AppendKey, options: AppendWatchOptions) {
    this.#ports = ports
    this.#appendKey = appendKey
    this.#options = options
  }

  /** Returns the next event if it is an append that is in memory; undefined for all else, which
   *  `next` gives. Throws ECORRUPT. */
  take(): AppendEvent | undefined {
    const history = this.#history
    if (!history || history.ended || this.#isLiveNext) return undefined
    const index = this.#index
    if (index >= history.array.count || index < history.base.count) return undefined
    const found = this.#ports.recent.peek(history, index, this.#walked)
    if (!found) return undefined
    this.#index = index + 1
    this.#walked = found.array
    return found.event
  }

  /** Resolves with the next event; undefined once the last one was given. Throws ENOENT, ENONS,
   *  EISDIR, EOVERWRITTEN, ECOMPACTED, ECLOSED, ECANCELED, and what a load throws. */
  async next(): Promise<WatchEvent | undefined> {
    if (this.#ended) return undefined
    if (this.#waits === undefined) {
      this.#waits = await this.#isAwaited()
      // `live` comes before the wait, since the program that creates the key may wait for it.
      this.#live = this.#waits
      if (this.#waits) return { type: 'live' }
    }
    const history = this.#history ?? (await this.#begin(this.#waits))
    for (;;) {
      const seen = history.moved.count
      const { array, seq } = history
      if (this.#index < history.base.count) await this.#checkAboveBase(history, this.#index)
      if (this.#isLiveNext) {
        this.#live = true
        const count = Math.min(this.#index, array.count)
        return { type: 'live', position: await this.#position(history, count) }
      }
      if (this.#index < array.count) return this.take() ?? (await this.#load(history, array, seq))
      if (history.moved.count !== seen) continue
      if (history.sealed) {
        this.#ended = true
        const position = await this.#position(history, array.count)
        return { type: 'end', reason: 'sealed', position }
      }
      if (history.error) throw history.error
      await history.moved.wait(seen, this.#options.signal)
    }
  }

  /** Calls `wake` once its history moves; see `WatchReader.rest`. Returns what takes that back; undefined
   *  where `next` must be asked now. */
  rest(wake: () => void): (() => void) | undefined {
    const history = this.#history
    if (!history || this.#ended || history.ended || history.sealed) return undefined
    const isAtEnd = this.#index === history.array.count && !this.#isLiveNext
    return isAtEnd ? history.moved.onWake(wake) : undefined
  }

  /** Says that nobody needs an event's bytes any more; see `WatchReader.release`. */
  release(event: AppendEvent): void {
    this.#ports.content.giveBack(event.data)
  }

  /** Lets go of the history. */
  [Symbol.dispose](): void {
    this.#ended = true
    this.#reading?.[Symbol.dispose]()
    this.#reading = undefined
    if (this.#history?.readers === 0) this.#ports.recent.forget(this.#history)
  }

  get #isLiveNext(): boolean {
    return !this.#live && this.#index >= this.#startCount
  }

  async #isAwaited(): Promise<boolean> {
    const { from, waitCreate, signal } = this.#options
    return waitCreate && !isPosition(from) && (await isMissing(this.#appendKey, signal))
  }

  /** Finds the history and the first index. */
  async #begin(waits: boolean): Promise<KeyHistory> {
    const { from, signal } = this.#options
    const history = await firstHistory(this.#appendKey, { waitCreate: waits }, signal)
    this.#reading = history.read()
    const fromEnd = typeof from === 'number' && from < 0
    this.#index = await startOf(this.#ports, history, waits && fromEnd ? undefined : from)
    const { array } = history
    this.#startCount = array.count
    // A watch from the end has the array that the position after the next blob needs.
    if (this.#index === array.count) this.#walked = array
    this.#history = history
    return history
  }

  /** Loads the next blob, and the nodes that its position needs. */
  async #load(history: KeyHistory, array: AppendArray, seq: number): Promise<AppendEvent> {
    const index = this.#index
    try {
      const { nodes, monotonic } = this.#ports
      const entry = peekBlob(nodes, array, index) ?? (await blobAt(nodes, array, index))
      history.checkKept(monotonic())
      await this.#checkAboveBase(history, index)
      const inline = index === 0 ? history.inline : undefined
      const data = inline ?? (await this.#bytes(history, entry.ref, array.size - entry.offset))
      const after = await this.#arrayWith(array, entry)
      this.#index = index + 1
      this.#walked = after
      return eventOf(history, { entry, data, after }, seq)
    } catch (error) {
      // A trim during the load may have freed the blob. Then the error is ECOMPACTED.
      if (!isCode(error, 'EDANGLING')) throw error
      await this.#checkAboveBase(history, index)
      throw isCode(history.error, 'ECOMPACTED') ? history.error : error
    }
  }

  /** Loads a blob. A watcher that is `behind` by more bytes than the cache holds does not fill the
   *  cache; if it is the only one, it has the bytes for itself. */
  #bytes(history: KeyHistory, ref: Blobref, behind: number): Promise<Uint8Array> {
    const { content } = this.#ports
    if (behind <= cacheSizeDefault) return content.load(ref)
    return history.readers === 1 ? content.lend(ref) : content.pass(ref)
  }

  /** Returns the array of all blobs up to `entry`. */
  async #arrayWith(array: AppendArray, entry: ArrayEntry): Promise<AppendArray> {
    const { index } = entry
    if (index + 1 === array.count) return array
    const walked = this.#walked?.count === index ? this.#walked : undefined
    return pushBlob(
      hashOnly,
      walked ?? (await truncateArray(this.#ports.nodes, array, index)),
      entry,
    )
  }

  /** Throws ECOMPACTED if `index` is below the base: a trim dropped that blob. */
  async #checkAboveBase(history: KeyHistory, index: number): Promise<void> {
    if (index >= history.base.count) return
    throw await history.compacted(this.#ports.nodes, `append ${index}`)
  }

  /** Returns the position after the first `count` blobs, from the newest array: that of the start is
   *  not held, since a watcher that is far behind would hold it for long. Throws ECOMPACTED. */
  async #position(history: KeyHistory, count: number): Promise<Position> {
    const { array } = history
    await this.#checkAboveBase(history, count)
    const whole =
      count === array.count ? array : await truncateArray(this.#ports.nodes, array, count)
    const { incarnation } = history
    return { incarnation, index: count, prefix: history.prefix(count, () => whole) }
  }
}

/** Resolves to true if the key is missing and may be created, to false if it is there or can only
 *  be an error. */
async function isMissing(appendKey: AppendKey, signal: Signal): Promise<boolean> {
  for (;;) {
    const seen = appendKey.changed.count
    if (appendKey.history) return false
    if (appendKey.absence) return mayCome(appendKey.absence)
    await appendKey.changed.wait(seen, signal)
  }
}

function mayCome({ code }: TailraceError): boolean {
  return code === 'ENOENT' || code === 'ENONS'
}

/** Resolves with the history of the key, with `waitCreate` once there is one. Throws the reason why
 *  there is none. */
async function firstHistory(
  appendKey: AppendKey,
  options: { readonly waitCreate: boolean },
  signal: Signal,
): Promise<KeyHistory> {
  for (;;) {
    const seen = appendKey.changed.count
    const { history, absence } = appendKey
    if (history) return history
    if (absence && !(options.waitCreate && mayCome(absence))) throw absence
    await appendKey.changed.wait(seen, signal)
  }
}

/** Returns the index of the first blob to deliver. Throws EOVERWRITTEN if a position belongs to
 *  another history, and ECOMPACTED if a byte or a position lies below the base. An index below the
 *  base is returned as it is. */
async function startOf(
  ports: { readonly nodes: Nodes },
  history: KeyHistory,
  from: From | undefined,
): Promise<number> {
  const { array, base } = history
  if (from === undefined) return base.count
  if (typeof from === 'number') {
    return from < 0 ? Math.max(base.count, array.count + from) : from
  }
  if (!isPosition(from)) {
    const { offset } = from
    if (offset < base.size) throw await history.compacted(ports.nodes, `byte ${offset}`)
    if (offset === base.size) return base.count
    return offset >= array.size ? array.count : indexAtOffset(ports.nodes, array, offset)
  }
  const may = from.incarnation === history.incarnation && from.index <= array.count
  if (may && from.index < base.count) {
    throw await history.compacted(ports.nodes, `append ${from.index}`)
  }
  const same = may && arrayRef(await truncateArray(ports.nodes, array, from.index)) === from.prefix
  if (same) return from.index
  throw new TailraceError(
    'EOVERWRITTEN',
    'the log was overwritten while you were away: its first blobs are not those that you have',
  )
}

function isPosition(from: From | undefined): from is Position {
  return typeof from === 'object' && 'prefix' in from
}
