/** One history of an append key: an array that only ever grows, until it is sealed or ends. See rfc/7.
 *  Invariant: each `array` is an extension of the one before it; after `end` it stays as it was, for
 *  the watchers that are behind. A key that is overwritten gets a new history; nobody crosses over.
 *  What is below `base` was dropped by a trim, and is for nobody any more. */

import { Wakeup } from '../base/wakeup.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type AppendArray, arrayRef } from '../tree/array.js'
import { truncateArray } from '../tree/array-read.js'
import type { Nodes } from '../tree/nodes.js'
import { type Base, compacted, type Treeobj } from '../treeobj/treeobj.js'

/** A history that has ended is kept this long for the watchers that are behind. */
export const historyKeptMs = 10 * 60_000
/** What a history needs to be kept from collections. */
export type Keep = {
  readonly hold: (treeobj: Treeobj) => Disposable
  readonly timer: (ms: number, act: () => void) => Disposable
}

/** Prefixes that watchers at the same index share. */
const prefixesMax = 1_024

export class KeyHistory {
  /** Wakes when the array grows, is sealed, or has ended. */
  readonly moved = new Wakeup()
  readonly incarnation: string
  /** Namespace and key that the watched key led to. */
  readonly resolved: string
  #array: AppendArray
  #base: Base
  #seq: number
  #sealed: boolean
  /** The bytes of an inline value, which is blob 0 of its array. */
  #inline: Uint8Array | undefined
  #ended: { readonly error: TailraceError; readonly at: number } | undefined
  readonly #prefixes = new Map<number, Blobref>()
  readonly #keep: Keep
  /** What keeps the array from collections; undefined once nobody reads it any more. */
  #held: Disposable | undefined
  #treeobj: Treeobj
  /** Lets go of an ended history that somebody reads too slowly. */
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

  /** Seq of the newest root at which it was seen. */
  get seq(): number {
    return this.#seq
  }

  get sealed(): boolean {
    return this.#sealed
  }

  get inline(): Uint8Array | undefined {
    return this.#inline
  }

  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** REQUIRES: `array` extends the one that is here. */
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

  /** It was still the same at a newer root. */
  seen(seq: number): void {
    this.#seq = Math.max(this.#seq, seq)
  }

  end(error: TailraceError, now: number): void {
    this.#ended ??= { error, at: now }
    if (this.#readers === 0) this.release()
    else this.#expiry ??= this.#keep.timer(historyKeptMs, () => this.release())
    this.moved.wake()
  }

  /** Somebody reads: what is here is kept until the last one has left, at most `historyKeptMs` beyond the
   *  end. */
  read(): Disposable {
    this.#readers++
    this.#held ??= this.#keep.hold(this.#treeobj)
    return {
      [Symbol.dispose]: () => {
        if (--this.#readers === 0 && this.#ended) this.release()
      },
    }
  }

  /** Collections may take what no tree has any more. */
  release(): void {
    this.#expiry?.[Symbol.dispose]()
    this.#held?.[Symbol.dispose]()
    this.#held = undefined
  }

  /** Why nothing more will come, for a watcher that has everything. */
  get error(): TailraceError | undefined {
    return this.#ended?.error
  }

  /** Throws ECOMPACTED where the history ended too long ago to be read on. */
  checkKept(now: number): void {
    if (this.#ended && now - this.#ended.at > historyKeptMs) {
      throw new TailraceError(
        'ECOMPACTED',
        `the log was replaced ${Math.round((now - this.#ended.at) / 60_000)} minutes ago: what is left of it is no more kept`,
        { cause: this.#ended.error },
      )
    }
  }

  /** ECOMPACTED for who wants what is below the base, with the oldest position that can be had. */
  async compacted(nodes: Nodes, what: string): Promise<TailraceError> {
    const { incarnation, array, base } = this
    const first = await truncateArray(nodes, array, base.count)
    const prefix = this.prefix(base.count, () => first)
    return compacted(what, base, { incarnation, index: base.count, prefix })
  }

  /** The ref of the first `count` blobs: from what other watchers computed, else by `compute`. */
  prefix(count: number, compute: () => AppendArray): Blobref {
    const known = this.#prefixes.get(count)
    if (known) return known
    const ref = arrayRef(compute())
    if (this.#prefixes.size >= prefixesMax) {
      const oldest = this.#prefixes.keys().next()
      if (!oldest.done) this.#prefixes.delete(oldest.value)
    }
    this.#prefixes.set(count, ref)
    return ref
  }
}
