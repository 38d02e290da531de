/** One history of an append key: an array that only grows until it is sealed or ends. See rfc/7,
 *  rules 9, 10, 14 and 16.
 *  Invariant: each `array` extends the one before it. After `end` it does not change, so that the
 *  watchers that are behind can read it. A key that is overwritten gets a new history, and no
 *  watcher goes from one history to another. No watcher reads below `base`: a trim dropped those
 *  blobs. */

import { Wakeup } from '../base/wakeup.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type AppendArray, arrayRef } from '../tree/array.js'
import { truncateArray } from '../tree/array-read.js'
import type { Nodes } from '../tree/nodes.js'
import { type Base, compacted, type Treeobj } from '../treeobj/treeobj.js'

/** The time that a history is kept after its end for the watchers that are behind, in ms. */
export const historyKeptMs = 10 * 60_000
/** The means to keep a history from collections. */
export type Keep = {
  /** Keeps the blobs of a treeobj from collections until disposal. */
  readonly hold: (treeobj: Treeobj) => Disposable
  /** Calls `act` once after `ms`, unless it is disposed of before. */
  readonly timer: (ms: number, act: () => void) => Disposable
}

/** The largest number of prefixes that a history remembers for watchers at the same index. */
const prefixesMax = 1_024

/** A history. Mutable: its `AppendKey` alone extends and ends it; all its watchers read it. */
export class KeyHistory {
  /** Wakes when the array grows, is sealed, or has ended. */
  readonly moved = new Wakeup()
  readonly incarnation: string
  /** The namespace and the key that the watched key leads to behind its links. */
  readonly resolved: string
  #array: AppendArray
  #base: Base
  #seq: number
  #sealed: boolean
  /** The bytes of an inline value, which is blob 0 of its array. */
  #inline: Uint8Array | undefined
  #ended: { readonly error: TailraceError; readonly at: number } | undefined
  #prefixes: Map<number, Blobref> | undefined
  readonly #keep: Keep
  /** Keeps the array from collections; undefined after `release`. */
  #held: Disposable | undefined
  #treeobj: Treeobj
  /** The timer that releases an ended history whose readers are too slow. */
  #expiry: Disposable | undefined
  #readers = 0

  constructor(state: {
    readonly incarnation: string
    readonly resolved: string
    readonly array: AppendArray
    readonly base: Base
    readonly seq: number
    readonly sealed: boolean
    readonly inline: Uint8Array | undefined
    readonly treeobj: Treeobj
    readonly keep: Keep
  }) {
    this.incarnation = state.incarnation
    this.resolved = state.resolved
    this.#array = state.array
    this.#base = state.base
    this.#seq = state.seq
    this.#sealed = state.sealed
    this.#inline = state.inline
    this.#keep = state.keep
    this.#treeobj = state.treeobj
    this.#held = state.keep.hold(state.treeobj)
  }

  get array(): AppendArray {
    return this.#array
  }

  get base(): Base {
    return this.#base
  }

  /** The seq of the newest root at which the history was seen. */
  get seq(): number {
    return this.#seq
  }

  get sealed(): boolean {
    return this.#sealed
  }

  get inline(): Uint8Array | undefined {
    return this.#inline
  }

  /** The number of watchers that read it now. */
  get readers(): number {
    return this.#readers
  }

  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** Takes the state at a newer root. REQUIRES: `next.array` extends `array`. */
  extend(next: {
    readonly array: AppendArray
    readonly base: Base
    readonly seq: number
    readonly sealed: boolean
    readonly treeobj: Treeobj
  }): void {
    const held = this.#keep.hold(next.treeobj)
    this.#held?.[Symbol.dispose]()
    this.#held = held
    this.#treeobj = next.treeobj
    this.#array = next.array
    this.#base = next.base
    this.#seq = next.seq
    this.#sealed = next.sealed
    this.moved.wake()
  }

  /** Records that the history was unchanged at a newer root. */
  seen(seq: number): void {
    this.#seq = Math.max(this.#seq, seq)
  }

  /** Ends the history. `error` is for watchers that have read all of it, `now` a monotonic time in
   *  ms. Without readers the history is released at once. */
  end(error: TailraceError, now: number): void {
    this.#ended ??= { error, at: now }
    if (this.#readers === 0) this.release()
    else this.#expiry ??= this.#keep.timer(historyKeptMs, () => this.release())
    this.moved.wake()
  }

  /** Adds a reader until disposal. An ended history is kept from collections until its last reader
   *  has left, for `historyKeptMs` at most. */
  read(): Disposable {
    this.#readers++
    this.#held ??= this.#keep.hold(this.#treeobj)
    return {
      [Symbol.dispose]: () => {
        if (--this.#readers === 0 && this.#ended) this.release()
      },
    }
  }

  /** Lets collections free the blobs that no tree names any more. */
  release(): void {
    this.#expiry?.[Symbol.dispose]()
    this.#held?.[Symbol.dispose]()
    this.#held = undefined
  }

  /** The error that ended the history, for watchers that have read all of it. */
  get error(): TailraceError | undefined {
    return this.#ended?.error
  }

  /** Throws ECOMPACTED if the history ended more than `historyKeptMs` ago. `now`: monotonic, ms. */
  checkKept(now: number): void {
    if (this.#ended && now - this.#ended.at > historyKeptMs) {
      throw new TailraceError(
        'ECOMPACTED',
        `the log was replaced ${Math.round((now - this.#ended.at) / 60_000)} minutes ago: what is left of it is no more kept`,
        { cause: this.#ended.error },
      )
    }
  }

  /** Returns ECOMPACTED for a read below the base, with the oldest position that can be read.
   *  `what` names the blob that was asked for. */
  async compacted(nodes: Nodes, what: string): Promise<TailraceError> {
    const { incarnation, array, base } = this
    const first = await truncateArray(nodes, array, base.count)
    const prefix = this.prefix(base.count, () => first)
    return compacted(what, base, { incarnation, index: base.count, prefix })
  }

  /** Returns the ref of the array of the first `count` blobs. `compute` is called only if no
   *  watcher has computed that array lately. */
  prefix(count: number, compute: () => AppendArray): Blobref {
    const known = this.#prefixes?.get(count)
    if (known) return known
    const ref = arrayRef(compute())
    this.#prefixes ??= new Map()
    if (this.#prefixes.size >= prefixesMax) {
      const oldest = this.#prefixes.keys().next()
      if (!oldest.done) this.#prefixes.delete(oldest.value)
    }
    this.#prefixes.set(count, ref)
    return ref
  }
}
